"""What every other model registry must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """A version, as other registries get it."""

    name: str
    number: int
    uri: str
    sha256: str
    """Of the model's manifest."""
    properties: Mapping[str, str]
    """What people look for: tasks with their correlation and whether it is a rehearsal, and the date."""


class Mirror(Protocol):
    """One other registry. Raises TryAgain if it does not answer, ConfigurationError if it refuses."""

    @property
    def title(self) -> str:
        """Its name and address, for messages."""
        ...

    def versions(self, name: str) -> dict[int, str]:
        """The complete versions of a model there: number -> sha256 of the manifest."""
        ...

    def add(self, entry: Entry) -> None:
        """Add a version, or complete one that an interrupted call began."""
        ...

    def aliases(self, name: str) -> dict[str, int]: ...

    def set_aliases(self, name: str, aliases: Mapping[str, int], removed: frozenset[str]) -> None:
        """Set `aliases` and delete `removed`; other aliases stay."""
        ...
