"""Outputs never replace inputs or devices, are refused before any work; pictures of faces are their owner's alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comface.cli import main
from comface.errors import ConfigurationError
from comface.files import check_output

WEIGHTS = Path(__file__).parent / "data" / "cases" / "weights" / "ros_control.pt"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("L.npy", rng.standard_normal((40, 16)))
    np.save("S.npy", rng.standard_normal(40))
    np.save("N.npy", rng.standard_normal((1, 16)))
    np.save("w.npy", rng.standard_normal((1, 16)))
    shutil.copy(WEIGHTS, "weights.pt")
    Image.new("RGB", (64, 64)).save("photo.npy", "PNG")
    Path("scores.csv").write_text("seed,score\n1,2\n")
    os.link("L.npy", "hard.npy")
    Path("soft.npy").symlink_to("L.npy")
    return tmp_path


FIT = "directions fit --latents L.npy --scores S.npy --condition N.npy --fraction 0.3 --output"
RENDER = "render --generator stylegan2 --weights weights.pt"
OVERWRITING = [
    f"{FIT} L.npy",
    f"{FIT} ./L.npy",
    f"{FIT} hard.npy",
    f"{FIT} soft.npy",
    f"{FIT} S.npy",
    f"{FIT} N.npy",
    f"{RENDER} --latents w.npy --output w.npy",
    f"{RENDER} --seeds 1 --direction N.npy --output N.npy",
    "features --method pixels photo.npy --output photo.npy",
]
DEVICES = [
    f"{FIT} OUT",
    f"{RENDER} --seeds 1 --output OUT",
    "features --method pixels photo.npy --output OUT",
]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("words", OVERWRITING)
def test_an_output_that_is_an_input_is_refused(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    assert main(words.split()) == 64
    assert "which it would overwrite; give another path." in " ".join(capsys.readouterr().err.split())
    assert contents(folder) == before


def test_a_provenance_is_no_input_either(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "L.npy").rename(folder / "n.npy.json")
    assert main([*FIT.replace("L.npy", "n.npy.json").split(), "n.npy"]) == 64
    assert "'n.npy.json' is the input" in capsys.readouterr().err


def test_a_conversion_never_replaces_its_source(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "weights.pt").rename(folder / "weights.safetensors")
    assert main(["convert", "weights.safetensors", "--output", "weights.safetensors"]) == 64
    assert "is the input" in capsys.readouterr().err
    assert (folder / "weights.safetensors").read_bytes() == WEIGHTS.read_bytes()


@pytest.mark.parametrize("words", DEVICES)
def test_nothing_is_written_into_an_artifact(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, place = folder / "model/0123/manifest.json", folder / "model/0123/heads/smile.npy"
    place.parent.mkdir(parents=True)
    for path in (manifest, place):
        path.write_text("{}")
    assert main(words.replace("OUT", "model/0123/heads/smile.npy").split()) == 64
    assert "--output 'model/0123/heads/smile.npy' is inside the artifact" in " ".join(capsys.readouterr().err.split())
    assert place.read_text() == "{}"
    for path in (manifest, folder / "registry/comface/v1.json"):
        with pytest.raises(ConfigurationError, match="is inside the artifact"):
            check_output(path, [])


@pytest.mark.parametrize("words", DEVICES)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "no folder above"])
def test_what_is_no_place_for_a_file_is_refused_before_any_work(
    words: str, kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder / "out.npy"
    if kind == "fifo":
        os.mkfifo(output)
    elif kind == "device":
        output.symlink_to("/dev/null")
    elif kind == "folder":
        output.mkdir()
    else:
        output = folder / "S.npy" / "out.npy"
    assert main(words.replace("OUT", str(output)).split()) == 64
    said = " ".join(capsys.readouterr().err.split())
    assert "not a regular file" in said or "a folder" in said
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("command", ["rehearse fgnet", "directions score --generator procedural --attribute smile"])
@pytest.mark.parametrize("kind", ["fifo", "file", "device"])
def test_an_output_folder_that_is_none_is_refused(
    command: str, kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "fifo":
        os.mkfifo(folder / "out")
    elif kind == "file":
        (folder / "out").touch()
    else:
        (folder / "out").symlink_to("/dev/null")
    assert main([*command.split(), "--output", "out"]) == 64
    assert "--output 'out' is not a folder; give the path of one." in capsys.readouterr().err


def test_the_picture_of_a_screening_is_refused_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["screen", "--picture", "/dev/null", "--set", "store=store"]) == 64
    assert "--picture '/dev/null' is not a regular file" in capsys.readouterr().err
    assert main(["evaluate", "uri", "--backbone", "uri", "--report", "/dev/null"]) == 64
    assert "--report '/dev/null' is not a regular file" in capsys.readouterr().err


def test_pictures_of_faces_are_the_owners_alone(folder: Path) -> None:
    before = os.umask(0o022)
    try:
        for output in ("sheet.png", "raw.npy"):
            assert main(f"{RENDER} --seeds 1 --output {output}".split()) == 0
            assert (folder / output).stat().st_mode & 0o777 == 0o600
        assert main(["features", "--method", "pixels", "photo.npy", "--output", "h.npy"]) == 0
        assert (folder / "h.npy").stat().st_mode & 0o777 == 0o600
        assert main(f"{FIT} n.npy".split()) == 0
        assert (folder / "n.npy").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
    assert np.load("raw.npy").shape == (1, 3, 32, 32)
    assert json.loads((folder / "n.npy.json").read_text())["fraction"] == 0.3


def test_a_table_of_scores_that_is_a_pipe_does_not_hang(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe.csv")
    words = "directions score --generator procedural --attribute smile --scorer pipe.csv --output sample"
    assert main(words.split()) == 64
    assert "not a regular file" in capsys.readouterr().err
    words = "directions score --generator procedural --attribute smile --weights /dev/zero --output sample"
    assert main(words.split()) == 64
    assert "not a regular file" in capsys.readouterr().err
