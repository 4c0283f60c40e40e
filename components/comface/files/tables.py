"""The reader of CSV tables, as spreadsheets export them.

In: a regular file of at most 64 MB in UTF-8 (with or without a byte order mark), UTF-16 or Windows-1252. Columns are
separated by `,`, `;` or tab; decimal commas are allowed if the separator is not a comma. Out: rows by column name, with
their line numbers. Column names ignore case and surrounding spaces; empty rows and empty trailing columns are dropped.
Each assumption is logged once. Cells may name patients, so messages name only lines and columns.
"""

from __future__ import annotations

import codecs
import csv
import io
import logging
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comface.errors import ComfaceError, DataError
from comface.files import read_bounded

logger = logging.getLogger(__name__)

MAX_BYTES = 64_000_000
HEAD_BYTES = 64
"""Enough bytes to recognize UTF-16 by its zero bytes."""
SEPARATORS = {",": "','", ";": "';'", "\t": "tabs"}
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?", re.ASCII)
LIKE_A_NUMBER = re.compile(r"\W{0,3}\d")
DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}", re.ASCII)
THOUSANDS = re.compile(r"[-+]?\d{1,3},\d{3}", re.ASCII)
"""An ambiguous quoted cell in a comma-separated table: `1,234` could mean 1.234 or 1234."""
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

    def is_text(self, column: str) -> bool:
        """Whether the column contains only words or dates, and no cell that looks like a number."""
        cells = [row.cells[column] for row in self.rows if row.cells[column]]
        return bool(cells) and all(DATE.match(cell) or not LIKE_A_NUMBER.match(cell) for cell in cells)

    def numbers(self, column: str, meaning: str = "") -> list[float | None]:
        """The column's numbers, None for an empty cell. `meaning`: what a cell should be, in messages ("weight in
        kilograms"). Raises DataError for a cell that is not a number."""
        values: list[float | None] = []
        point, comma = 0, 0
        for row in self.rows:
            cell = row.cells[column].replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", "")
            if not cell:
                values.append(None)
                continue
            value = math.nan
            if self.separator == "," and THOUSANDS.fullmatch(cell):
                raise DataError(
                    f"Line {row.line} of {self.what} has an ambiguous number in the column '{column}': its comma may "
                    "separate decimals or thousands; write it with a decimal point, or without a thousands separator."
                )
            if NUMBER.fullmatch(cell):
                value = float(cell.replace(",", "."))
            if not math.isfinite(value):
                todo = "write a number in digits" + ("." if meaning else ", or leave the cell empty.")
                raise DataError(
                    f"Line {row.line} of {self.what} has no {meaning or 'number'} in the column '{column}'; {todo}"
                )
            point, comma = point or row.line * ("." in cell), comma or row.line * ("," in cell)
            values.append(value)
        if point and comma:
            raise DataError(
                f"Lines {point} and {comma} of {self.what} write the numbers of '{column}' with a decimal point and "
                "with a decimal comma; use one of them."
            )
        if comma:
            assume(f"{self.what} was read with decimal commas")
        return values


def read_table(
    path: Path, what: str, required: Sequence[str], error: type[ComfaceError] = DataError, name: str = ""
) -> Table:
    """The table at `path`, which must have the columns `required`. `what`: the subject of messages about the file
    ("The table"); `name`: its name in other messages (default: its path). Raises `error` if the file cannot be opened,
    DataError for its content."""
    called = name or f"'{path}'"
    text, encoding = decoded(read_bounded(path, MAX_BYTES, what, error), called)
    if encoding:
        assume(f"{called} was read as {encoding}")
    start, separator = _separator(text, required)
    lines = _split(text, separator, start, called)
    columns = _columns(lines[0][1] if lines else [], required, called)
    rows = _rows(lines[1:], columns, called)
    if not rows:
        raise DataError(f"{called} has no rows below its first line; add at least one.")
    if separator != ",":
        assume(f"{called} was read with {SEPARATORS[separator]} as the column separator")
    return Table(called, separator, tuple(name for name in columns if name), rows)


