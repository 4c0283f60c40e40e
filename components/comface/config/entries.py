"""A registry: what exists of one kind (methods, generators, layouts, tasks), one entry per file, by name.

In: the kind's word and, per name, where its entry stands ("module:attribute"). Asking for names imports nothing; asking
for an entry imports its file. An `Entries` among the metadata of a field's type says what the field may be.
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
    """`what`: one of the kind in a sentence ("method"). Names keep the order in which they are given."""

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
        """Raises ConfigurationError, with the choices, for a name that no entry has."""
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
        """An entry of this process alone, whose file lies outside this package."""
        if name in self:
            raise ConfigurationError(f"There is a {self.what} '{name}' already; choose another name.")
        self._added[name] = entry

    def remove(self, name: str) -> None:
        """Takes back what `add` added."""
        del self._added[name]

    def known(self, name: str) -> str:
        """For a field's type: `name` itself. Raises ValueError for another."""
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
    """A sentence as the configuration's reader continues it, after the field's name."""
    text = str(error).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"
