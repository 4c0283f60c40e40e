"""Tables as spreadsheets write them: each way gives the same rows, and what is wrong is said for the right reason."""

from __future__ import annotations

import zipfile
from pathlib import Path

import openpyxl
import pytest

from comface.errors import ConfigurationError, DataError
from comface.files.tables import Table, read_table

CASES = Path(__file__).parent / "data" / "cases"
TEXT = "seed,score\n1,0.5\n2,\n"
FORMS = {
    "plain": TEXT.encode(),
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-be without a mark": TEXT.encode("utf-16-be"),
    "utf-16-le without a mark": TEXT.encode("utf-16-le"),
    "windows line ends": TEXT.replace("\n", "\r\n").encode(),
    "old mac line ends": TEXT.replace("\n", "\r").encode(),
    "semicolons and decimal commas": TEXT.replace(",", ";").replace(".", ",").encode(),
    "tabs": TEXT.replace(",", "\t").encode(),
    "tabs and decimal commas": TEXT.replace(",", "\t").replace(".", ",").encode(),
    "excel's first line": b"sep=;\r\n" + TEXT.replace(",", ";").encode(),
    "capitals and padding": TEXT.replace("seed,score", " Seed , SCORE ").encode(),
    "quotes": b'"seed","score"\n"1","0.5"\n"2",""\n',
    "quoted decimal commas": b'seed,score\n1,"0,5"\n2,\n',
    "excel's first line, old mac": b"sep=;\r" + TEXT.replace(",", ";").replace("\n", "\r").encode(),
    "empty rows": TEXT.replace("\n", "\n\n,\n  , \n").encode(),
    "empty columns": TEXT.replace("\n", ",,\n").encode(),
}


def table(tmp_path: Path, data: bytes, required: tuple[str, ...] = ("seed", "score")) -> Table:
    (tmp_path / "t.csv").write_bytes(data)
    return read_table(tmp_path / "t.csv", "The table", required, name="the table")


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_numbers(tmp_path: Path, form: str) -> None:
    read = table(tmp_path, FORMS[form])
    assert read.columns == ("seed", "score")
    assert read.numbers("seed") == [1, 2]
    assert read.numbers("score") == [0.5, None]


def test_the_case_of_excel_is_read() -> None:
    read = read_table(CASES / "tables/scores_excel_utf8.csv", "The table", ("seed", "score"))
    assert read.numbers("seed") == list(range(len(read.rows)))
    assert len(read.rows) == 40


def test_a_line_is_counted_as_an_editor_counts_it(tmp_path: Path) -> None:
    read = table(tmp_path, b'sep=,\r\n\r\nseed,score\r\n1,"a\r\nb"\r\n\r\n2,c\r\n')
    assert [row.line for row in read.rows] == [5, 7]
    with pytest.raises(
        DataError, match=r"^Lines 5 and 7 of the table have no number in the column 'score'; write a number in digits"
    ):
        read.numbers("score")


def test_an_assumption_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("seed;score\nM\xfcller;0,5\nx;1,5\n".encode("cp1252"))
    for _ in range(2):
        assert read_table(path, "The table", ("seed", "score")).numbers("score") == [0.5, 1.5]
    said = [line.partition(" WARNING ")[2] for line in capfd.readouterr().err.splitlines()]
    assert said == [
        f"'{path}' was read as Windows-1252, because it is not UTF-8",
        f"'{path}' was read with ';' as the column separator",
        f"'{path}' was read with decimal commas",
    ]