def decoded(data: bytes, called: str) -> tuple[str, str]:
    """(text, the encoding if it was assumed, else "") of a user's file. Raises DataError if it is not text."""
    if data.startswith(WORKBOOKS):
        raise DataError(f"{called} is a workbook (Excel or similar); save it as CSV in UTF-8.")
    encoding, assumed = next((encoding for bom, encoding in BOMS if data.startswith(bom)), ""), ""
    if not encoding and (zeros := (data[:HEAD_BYTES:2].count(0), data[1:HEAD_BYTES:2].count(0))) != (0, 0):
        # UTF-16 column names have zeros in every high byte; a damaged file has them at any position.
        few, most = sorted(zeros)
        if most > 4 * few and 4 * most > min(len(data), HEAD_BYTES):
            encoding = assumed = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    try:
        if encoding:
            text = data.decode(encoding)
        else:
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError:
                text, assumed = data.decode("cp1252"), "Windows-1252, because it is not UTF-8"
    except UnicodeDecodeError:
        text = "\0"
    if re.search(r"[\0-\x08\x0e-\x1f\x7f]", text):
        raise DataError(f"{called} is not text in UTF-8, UTF-16 or Windows-1252; save it as CSV in UTF-8.")
    return text, assumed


def assume(sentence: str) -> None:
    """Log an assumption as a warning, once per process."""
    if sentence not in _said:
        _said.add(sentence)
        logger.warning(sentence)


def normal(name: str) -> str:
    """The normal form of a name: NFC, case-folded, without surrounding spaces. Names with the same normal form are
    equal."""
    return unicodedata.normalize("NFC", name.strip().casefold())


def _plain(name: str) -> str:
    """`Weight (kg)` and `weight kg` are weight_kg."""
    return re.sub(r"[\W_]+", "_", name).strip("_")


def _separator(text: str, required: Sequence[str]) -> tuple[int, str]:
    """(offset of the table, separator). Excel's first line `sep=;` sets the separator; otherwise it is the one that
    yields the most required columns, then the most columns."""
    if match := re.match(r'"?sep=([,;\t])"?(\r\n?|\n)', text, re.IGNORECASE):
        return match.end(), match[1]
    first = next((line for line in text.splitlines() if line.strip(' ,;\t"')), "")

    def columns(separator: str) -> tuple[int, int]:
        names = [_plain(normal(name.strip('" '))) for name in first.split(separator)]
        return len({*required} & {*names}), len(names)

    return 0, max(SEPARATORS, key=columns)


def _split(text: str, separator: str, start: int, called: str) -> list[tuple[int, list[str]]]:
    """(line number, cells) of each non-empty row."""
    csv.field_size_limit(MAX_BYTES)
    skipped = len(text[:start].splitlines())
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num + skipped, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error:
        raise DataError(
            f"Line {reader.line_num + skipped} of {called} has an unclosed quotation mark, or text next to a quoted "
            "cell; correct it."
        ) from None
    return [(line, cells) for line, cells in rows if any(cells)]


def _columns(cells: Sequence[str], required: Sequence[str], called: str) -> list[str]:
    """The column names in the first row, required ones as spelled in `required`; "" for a column without a name."""
    names = [normal(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    columns = [_plain(name) if _plain(name) in required else name for name in names]
    for at, name in enumerate(columns):
        if not name.isprintable():
            raise DataError(f"The name of column {at + 1} of {called} contains a non-printing character; rename it.")
        if name and name in columns[:at]:
            raise DataError(
                f"{called} has two columns '{name}' (case, spaces and brackets are ignored); rename or delete one."
            )
    missing = [name for name in required if name not in columns]
    if missing and len(missing) == len(required):
        raise DataError(
            f"{called} has none of the columns {', '.join(required)}; its first line must name its columns, separated "
            "by commas, semicolons or tabs."
        )
    if missing:
        rest = ", ".join(name for name in columns if name and name not in required)
        raise DataError(
            f"{called} has no column '{missing[0]}'; "
            + (f"its other columns are: {rest}." if rest else "add it to its first line.")
        )
    return columns


def _rows(lines: Sequence[tuple[int, list[str]]], columns: Sequence[str], called: str) -> list[Row]:
    rows = []
    for line, cells in lines:
        while not cells[-1] and len(cells) > len(columns):
            cells.pop()
        if len(cells) != len(columns):
            raise DataError(f"Line {line} of {called} has {len(cells)} columns instead of {len(columns)}; correct it.")
        if [normal(cell) for cell in cells if cell] == [name for name in columns if name]:
            raise DataError(f"Line {line} of {called} repeats the column names; delete it.")
        for at, name in enumerate(columns):
            if cells[at] and not name:
                raise DataError(
                    f"Column {at + 1} of {called} has cells but no name in the first line; name it or delete it."
                )
        rows.append(Row(line, {name: cell for name, cell in zip(columns, cells, strict=True) if name}))
    return rows
