"""`comface compare` over more than two photos: time lines, folders, tables of pairs, and their pictures."""

from __future__ import annotations

import csv
import io
import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comface.cli import main
from comface.models.compare import CANNOT_TELL, Change, Comparison
from comface.models.drawing import MARKS, WIDTH_IN
from comface.models.estimator import load_estimator
from comface.models.picture import picture
from comface.models.time_line import photos_of, time_line
from comface.weights.fetched import DCGAN, FACE_RECOGNITION, LANDMARKS, available

needs_models = pytest.mark.skipif(
    not {DCGAN, LANDMARKS, FACE_RECOGNITION} <= set(available()),
    reason="needs what `comface fetch` takes from packages",
)


@pytest.fixture
def visits(photos: dict[str, Path], tmp_path: Path) -> Path:
    """A folder with three photos of a person, and a file that is none. In the order of letters, 10 is before 2."""
    folder = tmp_path / "visits"
    folder.mkdir()
    for name, photo in (("visit 1", "one"), ("visit 2", "smiling"), ("Visit 10", "one")):
        shutil.copy(photos[photo], folder / f"{name}.png")
    (folder / "notes.txt").write_text("measured in the morning")
    (folder / ".hidden.png").write_bytes(photos["other"].read_bytes())
    return folder


def said(capfd: pytest.CaptureFixture[str], code: int, *arguments: object) -> tuple[str, str]:
    capfd.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    written = capfd.readouterr()
    return written.out, written.err


@pytest.fixture
def store(registered) -> str:
    return registered[1].store.uri


@needs_models
def test_a_folder_stands_for_its_photos_in_the_order_of_their_names(visits: Path) -> None:
    assert [path.name for path in photos_of([visits])] == ["visit 1.png", "visit 2.png", "Visit 10.png"]