@pytest.mark.parametrize("size", [131_073, 3_000_000])
def test_a_cell_of_any_length_is_read(tmp_path: Path, size: int) -> None:
    assert table(tmp_path, b"seed,score\n1,%s\n" % (b"x" * size)).rows[0].cells["score"] == "x" * size


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "has none of the columns seed, score; its first line must name its columns"),
        (b"p0,s1\np1,s2\n", "has none of the columns"),
        (b"seed;value\n1;2\n", "has no column 'score'; its other columns are: value"),
        (b"seed\n1\n", "has no column 'score'; add it to its first line"),
        (b"seed,score,Seed\n1,2,3\n", "has two columns 'seed'"),
        (b"seed,score,Score \n1,2,3\n", "has two columns 'score'"),
        (b"seed,score,score\n1,2\n", "has two columns 'score'"),
        (b"seed|score\n1|2\n", "must name its columns, separated by commas, semicolons or tabs"),
        (b"seed,score\n1,2\nSeed,Score\n", "Line 3 of the table repeats the column names; delete it"),
        (b"seed,score\n", "has no rows below its first line"),
        (b"seed,score\n1,2\n" + bytes(600), "is not text in UTF-8"),
        (b"seed,score,,x\n1,2,3,4\n", "Column 3 of the table has cells but no name"),
        (b"seed,score\n1,2,3\n", "Line 2 of the table has 3 columns instead of 2"),
        (b"seed,score\n1\n", "Line 2 of the table has 1 column instead of 2"),
        (b'seed,score\n1,"2\n3,4\n', "Line 3 of the table has an unclosed quotation mark"),
        (b"PK\x03\x04" + bytes(100), "is not a workbook of the type .xlsx; save it as .xlsx or as CSV in UTF-8"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "is not a workbook of the type .xlsx"),
        (b"seed,score\n\x01\x02,3\n", "is not text in UTF-8"),
        (b"seed,score\n\x81\x8d,3\n", "is not text in UTF-8"),
    ],
)
def test_what_is_no_such_table_is_refused_for_the_right_reason(tmp_path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        table(tmp_path, data)


@pytest.mark.parametrize("cell", ["much", "inf", "1e999", "1_000", "0x1", "1.00,5", "<5", "60-61", "--1", "1;2"])
def test_what_is_no_number_is_refused_by_line(tmp_path: Path, cell: str) -> None:
    read = table(tmp_path, f'seed,score\n1,"{cell}"\n'.encode())
    with pytest.raises(DataError, match="Line 2 of the table has no number in the column 'score'"):
        read.numbers("score")


def test_a_column_whose_name_differs_in_brackets_alone_is_no_second_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has two columns 'weight_kg'"):
        table(tmp_path, b"weight_kg,Weight (kg)\n1,2\n", ("weight_kg",))


def test_a_comma_that_may_separate_thousands_is_refused(tmp_path: Path) -> None:
    read = table(tmp_path, b'seed,score\n1,"1,234"\n')
    with pytest.raises(
        DataError, match=r"^Line 2 of the table has an ambiguous number in the column 'score': its comma or"
    ):
        read.numbers("score")


def test_points_and_commas_in_one_column_are_refused(tmp_path: Path) -> None:
    read = table(tmp_path, b"seed;score\n1;1.500\n2;1,5\n")
    with pytest.raises(
        DataError, match="Lines 2 and 3 of the table write the numbers of 'score' with a decimal point and with"
    ):
        read.numbers("score")


def test_a_table_that_is_too_large_or_no_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"more than the limit of 64\.0 MB"):
        read_table(tmp_path / "large.csv", "The table", ("seed",))
    with pytest.raises(ConfigurationError, match="The table '/dev/zero' is not a regular file"):
        read_table(Path("/dev/zero"), "The table", ("seed",), ConfigurationError)


def workbook(path: Path, **sheets: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_formula_without_a_stored_value_is_refused_but_one_with_an_empty_text_is_an_empty_cell(
    tmp_path: Path,
) -> None:
    path = workbook(tmp_path / "t.xlsx", scores=[["seed", "score"], [1, 0.5], [2, "=70+1"]])
    with pytest.raises(DataError, match=r"has formulas without stored values, the first in line 3; open it in a"):
        read_table(path, "The table", ("seed", "score"))
    saved = tmp_path / "saved.xlsx"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(saved, "w") as new:
        for name in old.namelist():
            cell = old.read(name).replace(b'<c r="B3"><f>', b'<c r="B3" t="str"><f>')
            new.writestr(name, cell)
    assert read_table(saved, "The table", ("seed", "score")).numbers("score") == [0.5, None]


def test_a_second_sheet_with_the_columns_is_said_to_be_left_out(tmp_path: Path) -> None:
    sheets: dict[str, list[list[object]]] = {"a": [["seed", "score"], [1, 2]], "notes": [["x"]]}
    path = workbook(tmp_path / "one.xlsx", **sheets)
    assert read_table(path, "The table", ("seed",), name="t").assumed == ["t has 2 sheets; sheet 1 was read"]
    path = workbook(tmp_path / "two.xlsx", **sheets, b=[["seed", "score"], [3, 4]])
    assert read_table(path, "The table", ("seed",), name="t").assumed == [
        "t has 3 sheets; sheet 1 was read, without sheet 3, which has these columns too"
    ]


def test_a_workbook_without_the_columns_is_not_told_of_commas(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", a=[["x", "y"], [1, 2]])
    with pytest.raises(DataError, match=r"its first line must name its columns\.$"):
        read_table(path, "The table", ("seed", "score"))
