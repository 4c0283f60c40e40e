"""Folders and spreadsheets of patients as people keep them: names written differently, other columns, other places."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawing import drawn_face

from comface.datasets import open_dataset, survey_dataset
from comface.datasets.config import DataSource
from comface.datasets.matching import iso_date, matched, writes_month_first
from comface.errors import DataError


@pytest.mark.parametrize(
    ("folders", "names", "found"),
    [
        (["p01", "p2"], ["p1", "p02"], {"p01": "p1", "p2": "p02"}),
        (["p 007"], ["7"], {"p 007": "7"}),
        (["2024-03-05"], ["5.3.2024"], {"2024-03-05": "5.3.2024"}),
        (["20240305", "20240413"], ["03/05/2024", "04/13/2024"], {"20240305": "03/05/2024", "20240413": "04/13/2024"}),
        (["a1", "b1"], ["1"], {}),  # two people
        (["a1"], ["01", "1"], {}),  # as well
        (["1-10"], ["11-0"], {}),
        (["p1", "p01"], ["p1"], {"p1": "p1"}),
    ],
)
def test_a_folder_belongs_to_the_only_name_that_it_can_mean(
    folders: list[str], names: list[str], found: dict[str, str]
) -> None:
    assert matched(folders, names)[0] == found


def test_dates_are_read_in_the_order_that_their_column_shows() -> None:
    assert writes_month_first(["03/05/2024", "03/25/2024"])
    assert not writes_month_first(["03/05/2024", "25/03/2024"])
    assert iso_date("03/05/2024", month_first=True) == "2024-03-05"
    assert [iso_date(each) for each in ("5.3.24", "2024-03-05 00:00:00", "2024-13-40", "s1")] == [
        "2024-03-05", "2024-03-05", "", "",
    ]  # fmt: skip


def clinic(folder: Path, save_jpeg, table: str, above: str = "", name: str = "weights.csv") -> DataSource:
    for number in range(4):
        for at, phase in enumerate(("Pre", "POST")):
            place = folder / above / f"P0{number + 1}" / "Visit 1" / phase / "DCIM"
            save_jpeg(place / "IMG 1.JPG", drawn_face(64, at, number))
    (folder / name).write_text(table)
    return DataSource(layout="edema", uri=folder.as_uri())


LONG = "Patient;Visit;Time point;Weight\n" + "".join(
    f"{n};1;{phase};{60 + n + (phase == 'pre')},5\n" for n in range(1, 5) for phase in ("pre", "post")
)
WIDE = "ID,Session,Weight before (lb),Weight after (lb)\n" + "".join(
    f"P{n},1,{140 + n}.0,{138 + n}.0\n" for n in range(1, 5)
)


@pytest.mark.parametrize("above", ["", "Photos/ward 3"])
@pytest.mark.parametrize("name", ["weights.csv", "Weights.TXT", "Gewichte Mai.csv"])
def test_other_words_leading_zeros_and_nested_folders_are_understood_and_said(
    tmp_path, save_jpeg, above: str, name: str
) -> None:
    found = open_dataset(clinic(tmp_path, save_jpeg, LONG, above, name))
    assert [(p.subject, p.session, p.phase, p.labels["weight"]) for p in found.photos][:2] == [
        ("1", "1", "after", 61.5), ("1", "1", "before", 62.5),
    ]  # fmt: skip
    said = " ".join(found.assumed)
    for words in ("column 'Visit' as session", "names no unit", "differ from it in leading zeros"):
        assert words in said


def test_a_row_per_session_and_pounds_are_read(tmp_path, save_jpeg) -> None:
    found = open_dataset(clinic(tmp_path, save_jpeg, WIDE))
    weights = [p.labels["weight"] for p in found.photos if p.subject == "P1"]
    assert weights == pytest.approx([139 * 0.45359237, 141 * 0.45359237])
    assert "weights in lb, which were converted to kg" in " ".join(found.assumed)


def test_folders_of_one_patient_at_two_places_are_refused(tmp_path, save_jpeg) -> None:
    source = clinic(tmp_path, save_jpeg, LONG)
    save_jpeg(tmp_path / "other ward/P01/Visit 1/pre/1.jpg", drawn_face(64, 3, 9))
    with pytest.raises(
        DataError, match=r"folders of 1 patient of weights.csv .* are at several places; two people may"
    ):
        open_dataset(source)


def test_a_folder_without_a_weighing_is_told_the_nearest_line(tmp_path, save_jpeg) -> None:
    source = clinic(tmp_path, save_jpeg, LONG.replace("4;1", "P40;1"))
    found = survey_dataset(source)
    (one, _) = found.places["photos without a weighing"]
    assert one == "P04/Visit 1/POST/DCIM/IMG 1.JPG (the nearest patient of the table: line 8)"
    assert "P04" not in " ".join([found.told(), *found.remarks, *found.assumed])


def test_several_tables_and_none_of_the_name_are_refused(tmp_path, save_jpeg) -> None:
    source = clinic(tmp_path, save_jpeg, LONG, name="a.csv")
    (tmp_path / "b.csv").write_text(LONG)
    with pytest.raises(
        DataError, match=r"has no weights\.csv .*; it has the tables a\.csv, b\.csv: rename the right one"
    ):
        open_dataset(source)


def test_photos_of_a_table_are_found_by_name_alone(tmp_path, save_jpeg) -> None:
    for number in range(3):
        save_jpeg(tmp_path / f"photos/IMG_{number}.JPG", drawn_face(64, number, 2))
    save_jpeg(tmp_path / "other/IMG_2.JPG", drawn_face(64, 5, 5))
    text = "Person,Photo,Fatigue (points)\nA,img_0,3\nA,IMG_1.jpg,5\n"
    (tmp_path / "labels.csv").write_text(text)
    source = DataSource(layout="pairs", uri=tmp_path.as_uri(), labels=("fatigue",))
    found = open_dataset(source)
    assert [(p.path.name, dict(p.labels)) for p in found.photos] == [
        ("IMG_0.JPG", {"fatigue (points)": 3.0}), ("IMG_1.JPG", {"fatigue (points)": 5.0}),
    ]  # fmt: skip
    (tmp_path / "labels.csv").write_text(text + "A,IMG_2.JPG,1\n")  # there are two
    with pytest.raises(DataError, match=r"Line 4 of labels.csv .* names a photo that does not exist"):
        open_dataset(source)
