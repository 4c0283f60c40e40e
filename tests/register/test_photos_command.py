"""`comface compare` and `comface features` as a person calls them: what goes out, what is never overwritten."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from tiny_run import comface, without_extras

from comface.cli import main
from comface.weights.fetched import DCGAN, FACE_RECOGNITION, LANDMARKS, available

pytestmark = pytest.mark.skipif(
    not {DCGAN, LANDMARKS, FACE_RECOGNITION} <= set(available()),
    reason="needs what `comface fetch` takes from packages",
)


@pytest.fixture
def store(registered) -> str:
    return registered[1].store.uri


def said(capfd: pytest.CaptureFixture[str], code: int, *arguments: object) -> tuple[str, str]:
    capfd.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    written = capfd.readouterr()
    return written.out, written.err


def test_a_picture_never_replaces_a_photo_a_device_or_a_folder(
    photos: dict[str, Path], store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(photos["one"].read_bytes())
    (tmp_path / "link.png").symlink_to(mine)
    (tmp_path / "hard.png").hardlink_to(mine)
    for output, reason in (
        (mine, "would overwrite"),
        (tmp_path / "link.png", "would overwrite"),
        (tmp_path / "hard.png", "would overwrite"),
        ("/dev/null", "not a regular file"),
        (tmp_path, "is a folder"),
        ("", "The value after '--picture' is empty"),
        (tmp_path / ("n" * 5000), "cannot be used"),
        (tmp_path / "out.jpg", "does not end in .png"),
        ("-", "does not end in .png"),
    ):
        _, err = said(capfd, 64, "compare", mine, photos["smiling"], "--store", store, "--picture", output)
        assert reason in err
        assert err.count("\n") == 1
    assert mine.read_bytes() == photos["one"].read_bytes()
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_picture_of_faces_is_its_owners_alone(
    photos: dict[str, Path], store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "out.png"
    said(capfd, 0, "compare", photos["one"], photos["smiling"], "--store", store, "--picture", picture)
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600


def test_two_people_are_told_of_in_the_json_and_on_the_error_output(
    photos: dict[str, Path], store: str, capfd: pytest.CaptureFixture[str]
) -> None:
    out, err = said(capfd, 0, "compare", photos["one"], photos["stranger"], "--store", store, "--json")
    changes = json.loads(out)["changes"]
    assert {entry["verdict"] for entry in changes.values()} == {"cannot tell"}
    assert err.startswith("The photos seem to show different people (distance ")


def test_features_of_a_registered_model_are_named_by_its_reference(
    photos: dict[str, Path], store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arrays = []
    for number, backbone in enumerate(([], ["--backbone", "comface"], ["--backbone", "comface@v1"])):
        output = tmp_path / f"{number}.npy"
        said(
            capfd, 0, "features", "--method", "comface", *backbone, photos["one"], "--output", output, "--store", store
        )
        arrays.append(np.load(output))
    assert arrays[0].shape == (1, 1440)
    assert all(np.array_equal(arrays[0], array) for array in arrays[1:])
    _, err = said(
        capfd, 64, "features", "--method", "comface", "--backbone", "comface@v9", photos["one"], "--output", output,
        "--store", store,
    )  # fmt: skip
    assert "no version v9 of 'comface'" in err


def test_features_never_replace_an_image(
    photos: dict[str, Path], store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "face.npy"
    image.write_bytes(photos["one"].read_bytes())
    _, err = said(capfd, 64, "features", "--method", "pixels", image, "--output", image, "--store", store)
    assert "would overwrite" in err
    assert image.read_bytes() == photos["one"].read_bytes()


@pytest.mark.parametrize(
    ("option", "sentence"),
    [("--weights", "takes no weights; omit them."), ("--backbone", "takes no backbone; omit it.")],
)
def test_an_option_that_a_method_does_not_read_is_refused(
    option: str, sentence: str, photos: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["features", "--method", "pixels", photos["one"], "--output", tmp_path / "f.npy"]
    _, err = said(capfd, 64, *words, option, tmp_path / "x.pt")
    assert f"The method 'pixels' {sentence}" in err
    assert not (tmp_path / "f.npy").exists()


def test_photos_are_compared_without_the_packages_of_any_extra_which_a_picture_asks_for(
    photos: dict[str, Path], store: str, tmp_path: Path
) -> None:
    environment = without_extras(tmp_path, "train", "cluster")
    words = ["compare", photos["one"], photos["smiling"], "--store", store]
    done = comface(*words, "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changes"]
    done = comface(*words, "--picture", tmp_path / "out.png", environment=environment)
    assert (done.returncode, done.stdout) == (64, "")
    asked = "comface: `comface compare --picture` needs matplotlib; install it with `pip install 'comface[train]'`.\n"
    assert done.stderr == asked
