"""A registry of one kind of thing (methods, generators, layouts, tasks): entries by name, one per file.

In: the kind's name and, for each entry, its location ("module:attribute"). Listing the names imports nothing; getting
an entry imports its module. An `Entries` in the metadata of a field's type defines the field's allowed values.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from pydantic import AfterValidator

from comface.config.names import quoted
from comface.errors import ConfigurationError

E = TypeVar("E")


class Entries(Generic[E]):
    """`what`: the kind in the singular, for messages ("method"). Names keep the given order."""

    def __init__(self, what: str, places: Mapping[str, str]) -> None:
        self.what = what
        self._places = dict(places)
        self._added: dict[str, E] = {}

    def __iter__(self) -> Iterator[str]:
        yield from self._places
        yield from self._added

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self._added

    def __getitem__(self, name: str) -> E:
        """The entry `name`. Raises ConfigurationError that lists the choices for an unknown name."""
        if name in self._added:
            return self._added[name]
        if name not in self._places:
            raise ConfigurationError(self.unknown(name))
        module, _, attribute = self._places[name].partition(":")
        entry: E = getattr(importlib.import_module(module), attribute)
        return entry

    def unknown(self, name: str) -> str:
        return f"There is no {self.what} {quoted(name)}; choose from {', '.join(self)}."

    def all(self) -> dict[str, E]:
        return {name: self[name] for name in self}

    def add(self, name: str, entry: E) -> None:
        """Add an entry from outside this package, for this process only."""
        if name in self:
            raise ConfigurationError(f"There is a {self.what} '{name}' already; choose another name.")
        self._added[name] = entry

    def remove(self, name: str) -> None:
        """Remove an entry that `add` added."""
        del self._added[name]

    def known(self, name: str) -> str:
        """Validator for a field's type: returns `name`. Raises ValueError for an unknown name."""
        if name not in self:
            raise ValueError(in_field(self.unknown(name)))
        return name


def findable(find: Callable[[str], Any]) -> AfterValidator:
    """Of a field's type: a name for which `find` gives an entry, as that entry spells it."""

    def known(name: str) -> str:
        try:
            return str(find(name).name)
        except ConfigurationError as error:
            raise ValueError(in_field(error)) from None

    return AfterValidator(known)


def in_field(error: object) -> str:
    """A message without its capital and full stop, to follow a field's name."""
    text = str(error).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"