@needs_models
def test_a_damaged_photo_of_a_folder_is_named_and_not_skipped(
    visits: Path, store: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (visits / "visit 3.jpg").touch()
    (visits / "visit 4.png").symlink_to("nowhere.png")
    (visits / "visit 5.HEIC").write_text("not an image")
    out, _ = said(capfd, 65, "compare", visits, "--store", store, "--json")
    left_out = [Path(each["photo"]).name for each in json.loads(out)["left_out"]]
    assert left_out == ["visit 3.jpg", "visit 4.png", "visit 5.HEIC"]


@needs_models
def test_each_photo_is_compared_with_the_first_and_with_the_one_before(registered, photos: dict[str, Path]) -> None:
    estimator = load_estimator(registered[0].model)
    line = time_line(estimator, [photos["one"], photos["smiling"], photos["one"]], "comface@v1")
    second, third = line.steps
    for task, change in second.from_first.changes.items():
        assert second.from_previous.changes[task] == change
        assert third.from_first.changes[task].change == pytest.approx(0, abs=1e-5), "the same photo as the first"
        assert third.from_previous.changes[task].change == pytest.approx(-change.change, abs=1e-5)


@needs_models
def test_a_time_line_is_a_list_in_the_json_and_a_picture_with_a_picture_of_each_pair(
    visits: Path, store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    course, pairs = tmp_path / "course.png", tmp_path / "pairs"
    out, _ = said(capfd, 0, "compare", visits, "--store", store, "--json", "--picture", course, "--pictures", pairs)
    found = json.loads(out)
    assert [Path(each["photo"]).name for each in found["time_line"]] == ["visit 2.png", "Visit 10.png"]
    assert {"change", "interval", "verdict", "reasons", "rehearsal", "coverage"} <= set(
        found["time_line"][0]["from_previous"]["changes"]["smile"]
    )
    assert Path(found["first"]).name == "visit 1.png"
    assert sorted(path.name for path in pairs.iterdir()) == ["photo-02.png", "photo-03.png"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (course, *pairs.iterdir())} == {0o600}


@needs_models
def test_a_photo_that_cannot_be_used_is_left_out_of_a_time_line_and_named(
    photos: dict[str, Path], store: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", photos["one"], photos["none"], photos["smiling"], "--store", store]
    out, _ = said(capfd, 65, *words)
    assert "Left out: no face was found in the photo number 2" in out
    assert "\n3  " in out
    found = json.loads(said(capfd, 65, *words, "--json")[0])
    assert [Path(each["photo"]).name for each in found["left_out"]] == ["none.png"]
    _, err = said(capfd, 65, "compare", photos["none"], photos["one"], photos["smiling"], "--store", store)
    assert "the photo number 1" in err, "without the first there is nothing to compare with"


@needs_models
def test_a_table_of_pairs_gives_a_table_in_which_a_bad_row_says_why_and_the_others_go_on(
    photos: dict[str, Path], store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = photos["one"].parent
    table, output, drawn = tmp_path / "pairs.csv", tmp_path / "changes.csv", tmp_path / "drawn"
    rows = ["Patient;Before;After;kg", f"P1;{folder}/one.png;{folder}/smiling.png;71,5", f"P2;{folder}/one.png;;70,0",
            f"P3;{folder}/none.png;{folder}/one.png;65,2", f"P4;{folder}/smiling.png;{folder}/one.png;"]  # fmt: skip
    table.write_text("\n".join(rows), encoding="utf-16")
    words = ["compare", "--table", table, "--store", store, "--output", output, "--pictures", drawn]
    out, err = said(capfd, 65, *words)
    assert out == ""
    assert "2 of 4 pairs could not be compared, the first in line 3" in err
    made = list(csv.DictReader(io.StringIO(output.read_text())))
    first = [row for row in made if row["patient"] == "P1"]
    assert {row["task"] for row in first} == {"age", "smile"}
    assert {row["kg"] for row in first} == {"71,5"}, "carried through as it is"
    back = {row["task"]: float(row["change"]) for row in made if row["patient"] == "P4"}
    assert {row["task"]: -float(row["change"]) for row in first} == pytest.approx(back, rel=1e-4)
    assert {row["rehearsal"] for row in first if row["task"] == "age"} == {"true"}
    bad = {row["patient"]: row["error"] for row in made if row["error"]}
    assert bad["P2"] == "The cell 'after' is empty; write the path of a photo."
    assert "No face was found in the photo BEFORE" in bad["P3"]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert sorted(path.name for path in drawn.iterdir()) == ["line-0002.png", "line-0005.png"]
    in_json = json.loads(said(capfd, 65, "compare", "--table", table, "--store", store, "--json")[0])["pairs"]
    assert [pair["line"] for pair in in_json] == [2, 3, 4, 5]
    assert in_json[0]["cells"]["patient"] == "P1"


@needs_models
def test_paths_in_a_table_start_from_its_folder(
    photos: dict[str, Path], store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch
) -> None:
    (tmp_path / "study" / "photos").mkdir(parents=True)
    shutil.copy(photos["one"], tmp_path / "study" / "photos" / "a.png")
    (tmp_path / "study" / "pairs.csv").write_text("Vorher,Nachher,change\nphotos/a.png,photos\\a.png,1\n")
    monkeypatch.chdir(tmp_path)
    out, _ = said(capfd, 0, "compare", "--table", "study/pairs.csv", "--store", store, "--json")
    (pair,) = json.loads(out)["pairs"]
    assert [each["change"] for each in pair["changes"].values()] == pytest.approx([0, 0], abs=1e-5)
    assert pair["cells"]["change"] == "1", "the JSON adds no columns, so the table may have any"


def test_options_that_do_not_go_together_are_refused_before_any_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.csv").write_text("before,after\na.jpg,b.jpg\n")
    (tmp_path / "twice.csv").write_text("before,after,verdict\na.jpg,b.jpg,x\n")
    (tmp_path / "empty").mkdir()
    table = tmp_path / "pairs.csv"
    for words, code, reason in (
        ([], 64, "got 0 photos; give two photos or more"),
        (["a.jpg"], 64, "got 1 photo;"),
        ([tmp_path / "empty"], 64, "has no photos"),
        (["a.jpg", "--table", table], 64, "--table names the photos"),
        (["--table", table, "--picture", "x.png"], 64, "--pictures DIR draws each pair"),
        (["--table", table, "--output", table], 64, "would overwrite"),
        (["--table", table, "--output", tmp_path / "o.xlsx"], 64, "does not end in .csv"),
        (["--table", table, "--output", tmp_path / "o.csv", "--json"], 64, "does not end in .json"),
        (["--table", tmp_path / "twice.csv"], 65, "The column 'verdict'"),
        (["--table", tmp_path / "none.csv"], 64, "does not exist"),
        (["a.jpg", "b.jpg", "--output", "x.csv"], 64, "--output is for the result of --table"),
        (["a.jpg", "b.jpg", "--saliency"], 64, "--saliency draws into a picture"),
        (["a.jpg", "b.jpg", "--pictures", table], 64, "is not a folder"),
    ):
        _, err = said(capfd, code, "compare", *words)
        assert reason in err
        assert err.count("\n") == 1


def test_the_picture_is_as_wide_as_planned_and_names_every_verdict_by_a_mark_of_its_own() -> None:
    assert len({mark for mark, _ in MARKS.values()}) == len({marker for _, marker in MARKS.values()}) == 3
    face_SS3 = np.full((40, 40, 3), 120, np.uint8)
    changes = {
        "one": Change(1.0, "kg", (0.5, 1.5), 0.9, title="$x$ weight"),
        "two": Change(-1.0, "kg", (-1.5, -0.5), 0.9, True),
        "three": Change(0.1, "a unit whose name is much longer than the row" * 3, None, 0.9),
    }
    assert {each.verdict for each in changes.values()} == {"increase", "decrease", CANNOT_TELL}
    comparison = Comparison("comface@v1", changes, face_SS3, face_SS3)
    plain, true = (Image.open(io.BytesIO(picture(comparison, truth))) for truth in (None, {"one": 3.0}))
    assert plain.width == true.width == WIDTH_IN * 200
    assert plain.tobytes() != true.tobytes()


@needs_models
def test_a_picture_that_was_drawn_into_the_folder_of_the_photos_is_not_a_photo(
    visits: Path, store: str, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = photos_of([visits])
    said(capfd, 0, "compare", visits, "--store", store, "--picture", visits / "course.png")
    said(capfd, 0, "saliency", "--method", "scratch", photos[0], "--output", visits / "look.png")
    capfd.readouterr()
    assert photos_of([visits]) == photos
    assert capfd.readouterr().err == f"Left out 2 pictures that comface drew in '{visits}'.\n"


def test_pictures_never_replace_the_photos_of_a_folder(visits: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in visits.iterdir()}
    _, error = said(capfd, 64, "compare", visits, "--picture", visits / "visit 1.png")
    assert "which it would overwrite" in error
    _, error = said(capfd, 64, "compare", visits, "--pictures", visits)
    assert "is the folder of the photos" in error
    assert {path.name: path.read_bytes() for path in visits.iterdir()} == before
