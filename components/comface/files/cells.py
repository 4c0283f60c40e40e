"""The cells of a table file: text with separators as spreadsheets export it, or a workbook (.xlsx).

In: the bytes of a file. Out: rows of text cells with their line numbers, and what was assumed. Text is in UTF-8 (with
or without a byte order mark), UTF-16 or Windows-1252. Numbers of a workbook stay exact (numbers.Typed); its dates
become 2026-11-28. Messages name only lines: cells may name patients.
"""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from comface.errors import ConfigurationError, DataError
from comface.files.numbers import Typed

MAX_BYTES = 64_000_000
HEAD_BYTES = 64
"""Enough bytes to recognize UTF-16 by its zero bytes."""
MOST_UNPACKED_BYTES = 512_000_000
MOST_ROWS, MOST_COLUMNS = 1_048_576, 1_000
HEADING_ROWS = 30
"""Headings are looked for in this number of rows that are not empty."""
SEPARATORS = {",": "','", ";": "';'", "\t": "tabs"}
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"

Lines = list[tuple[int, list[str]]]
"""(line number, cells) of each row that is not empty."""
Fit = Callable[[Sequence[str]], int]
"""How many of the wanted columns a row names."""


@dataclass
class Cells:
    """`separator`: empty for a workbook."""

    lines: Lines
    separator: str
    assumed: list[str] = field(default_factory=list)
    """Sentences that continue the name of the file: "was read as Windows-1252"."""


def cells_of(data: bytes, called: str, fit: Fit) -> Cells:
    """The cells of a table. `called`: the file in messages. Raises DataError."""
    if data.startswith((ZIP, OLE)):
        return _workbook(data, called, fit)
    text, encoding = decoded(data, called)
    start, separator = _separator(text, fit)
    read = Cells(_split(text, separator, start, called), separator)
    if encoding:
        read.assumed.append(f"was read as {encoding}")
    if separator != ",":
        read.assumed.append(f"was read with {SEPARATORS[separator]} as the column separator")
    return read


def decoded(data: bytes, called: str) -> tuple[str, str]:
    """(text, the encoding if it was assumed, else "") of a user's file. Raises DataError if it is not text."""
    if data.startswith((ZIP, OLE)):
        raise DataError(f"{called} is a workbook or an archive, not text; save it as text in UTF-8.")
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


def _separator(text: str, fit: Fit) -> tuple[int, str]:
    """(offset of the table, separator). Excel's first line `sep=;` sets the separator; otherwise it is the one that
    yields the most wanted columns in one row, then the most columns in it."""
    if match := re.match(r'"?sep=([,;\t])"?(\r\n?|\n)', text, re.IGNORECASE):
        return match.end(), match[1]
    lines = (line for line in text[: 1 << 20].splitlines() if line.strip(' ,;\t"'))
    head = [line for line, _ in zip(lines, range(HEADING_ROWS), strict=False)]

    def columns(separator: str) -> tuple[int, int]:
        rows = [next(csv.reader([line], delimiter=separator), []) for line in head]
        found = [(fit(row), len([cell for cell in row if cell.strip()])) for row in rows]
        return max(found, default=(0, 0)) if any(fits for fits, _ in found) else (found or [(0, 0)])[0]

    csv.field_size_limit(MAX_BYTES)
    return 0, max(SEPARATORS, key=columns)


def _split(text: str, separator: str, start: int, called: str) -> Lines:
    csv.field_size_limit(MAX_BYTES)
    skipped = len(text[:start].splitlines())
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num + skipped, [_unwrapped(cell) for cell in cells]) for cells in reader]
    except csv.Error:
        raise DataError(
            f"Line {reader.line_num + skipped} of {called} has an unclosed quotation mark, or text next to a quoted "
            "cell; correct it."
        ) from None
    return [(line, cells) for line, cells in rows if any(cells)]


def _unwrapped(cell: str) -> str:
    """`="007"` is how some programs export text that looks like a number."""
    found = re.fullmatch(r'="([^"]*)"', cell := cell.strip())
    return found[1].strip() if found else cell


def _workbook(data: bytes, called: str, fit: Fit) -> Cells:
    """The sheet that names the most wanted columns, the first one if several do."""
    _check_archive(data, called)
    try:
        import openpyxl
    except ImportError:
        raise ConfigurationError(
            f"{called} is a workbook, and the package openpyxl is not installed; install `comface[train]`, or save it "
            "as CSV."
        ) from None
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = [_sheet(sheet.iter_rows(values_only=True)) for sheet in book.worksheets]
        fits = [max((fit(cells) for _, cells in lines[:HEADING_ROWS]), default=0) for lines in sheets]
        best = fits.index(max(fits)) if fits else 0
        formula = _not_calculated(data, best) if sheets else 0
    except Exception:  # the library raises any exception for a damaged file
        raise DataError(f"{called} is a damaged workbook; save it again as .xlsx or as CSV.") from None
    if any(len(lines) > MOST_ROWS for lines in sheets):
        raise DataError(f"{called} has more than {MOST_ROWS:,} rows; split it.")
    if not sheets:
        raise DataError(f"{called} has no sheet with cells; add one.")
    if formula:
        raise DataError(
            f"{called} has formulas without stored values, the first in line {formula}; open it in a spreadsheet "
            "program and save it there."
        )
    read = Cells(sheets[best], "")
    if sum(map(bool, sheets)) > 1:
        alike = [str(at + 1) for at, count in enumerate(fits) if count == fits[best] > 0 and at != best]
        more = f", without sheet {' and '.join(alike)}, which has these columns too" if alike else ""
        read.assumed.append(f"has {len(sheets)} sheets; sheet {best + 1} was read{more}")
    return read


def _not_calculated(data: bytes, sheet: int) -> int:
    """The first line with a formula whose value is not stored, as programs write it that do not calculate; 0 if there
    is none. An empty text is a value: its cell has another type."""
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        if not any(
            re.search(rb"<f[\s>/]", archive.read(name)) for name in parts
        ):  # reading the cells again takes longer
            return 0
    formulas, values = (
        openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=stored).worksheets[sheet].iter_rows()
        for stored in (False, True)
    )
    for line, (made, stored) in enumerate(zip(formulas, values, strict=True), start=1):
        for formula, cell in zip(made, stored, strict=True):
            if formula.data_type == "f" and cell.value is None and cell.data_type == "n":
                return line
    return 0


def _check_archive(data: bytes, called: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            size_bytes = sum(each.file_size for each in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        names, size_bytes = set(), 0
    if "xl/workbook.xml" not in names:
        raise DataError(f"{called} is not a workbook of the type .xlsx; save it as .xlsx or as CSV in UTF-8.")
    if size_bytes > MOST_UNPACKED_BYTES:
        raise DataError(f"{called} is larger than {MOST_UNPACKED_BYTES / 1e6:.0f} MB when unpacked; save it as CSV.")


def _sheet(rows: Iterable[Sequence[object]]) -> Lines:
    def cells() -> Iterator[tuple[int, list[str]]]:
        for line, row in enumerate(rows, start=1):
            if line > MOST_ROWS + HEADING_ROWS:
                break
            found = [_cell(value) for value in row[:MOST_COLUMNS]]
            if any(found):
                yield line, found

    return list(cells())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
        return Typed(int(value) if whole else value)
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "seconds")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value).strip()
