"""The reader of tables, as spreadsheets write them.

In: a regular file of at most 64 MB: text (comma, semicolon or tab) or a workbook (.xlsx). Out: rows by column name,
with their line numbers. Headings ignore case, spaces and units, and may have other usual names (headings.py); rows
above them, empty rows and empty columns are dropped. Each assumption is recorded. Cells may name patients, so messages
name only lines and columns.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comface.errors import ComfaceError, DataError, raise_any
from comface.files import read_bounded
from comface.files.cells import HEADING_ROWS, MAX_BYTES, Cells, cells_of
from comface.files.headings import meanings, nearest, normal, plain
from comface.files.numbers import MARKS, MISSING, Numbers, read_numbers

logger = logging.getLogger(__name__)

LIKE_A_NUMBER = re.compile(r"\W{0,3}\d")
DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}", re.ASCII)
MOST_LINES = 12
"""Lines that a message names, in two halves of a long list."""
_said: set[str] = set()


@dataclass(frozen=True)
class Row:
    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """`what`: the file's name in messages, as in "Line 3 of labels.csv"."""

    what: str
    separator: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    headings: Mapping[str, str] = field(default_factory=dict)
    """Column → its heading in the file."""
    assumed: list[str] = field(default_factory=list)
    problems: list[ComfaceError] = field(default_factory=list)
    missing: dict[str, list[int]] = field(default_factory=dict)
    """Column → lines with a word for "no value"."""
    units: dict[str, str] = field(default_factory=dict)
    """Column → the unit in its cells."""

    def where(self, lines: Iterable[int]) -> str:
        """ "Line 3 of labels.csv", "Lines 3 and 7 of labels.csv"."""
        return f"{named_lines(lines)} of {self.what}"

    def has(self, lines: Sequence[int]) -> str:
        """ "Line 3 of labels.csv has"."""
        return f"{self.where(lines)} {'has' if len(set(lines)) == 1 else 'have'}"

    def is_text(self, column: str) -> bool:
        """Whether more cells of the column are words or dates than are, or look like, numbers."""
        cells = [row.cells[column] for row in self.rows if row.cells[column]]
        texts = sum(bool(DATE.match(cell)) or not LIKE_A_NUMBER.match(cell) for cell in cells)
        return texts > len(cells) / 2 and any(cell.casefold() not in MISSING for cell in cells)

    def numbers(self, column: str, meaning: str = "") -> list[float | None]:
        """The column's numbers, None for an empty cell. Raises DataError for a cell that is not a number."""
        before = len(self.problems)
        values = self.read(column, meaning)
        raise_any(self.problems[before:])
        for sentence in self.assumed:
            assume(sentence)
        return values

    def read(self, column: str, meaning: str = "") -> list[float | None]:
        """The column's numbers, None for a cell without one. `meaning`: what a cell should be, in messages ("weight in
        kilograms"). Adds to `problems`, `assumed` and `missing`."""
        read = read_numbers(self.cells(column), self.separator, self._decimal_elsewhere(column))
        name = self.headings.get(column, column)
        if read.wrong:
            todo = "write a number in digits" + ("." if meaning else ", or leave the cell empty.")
            self.problems.append(
                DataError(f"{self.has(read.wrong)} no {meaning or 'number'} in the column '{name}'; {todo}")
            )
        if read.ambiguous:
            self.problems.append(
                DataError(
                    f"{self.has(read.ambiguous)} an ambiguous number in the column '{name}': its comma or point may "
                    "separate decimals or thousands; save the column without a thousands separator."
                )
            )
        if read.mixed:
            one, other = read.mixed
            self.problems.append(
                DataError(
                    f"Lines {one} and {other} of {self.what} write the numbers of '{name}' with a decimal point and "
                    "with a decimal comma; use one of them."
                )
            )
        self._assume_numbers(name, read)
        if read.unit:
            self.units[column] = read.unit
        if read.missing:
            self.missing[column] = sorted(line for lines in read.missing.values() for line in lines)
        return read.values

    def cells(self, column: str) -> list[tuple[int, str]]:
        return [(row.line, row.cells[column]) for row in self.rows]

    def assume(self, sentence: str) -> None:
        if sentence not in self.assumed:
            self.assumed.append(sentence)

    def _assume_numbers(self, name: str, read: Numbers) -> None:
        if read.decimal == ",":
            self.assume(f"{self.what} was read with decimal commas")
        for mark in read.thousands:
            self.assume(f"{self.what} was read with {MARKS[mark]} between thousands in the column '{name}'")
        if read.unit:
            self.assume(f"{self.what} was read with the unit {read.unit} in the column '{name}'")
        if read.missing:
            words = ", ".join(sorted(read.missing))
            self.assume(f"{self.what} was read so that these words mean no value in the column '{name}': {words}")

    def _decimal_elsewhere(self, column: str) -> str:
        others = (name for name in self.columns if name != column)
        marks = {read_numbers(self.cells(name), ",").decimal for name in others if not self.is_text(name)}
        marks &= {".", ","}
        return marks.pop() if len(marks) == 1 else ""


def read_table(
    path: Path, what: str, required: Sequence[str], error: type[ComfaceError] = DataError, name: str = ""
) -> Table:
    """The table at `path`, which must have the columns `required`. `what`: the subject of messages about the file
    ("The table"); `name`: its name in other messages (default: its path). Raises `error` if the file cannot be opened,
    DataError for its content."""
    table = survey_table(path, what, required, error, name)
    raise_any(table.problems)
    for sentence in table.assumed:
        assume(sentence)
    return table


