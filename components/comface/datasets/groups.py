"""Groups of people (sex, skin type, age group), by which the report gives the error.

In: the columns of a data set's table. Out: the columns that are groups. A group is recognised by the name of its
column, so that no other column (a name, a date of birth) gets into an artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comface.files.headings import normal

NAMES = ("sex", "gender", "skin type", "age group", "ethnicity", "site", "device")
"""Columns that are groups, as are columns whose name begins with `group`."""


def group_columns(columns: Sequence[str]) -> list[str]:
    return [name for name in columns if (plain := _plain(name)) in NAMES or plain.split(" ")[0] == "group"]


def groups_of(cells: Mapping[str, str], columns: Sequence[str]) -> dict[str, str]:
    """The groups of one row, by the plain name of their column; empty cells are left out."""
    return {_plain(name): cells[name].strip() for name in columns if cells[name].strip()}


def _plain(name: str) -> str:
    return " ".join(normal(name).replace("_", " ").split())
