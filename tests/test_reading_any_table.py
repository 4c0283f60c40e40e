"""Any table that a spreadsheet can write: what is read is what was written, or it is refused as ambiguous."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comface.errors import DataError
from comface.files.tables import Table, read_table, survey_table

REQUIRED = ("patient", "session", "phase", "weight_kg")
HEADINGS = {
    "patient": ["patient", "Patient", "PATIENT ID", "Subject", " id ", "Patienten-ID"],
    "session": ["session", "Date", "Visit", "Datum", "SESSION_ID", "Séance"],
    "phase": ["phase", "Before/After", "Phase", "Vorher/Nachher", "time point"],
    "weight_kg": ["weight_kg", "Weight (kg)", "Gewicht [kg]", "Body weight in kg", "POIDS", "Peso, kg"],
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252")
EITHER = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
"""Thousands or decimals."""
NAMES = ("Müller", "P01", "Ø. Ågren", "José", "7", "a b")


@dataclass(frozen=True)
class Style:
    """How a program writes a table. `decimal`, `thousands`: the marks of numbers."""

    encoding: str
    separator: str
    decimal: str
    thousands: str
    line_end: str
    title: bool
    empty_column: bool
    empty_rows: bool
    missing: str

    def number(self, value: Decimal) -> str:
        whole, _, fraction = f"{value:f}".partition(".")
        groups = f"{int(whole):,}".replace(",", self.thousands)
        return groups + (self.decimal + fraction if fraction else "")


def styles() -> st.SearchStrategy[Style]:
    return st.builds(
        Style,
        st.sampled_from(ENCODINGS),
        st.sampled_from([",", ";", "\t"]),
        st.sampled_from([".", ","]),
        st.sampled_from(["", "", "'", "\N{NO-BREAK SPACE}", ".", ","]),
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["", "NaN", "n/a", "#NV", "-", "k. A."]),
    ).filter(lambda style: style.decimal != style.thousands)


VALUES = (
    st.none() | st.decimals(0, 99_999, places=2) | st.decimals(0, 9_999, places=3) | st.integers(0, 999).map(Decimal)
)


def text_of(style: Style, headings: list[str], rows: list[list[str]]) -> bytes:
    width = [1] if style.empty_column else []
    lines = [
        [*headings[:2], *("" for _ in width), *headings[2:]],
        *([*r[:2], *("" for _ in width), *r[2:]] for r in rows),
    ]
    if style.title:
        lines.insert(0, ["Weights of the study, May"])
    if style.empty_rows:
        lines.insert(len(lines) // 2 + 1, [""] * len(lines[-1]))
        lines.append([""] * len(lines[-1]))
    out = io.StringIO()
    csv.writer(out, delimiter=style.separator, lineterminator=style.line_end).writerows(lines)
    return out.getvalue().encode(style.encoding)


def read(folder: Path, data: bytes) -> Table:
    (folder / "t.csv").write_bytes(data)
    return survey_table(folder / "t.csv", "The table", REQUIRED, name="the table")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    style=styles(),
    headings=st.tuples(*(st.sampled_from(HEADINGS[name]) for name in REQUIRED)),
    values=st.lists(VALUES, min_size=1, max_size=8),
    names=st.lists(st.sampled_from(NAMES), min_size=8, max_size=8),
)
def test_what_is_read_is_what_was_written_or_is_refused_as_ambiguous(
    tmp_path: Path, style: Style, headings: tuple[str, ...], values: list[Decimal | None], names: list[str]
) -> None:
    rows = [
        [name, "2024-03-05", "before", style.missing if value is None else style.number(value)]
        for name, value in zip(names, values, strict=False)
    ]
    table = read(tmp_path, text_of(style, list(headings), rows))
    assert [row.cells["patient"] for row in table.rows] == names[: len(values)]
    assert table.problems == []
    found = table.read("weight_kg")
    written = [row[3] for row, value in zip(rows, values, strict=True) if value is not None]
    if table.problems:
        assert all("ambiguous" in str(each) or "decimal point and" in str(each) for each in table.problems)
        assert any(EITHER.fullmatch(cell) for cell in written)
    elif found != [None if value is None else float(value) for value in values]:
        # Nothing in the table says that a mark before three digits separates thousands.
        unusual = style.separator == "," and style.thousands == "."
        assert unusual or all(EITHER.fullmatch(cell) for cell in written), f"{written} was read as {found}"


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headings=st.tuples(*(st.sampled_from(HEADINGS[name]) for name in REQUIRED)),
    values=st.lists(st.none() | st.floats(1, 700).map(lambda x: round(x, 3)) | st.integers(1, 700), min_size=1),
    offset=st.integers(0, 3),
)
def test_a_workbook_gives_the_very_numbers_and_dates(
    tmp_path: Path, headings: tuple[str, ...], values: list[float | None], offset: int
) -> None:
    import datetime

    book = openpyxl.Workbook()
    book.active.append(["notes of another sheet"])
    sheet = book.create_sheet("Weights")
    for _ in range(offset):
        sheet.append([None, "Weights of the study"])
    sheet.append([None, *headings])
    for number, value in enumerate(values):
        sheet.append([None, number + 7, datetime.datetime(2024, 3, 5), "After", value])
        sheet.append([])
    book.save(tmp_path / "t.csv")  # the type is recognized by the content
    table = survey_table(tmp_path / "t.csv", "The table", REQUIRED, name="the table")
    assert table.problems == []
    assert table.read("weight_kg") == values
    assert [row.cells["patient"] for row in table.rows] == [str(number + 7) for number in range(len(values))]
    assert {row.cells["session"] for row in table.rows} == {"2024-03-05"}
    assert [row.line for row in table.rows] == [offset + 2 + 2 * number for number in range(len(values))]


@pytest.mark.parametrize(
    ("separator", "cells", "numbers"),
    [
        (";", ["1.234,5", "950", "2.000,0"], [1234.5, 950, 2000]),
        (",", ["1,234.5", "950", "1,000"], [1234.5, 950, 1000]),
        (";", ["1'234.5", "7"], [1234.5, 7]),
        (";", ["12,34,567"], [1234567]),
        (";", ["61,5 kg", "60 kg"], [61.5, 60]),
        ("\t", ["0.125", "0.250"], [0.125, 0.25]),
        (";", ["61,500", "62,125"], [61.5, 62.125]),
        (";", ["-1,5", "\N{MINUS SIGN}2,5", "1e-3"], [-1.5, -2.5, 0.001]),
        (";", ["NaN", "#NV", "k. A.", "-", "1,5"], [None, None, None, None, 1.5]),
    ],
)
def test_marks_units_and_words_mean_what_the_column_shows(
    tmp_path: Path, separator: str, cells: list[str], numbers: list[float | None]
) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([["seed", "score"], *(["1", cell] for cell in cells)])
    (tmp_path / "t.csv").write_text(out.getvalue())
    assert read_table(tmp_path / "t.csv", "The table", ("seed", "score"), name="t").numbers("score") == numbers


@pytest.mark.parametrize(
    ("separator", "cells"),
    [
        (",", ["1,234"]),
        (";", ["1.234", "950"]),
        (";", ["1,234", "950"]),
        (";", ["1.234"]),
        ("\t", ["1,234", "950"]),
        (";", ["1.500", "1,5"]),
    ],
)
def test_what_may_be_thousands_or_decimals_is_refused_by_line(tmp_path: Path, separator: str, cells: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([["seed", "score"], *(["1", cell] for cell in cells)])
    (tmp_path / "t.csv").write_text(out.getvalue())
    with pytest.raises(DataError, match=r"Lines? 2.* (an ambiguous number|with a decimal point and with)"):
        read_table(tmp_path / "t.csv", "The table", ("seed", "score"), name="t").numbers("score")


def test_a_word_that_is_no_unit_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("seed,score\n1,63 Jane\n2,64 Jane\n")
    table = survey_table(tmp_path / "t.csv", "The table", ("seed", "score"), name="t")
    table.read("score")
    assert [str(each) for each in table.problems] == [
        "Lines 2 and 3 of t have no number in the column 'score'; write a number in digits, or leave the cell empty."
    ]
    assert table.assumed == []


@pytest.mark.parametrize("data", [b"PK\x03\x04" + bytes(300), b"\xd0\xcf\x11\xe0" + bytes(300)])
def test_an_archive_that_is_no_workbook_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.xlsx").write_bytes(data)
    with pytest.raises(DataError, match=r"is not a workbook of the type \.xlsx; save it as \.xlsx or as CSV"):
        read_table(tmp_path / "t.xlsx", "The table", ("seed",))
