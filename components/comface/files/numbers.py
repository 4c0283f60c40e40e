"""Numbers in a column of a table, as spreadsheets of any language write them.

In: the cells of one column. Out: values, and what was assumed, is missing or cannot be read, by line.

What a mark means is decided for the whole column: `1.234,5` separates thousands by points, `12,5` decimals by a comma.
A single mark before three digits (`1.234`) can be either. Then the other cells of the column decide, then the separator
of the table and its other columns; if they do not decide, the cell is ambiguous, which is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

MISSING = frozenset(
    ("nan", "na", "n/a", "n.a.", "n.a", "#n/a", "#na", "#nv", "#n/d", "null", "none", "nil", "nd", "n.d.", "k.a.",
     "k.a", "missing", "unknown", "fehlt", "fehlend", "unbekannt", "manquant", "manque", "falta", "-", "--", "–",
     "—", ".", "..", "...", "?")
)  # fmt: skip
"""Words for "no value", in lower case and without spaces."""
UNITS = frozenset(
    ("%", "kg", "kgs", "g", "mg", "lb", "lbs", "pound", "pounds", "cm", "mm", "m", "ml", "l", "h", "min", "s", "y",
     "yr", "yrs", "year", "years", "jahre", "ans", "años", "point", "points", "punkte", "pts")
)  # fmt: skip
"""Units that may stand behind a number. Any other word is an error: it could be anything, even a name."""
SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u2002\u2003\u2008\u200a\ufeff\u200b"), " ")
SIGNS = {ord("\N{MINUS SIGN}"): "-", ord("\N{FULLWIDTH PLUS SIGN}"): "+", ord("\u2019"): "'", ord("\u02bc"): "'"}
PARTS = re.compile(r"([-+]?)\s*(\d[\d., ']*|[.,]\d+)([eE][-+]?\d+)?\s*([^\W\d_][^\W\d]{0,9}|%)?", re.ASCII | re.DOTALL)
GROUPED = {mark: re.compile(rf"[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{2,3}})*{re.escape(mark)}\d{{3}}", re.ASCII)
           for mark in ".,' "}  # fmt: skip
"""`2,3` digits in inner groups: `12,34,567` is how India writes 1234567."""
MARKS = {".": "points", ",": "commas", "'": "apostrophes", " ": "spaces"}


class Typed(str):
    """The text of a cell that a workbook stores as a number."""

    __slots__ = ()


@dataclass
class Numbers:
    """Values in the order of the cells, None for an empty cell or a missing value. Lists hold lines."""

    values: list[float | None]
    decimal: str = ""
    """The decimal mark that the column shows: '.', ',' or "" if it shows none."""
    thousands: str = ""
    unit: str = ""
    missing: dict[str, list[int]] = field(default_factory=dict)
    """Word for "no value" → lines."""
    wrong: list[int] = field(default_factory=list)
    ambiguous: list[int] = field(default_factory=list)
    mixed: tuple[int, int] | None = None
    """The lines of a decimal point and of a decimal comma."""


@dataclass(frozen=True)
class _Cell:
    line: int
    at: int
    sign: str
    digits: str
    exponent: str
    unit: str


def read_numbers(cells: Sequence[tuple[int, str]], separator: str, elsewhere: str = "") -> Numbers:
    """The numbers of a column. `cells`: (line, text). `separator`: of the table; "" for a workbook. `elsewhere`: the
    decimal mark that other columns of the table show."""
    read = Numbers([None] * len(cells))
    found = []
    for at, (line, text) in enumerate(cells):
        if isinstance(text, Typed):
            read.values[at] = float(text)
            continue
        cell = " ".join(text.translate(SPACES).translate(SIGNS).split()).removeprefix("'")
        if not cell:
            continue
        if (word := cell.casefold().replace(" ", "")) in MISSING:
            read.missing.setdefault(word, []).append(line)
            continue
        parts = PARTS.fullmatch(cell)
        if parts is None or (parts[4] and parts[4].casefold() not in UNITS):
            read.wrong.append(line)
        else:
            sign, digits, exponent, unit = parts.groups("")
            found.append(_Cell(line, at, sign, digits.strip(), exponent, unit.casefold()))
    _check_units(found, read)
    _check_marks(found, read, separator, elsewhere)
    return read


def _check_units(found: list[_Cell], read: Numbers) -> None:
    units = {cell.unit for cell in found if cell.unit}
    if len(units) > 1:
        read.wrong.extend(cell.line for cell in found if cell.unit)
        found[:] = [cell for cell in found if not cell.unit]
    read.unit = units.pop() if len(units) == 1 else ""


def _check_marks(found: Sequence[_Cell], read: Numbers, separator: str, elsewhere: str) -> None:
    """Decide what the marks of the column mean, and fill in the values."""
    decimals: dict[str, int] = {}
    groups: dict[str, int] = {}
    unclear: dict[str, list[_Cell]] = {}
    wrong: set[int] = set()
    for cell in found:
        decimal, group, open_mark, valid = _marks(cell)
        if not valid:
            wrong.add(cell.at)
            read.wrong.append(cell.line)
        elif open_mark:
            unclear.setdefault(open_mark, []).append(cell)
        if valid and decimal:
            decimals.setdefault(decimal, cell.line)
        if valid and group:
            groups.setdefault(group, cell.line)
    for mark, cells in unclear.items():
        meaning = _meaning(mark, decimals, groups, separator, elsewhere, len(cells) == len(found))
        if meaning == "decimal":
            decimals.setdefault(mark, cells[0].line)
        elif meaning == "group":
            groups.setdefault(mark, cells[0].line)
        elif meaning == "mixed":
            decimals.setdefault(mark, cells[0].line)
        else:
            wrong.update(cell.at for cell in cells)
            read.ambiguous.extend(cell.line for cell in cells)
    if len(decimals) == 2 or decimals.keys() & groups.keys():
        lines = [*decimals.values(), *groups.values()]
        read.mixed = (min(lines), max(lines))
        return
    read.decimal, read.thousands = "".join(decimals), "".join(sorted(groups))
    for cell in found:
        if cell.at not in wrong:
            _fill(cell, read)
    read.wrong.sort()


def _fill(cell: _Cell, read: Numbers) -> None:
    digits = cell.digits
    for mark in read.thousands:
        digits = digits.replace(mark, "")
    value = float(f"{cell.sign}{digits.replace(',', '.')}{cell.exponent}")
    if math.isfinite(value):
        read.values[cell.at] = value
    else:
        read.wrong.append(cell.line)


def _marks(cell: _Cell) -> tuple[str, str, str, bool]:
    """(decimal mark, mark of thousands, a mark that can be either, whether it is a number at all)."""
    used = sorted({character for character in cell.digits if character in MARKS}, key=cell.digits.rfind)
    if not used:
        return "", "", "", True
    last, rest = used[-1], used[:-1]
    if len(used) > 2:
        return "", "", "", False
    head, _, tail = cell.digits.rpartition(last)
    if rest:  # the last mark separates decimals, the one before it thousands
        valid = last in ".," and bool(GROUPED[rest[0]].fullmatch(head)) and tail.isdigit()
        return last, rest[0], "", valid
    if last in "' " or cell.digits.count(last) > 1:
        return "", last, "", bool(GROUPED[last].fullmatch(cell.digits))
    if GROUPED[last].fullmatch(cell.digits) and not cell.exponent:
        return "", "", last, True
    return last, "", "", True


def _meaning(
    mark: str, decimals: dict[str, int], groups: dict[str, int], separator: str, elsewhere: str, everywhere: bool
) -> str:
    """'decimal' or 'group' for a mark before three digits, 'mixed' if it contradicts other cells, "" if it is
    ambiguous. `everywhere`: every number of the column has it."""
    other = "," if mark == "." else "."
    if mark in decimals or other in groups:
        return "decimal"
    if mark in groups:
        return "group"
    if other in decimals:
        return "group" if separator == mark else "mixed"  # mixed: two people may have typed
    if separator == ",":
        return "decimal" if mark == "." else ""
    if elsewhere:
        return "decimal" if elsewhere == mark else "group"
    usual = "," if separator == ";" else "."  # semicolons separate columns where commas separate decimals
    return "decimal" if mark == usual and everywhere else ""