def survey_table(
    path: Path, what: str, required: Sequence[str], error: type[ComfaceError] = DataError, name: str = ""
) -> Table:
    """As `read_table`, but wrong lines are left out and reported in `problems`, and nothing is logged. Raises if there
    is no such table."""
    called = name or f"'{path}'"

    def fit(cells: Sequence[str]) -> int:
        return len(meanings(cells, required))

    read = cells_of(read_bounded(path, MAX_BYTES, what, error), called, fit)
    assumed = [f"{called} {sentence}" for sentence in read.assumed]
    start = _heading_row(read, required)
    head = read.lines[start][1] if read.lines else []
    columns = _columns(head, required, called, read.separator)
    if start:
        assumed.append(f"{called} was read from line {read.lines[start][0]} on, which has the column names")
    headings = {column: head[at] for at, column in enumerate(columns) if column}
    for column in required:
        if plain(heading := " ".join(headings[column].split())) != column:
            assumed.append(f"{called} was read with its column '{heading}' as {column}")
    problems: list[ComfaceError] = []
    rows = _rows(read.lines[start + 1 :], columns, called, problems)
    if not rows and not problems:
        raise DataError(f"{called} has no rows below its first line; add at least one.")
    return Table(called, read.separator, tuple(filter(None, columns)), rows, headings, assumed, problems)


def assume(sentence: str) -> None:
    """Log an assumption as a warning, once per process."""
    if sentence not in _said:
        _said.add(sentence)
        logger.warning(sentence)


def named_lines(lines: Iterable[int], word: str = "Line") -> str:
    """ "Line 3", "Lines 3, 7 and 12"; of many, the first ones and the number of the others."""
    ordered = sorted(set(lines))
    if len(ordered) == 1:
        return f"{word} {ordered[0]}"
    if len(ordered) > MOST_LINES:
        return f"{word}s {', '.join(map(str, ordered[:MOST_LINES]))} and {len(ordered) - MOST_LINES:,} more"
    return f"{word}s {', '.join(map(str, ordered[:-1]))} and {ordered[-1]}"


def _heading_row(read: Cells, required: Sequence[str]) -> int:
    """Position of the row that names the most required columns; the first of them."""
    fits = [len(meanings(cells, required)) for _, cells in read.lines[:HEADING_ROWS]]
    return fits.index(max(fits)) if fits else 0


def _columns(cells: Sequence[str], required: Sequence[str], called: str, separator: str) -> list[str]:
    """The column names: required ones as spelled in `required`; "" for a column without a name."""
    names = [normal(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    found = meanings(names, required)
    of = {at: column for column, at in found.items()}
    columns = [of.get(at, name) for at, name in enumerate(names)]
    for at, name in enumerate(columns):
        if not name.isprintable():
            raise DataError(f"The name of column {at + 1} of {called} contains a non-printing character; rename it.")
        again = plain(name) if at not in of and plain(name) in required else name
        if name and (again != name or name in columns[:at]):
            raise DataError(
                f"{called} has two columns '{again}' (case, spaces and brackets are ignored); rename or delete one."
            )
    _check_missing([name for name in required if name not in columns], columns, required, called, separator)
    return columns


def _check_missing(
    missing: Sequence[str], columns: Sequence[str], required: Sequence[str], called: str, separator: str
) -> None:
    if missing and len(missing) == len(required):
        raise DataError(
            f"{called} has none of the columns {', '.join(required)}; its first line must name its columns"
            f"{', separated by commas, semicolons or tabs' if separator else ''}."
        )
    rest = [name for name in columns if name and name not in required]

    def lacks(name: str) -> DataError:
        if close := nearest(name, rest):
            close = f"the nearest is '{close}': rename it to {name} if it is the same; "
        if not rest:
            return DataError(f"{called} has no column '{name}'; add it to its first line.")
        return DataError(f"{called} has no column '{name}'; {close}its other columns are: {', '.join(rest)}.")

    raise_any(lacks(name) for name in missing)


def _rows(
    lines: Sequence[tuple[int, list[str]]], columns: Sequence[str], called: str, problems: list[ComfaceError]
) -> list[Row]:
    """The rows with as many cells as there are columns; the others become problems."""
    rows, counts, repeated, unnamed = [], dict[int, list[int]](), list[int](), set[int]()
    names = [normal(name) for name in columns if name]
    for line, cells in lines:
        while not cells[-1] and len(cells) > len(columns):
            cells.pop()
        if len(cells) != len(columns):
            counts.setdefault(len(cells), []).append(line)
        elif [normal(cell) for cell in cells if cell] == names:
            repeated.append(line)
        else:
            unnamed |= {at for at, name in enumerate(columns) if cells[at] and not name}
            rows.append(Row(line, {name: cell for name, cell in zip(columns, cells, strict=True) if name}))
    for count, at in counts.items():
        many = f"{count} {'column' if count == 1 else 'columns'} instead of {len(columns)}"
        hint = "correct it; a number with a decimal comma needs quotes where commas separate columns."
        problems.append(DataError(f"{named_lines(at)} of {called} {'has' if len(at) == 1 else 'have'} {many}; {hint}"))
    if repeated:
        verb = "repeats" if len(repeated) == 1 else "repeat"
        problems.append(DataError(f"{named_lines(repeated)} of {called} {verb} the column names; delete it."))
    problems.extend(
        DataError(f"Column {at + 1} of {called} has cells but no name in the first line; name it or delete it.")
        for at in sorted(unnamed)
    )
    return rows
