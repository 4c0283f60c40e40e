"""The journey of docs/data.md: a spreadsheet and folders as they are, `comface check`, a run on a backbone at hand."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from comface.artifacts.manifest import open_artifact
from comface.cli import main
from comface.datasets.recognized import layout_in
from comface.errors import DataError
from comface.generators.procedural import ProceduralGenerator
from comface.methods.config import TrainedConfig
from comface.models.shipped import shipped_model
from comface.plan.chosen import Chosen
from comface.plan.config_file import read_config
from comface.plan.step import plan_run
from comface.pretrain.reuse import reused_backbone
from comface.run.folders import begin, study_folder
from comface.store import FileStore

CASES = Path(__file__).parent / "data" / "cases"
PAGE = Path(__file__).parents[1] / "docs" / "data.md"
PEOPLE = ("P01", "P02", "P03", "Müller", "P05")


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    made = ProceduralGenerator()
    images_N3HW = made.render(made.latents(range(3, 3 + len(PEOPLE))), 160)
    pixels_NHW3 = ((images_N3HW + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(each) for each in pixels_NHW3]


def clinic(folder: Path, photos: list[Image.Image]) -> Path:
    """The folder of step 1, with what a real one has besides."""
    rows = ["Weights of the ward;;;;", ";;;;", "Patient;Date;Before/After;Weight (kg);Note"]
    for number, (name, photo) in enumerate(zip(PEOPLE, photos, strict=True)):
        for phase, weight in (("before", 63.5 + number), ("after", 61.0 + number)):
            kilograms = f"{weight:.1f}".replace(".", ",")
            rows.append(f"{name};05.03.2024;{phase};{kilograms};{'tired' if number else ''}")
            place = folder / unicodedata.normalize("NFD", name) / "2024-03-05" / phase.upper()
            place.mkdir(parents=True)
            shade = np.asarray(photo).astype(int) - (5 if phase == "after" else 0)
            Image.fromarray(shade.clip(0, 255).astype(np.uint8)).save(place / f"IMG_{number:03}.JPG")
    shutil.copy(CASES / "edema/appledouble_000.jpg.bin", folder / "P01/2024-03-05/BEFORE/._IMG_000.JPG")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "Weights.csv").write_bytes("\r\n".join([*rows, ";;;;", ""]).encode("cp1252"))
    return folder


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["check", *words])
    return code, capsys.readouterr().out


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_checked_and_its_configuration_is_the_one_of_the_page(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    clinic(home / "clinic", faces)
    code, said = checked(capsys, "./clinic")
    assert code == 0, said
    assert "found       5 subjects, 5 sessions, 10 photos" in said
    assert "label       weight: 10 photos, 61 to 67.5" in said
    assert "column 'Weight (kg)' → weight_kg" in said
    assert "column 'Note' → not read" in said
    for assumed in ("Windows-1252", "';' as the column separator", "decimal commas", "from line 3 on"):
        assert assumed in said
    assert "at least 10 are needed for a 90 % prediction interval" in said
    printed = yaml.safe_load(said.partition("study.yaml):\n")[2].partition("\nNothing is wrong")[0])
    shown = yaml.safe_load(next(block for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)))
    printed["data"]["clinic"]["uri"] = "./clinic"
    printed["tasks"]["clinic-weight"]["title"] = shown["tasks"]["clinic-weight"]["title"]
    assert printed == shown


def page_study(home: Path) -> list[str]:
    """Step 3 and the commands of step 4, literally."""
    text = PAGE.read_text("utf-8").partition("## In a configuration file")[0]
    (home / "study.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    return re.findall(r"^comface (.*study\.yaml)$", text, re.MULTILINE)


def test_the_configuration_of_the_page_is_accepted_and_needs_no_training(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    clinic(home / "clinic", faces)
    check, run = page_study(home)
    assert (check, run) == ("check --config study.yaml", "run --config study.yaml")
    code, said = checked(capsys, *check.split()[1:], "--json")
    assert code == 0, said
    (found,) = json.loads(said)["data"]
    assert (found["subjects"], found["photos"], found["tasks"]["clinic-weight"]["pairs"]) == (5, 10, 5)
    chosen = Chosen(None, read_config(Path("study.yaml")), ())
    more = chosen.of_a_study(chosen.configuration())
    assert more == ["pretrain.reuse=at-hand", "register.name=study"]
    config = chosen.configuration(more=more)
    plans = plan_run(config, "")
    assert plans.counts["synthesize"] == 0
    assert plans.evaluate.titles == {"clinic-weight": "Weight in the clinic"}
    assert plans.pretrain.pretrain.backbone == TrainedConfig.of(shipped_model()).backbone
    for trains in ("pretrain.epochs=4", "synthesize.parts=1"):
        assert "pretrain.reuse=at-hand" not in Chosen(None, chosen.file, (trains,)).of_a_study(config)


@pytest.mark.system
def test_the_run_of_the_page_ends_with_a_report_of_your_data_and_a_model(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    clinic(home / "clinic", faces)
    _, run = page_study(home)
    assert main(run.split()) == 0
    assert "model       study@v1" in capsys.readouterr().err
    report = (home / "runs/study-1/report.html").read_text("utf-8")
    assert "Weight in the clinic" in report
    assert "your data" in report
    photo = next((home / "clinic/P02").rglob("*.JPG"))
    assert main(["compare", str(photo), str(photo), "--model", "study"]) == 0
    assert "Weight in the clinic" in capsys.readouterr().out
    assert main(run.split()) == 0
    assert (home / "runs/study-2/report.html").is_file()


def test_everything_that_is_wrong_is_said_in_one_go_and_resolve_says_the_same(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clinic(home / "clinic", faces)
    text = (folder / "Weights.csv").read_bytes().decode("cp1252").replace("63,5", "much").replace("62,0", "6200")
    (folder / "Weights.csv").write_bytes(text.encode("cp1252"))
    shutil.copy(folder / "P03/2024-03-05/BEFORE/IMG_002.JPG", folder / "P05/2024-03-05/AFTER/copy.jpg")
    (folder / "P05/2024-03-05/AFTER/IMG_004.JPG").write_bytes(b"no picture")
    page_study(home)
    code, said = checked(capsys, "--config", "study.yaml")
    assert code == 65
    assert "5 problems:" in said, said
    for words in (
        "Line 4 of weights.csv of the data set at './clinic' has no weight in kilograms in the column 'Weight (kg)'",
        "Line 7 of weights.csv of the data set at './clinic' has no weight in kilograms (1 to 700)",
        "are the same picture under two subjects",
        "is damaged, truncated or not a supported image",
    ):
        assert words in said, said
    assert "Müller" not in said.partition("problems:")[2]
    chosen = Chosen(None, read_config(Path("study.yaml")), ("pretrain.reuse=at-hand",))
    with pytest.raises(DataError) as raised:
        plan_run(chosen.configuration(), "")
    problems = said.partition("problems:\n")[2]
    assert [str(each) for each in raised.value.problems] == re.findall(r"^  \d\. (.*)$", problems, re.MULTILINE)


def test_what_is_left_out_is_listed_by_line_and_file(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clinic(home / "clinic", faces)
    shutil.rmtree(folder / "P05/2024-03-05/AFTER")
    faces[0].save(folder / "portrait.png")
    shutil.copytree(folder / "P01/2024-03-05", folder / "P09/s1")
    _, said = checked(capsys, "./clinic")
    assert "left out    weighings without a photo (1): line 13" in said
    assert "left out    photos outside of PATIENT/SESSION/before and after (1): portrait.png" in said
    assert (
        "left out    photos without a weighing (2): P09/s1/AFTER/IMG_000.JPG (the nearest patient of the table: "
        in said
    )


def test_a_folder_is_recognized_by_its_file_names_although_its_files_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "films" / "Videos_LeftCamera").mkdir(parents=True)
    (home / "films" / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi").write_bytes(b"no video")
    (home / "faces").mkdir()
    (home / "faces" / "001A02.jpg").write_bytes(b"no photo")
    assert (layout_in("./films"), layout_in("./faces")) == ("disfa", "fgnet")


def test_the_unit_of_a_task_is_the_one_in_the_heading_or_in_the_cells(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "legs").mkdir()
    rows = ["Name;Bild;Girth 'left' (cm);Mood;Gewicht;Weight"]
    for number, photo in enumerate(faces):
        photo.save(home / f"legs/{number}.png")
        rows.append(f"{number};{number}.png;{30 + number};{number};7{number},4 kg;16{number} lb")
    (home / "legs/labels.csv").write_text("\n".join(rows))
    _, said = checked(capsys, "legs", "--json")
    units = {task["label"]: task["unit"] for task in json.loads(said)["configuration"]["tasks"].values()}
    assert units == {"girth 'left' (cm)": "cm", "mood": "points", "gewicht": "kg", "weight": "lb"}


def test_two_folders_of_one_name_and_a_folder_named_like_a_data_set_are_not_confused(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("a", "b"):
        (home / place / "clinic").mkdir(parents=True)
    assert main(["check", "./a/clinic", "./b/clinic"]) == 64
    assert "have one name; check them one at a time" in capsys.readouterr().err
    clinic(home / "clinic", faces)
    (home / "study.yaml").write_text("data: {clinic: {layout: edema, uri: /nowhere/else}}\n")
    assert main(["check", "clinic", "--config", "study.yaml"]) != 0
    assert "/nowhere/else" in "".join(capsys.readouterr())


@pytest.mark.parametrize("words", [["nothing"], ["--config", "empty.yaml"], ["./two\nlines"]])
def test_what_cannot_be_checked_is_said_in_a_sentence(
    home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "empty.yaml").write_text("data: {}\n")
    (home / "two\nlines").mkdir()
    assert main(["check", *words]) in (64, 65)
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert re.search(r"(name one of|name a folder|no such folder|is not a location)", said), said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["./nowhere"], "does not exist; mount it"),
        (["visits/weights.csv"], "is a file, not the folder of a data set; give the folder '"),
        (["sheet.csv"], "is a file, not the folder of a data set"),
        (["--config", "visits/study.yaml"], "'./legs' does not exist in the current folder, '"),
    ],
)
def test_what_is_no_folder_is_said_with_what_to_do(
    home: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "visits/legs").mkdir(parents=True)
    (home / "visits/study.yaml").write_text("data: {legs: {layout: pairs, uri: ./legs}}\n")
    (home / "visits/weights.csv").touch()
    (home / "sheet.csv").touch()
    code, said = checked(capsys, *words)
    assert code in (64, 65)
    assert why in said


def test_a_folder_that_cannot_be_read_is_reported_beside_the_others(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    clinic(home / "good", faces)
    for name in ("dates", "more"):
        (home / name).mkdir()
        (home / name / "weights.csv").write_text("Person,05.03.2024,06.03.2024\nP01,63.5,61\n")
    code, said = checked(capsys, "./good", "./dates", "./more", "--json")
    told = json.loads(said)
    assert (code, told["accepted"], len(told["problems"])) == (65, False, 2), said
    assert [name in problem for name, problem in zip(("'dates'", "'more'"), told["problems"], strict=True)] == [
        True
    ] * 2
    assert [(one["name"], one["subjects"]) for one in told["data"]] == [("good", 5), ("dates", 0), ("more", 0)]
    assert set(told["configuration"]["data"]) == {"good"}
    assert told["configuration"]["transfer"] == {"tasks": ["good-weight"]}
    code, said = checked(capsys, "./dates")
    assert code == 65
    assert "1 problem:" in said
    assert "study.yaml" not in said, "there is no configuration of a run"


def test_doctor_and_config_describe_the_run_of_the_file(
    home: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KFP_ENDPOINT", "KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    clinic(home / "clinic", faces)
    page_study(home)
    main(["doctor", "--config", "study.yaml", "--json"])
    rows = {row["name"]: row["found"] for row in json.loads(capsys.readouterr().out)["checks"]}
    assert rows["weights"] == "not needed: the run uses a backbone that exists"
    assert main(["config", "--config", "study.yaml"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["pretrain"]["reuse"], printed["register"]["name"]) == ("at-hand", "study")


@pytest.mark.parametrize("output", [".", "clinic", "clinic/runs", "link"])
def test_a_run_does_not_write_into_the_folder_of_a_data_set(
    home: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "clinic").mkdir()
    (home / "link").symlink_to(home / "clinic")
    page_study(home)
    before = sorted(home.rglob("*"))
    assert main(["run", "--config", "study.yaml", "--output", output]) == 64
    assert "of --output is, contains or lies in the folder of the data set 'clinic'" in capsys.readouterr().err
    assert sorted(home.rglob("*")) == before


def test_a_reused_backbone_is_the_models_own_and_is_copied_once(tmp_path: Path) -> None:
    store, model = FileStore(tmp_path / "store"), shipped_model()
    made = reused_backbone(store, model.pinned)
    assert made.manifest.kind == "backbone"
    assert made.read("model.safetensors") == model.read("model.safetensors")
    assert TrainedConfig.of(made) == TrainedConfig.of(model)
    assert reused_backbone(store, model.pinned).uri == made.uri
    assert reused_backbone(store, made.pinned).uri == made.uri
    assert open_artifact(made.pinned, "backbone").facts["reused"] == model.uri


def test_each_run_of_a_study_has_its_own_folder_and_an_interrupted_one_resumes(home: Path) -> None:
    first = study_folder("study", "a: 1\n")
    assert first == home / "runs/study-1"
    begin(first, "a: 1\n")
    assert study_folder("study", "a: 1\n") == first
    assert study_folder("study", "a: 2\n") == home / "runs/study-2"
    (first / "report.html").write_text("report")
    assert study_folder("study", "a: 1\n") == home / "runs/study-2"


def test_an_earlier_report_is_set_aside_when_its_folder_is_used_again(tmp_path: Path) -> None:
    begin(tmp_path, "a: 1\n")
    (tmp_path / "report.html").write_text("first")
    begin(tmp_path, "a: 2\n")
    assert not (tmp_path / "report.html").exists()
    (kept,) = tmp_path.glob("earlier/*/report.html")
    assert kept.read_text() == "first"
    assert (kept.parent / "configuration.yaml").read_text() == "a: 1\n"
