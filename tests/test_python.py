"""The Python interface, as a script or a notebook uses it."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_run import ROOT

import comface
from comface.models.references import resolve_model
from comface.models.shipped import FOLDER, shipped_model
from comface.store import FileStore
from comface.weights.fetched import LANDMARKS, available

PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"
finds_faces = pytest.mark.skipif(LANDMARKS not in available(), reason="needs the face model")


def test_importing_the_package_loads_neither_torch_nor_any_of_its_modules() -> None:
    program = "import sys, comface; comface.__all__, dir(comface); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in said if name.startswith("comface.") or name in ("torch", "numpy")] == []


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'comface' has no attribute 'utils'"):
        comface.utils  # noqa: B018


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> object:
    """In an empty folder: the model that ships with the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        return comface.load_model()


def test_without_a_store_the_shipped_model_is_loaded_and_says_that_it_is_a_rehearsal(model, tmp_path: Path) -> None:
    assert model.reference == "shipped"
    assert "**Rehearsal**" in model.card
    assert all(task.rehearsal for task in model.estimator.record.values())
    assert resolve_model(FileStore(tmp_path / "absent"), "shipped")[1].pinned == model.artifact.pinned


def test_a_named_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(comface.ConfigurationError, match=r"There is no store at file:.*/storre; check the path"):
        comface.load_model(store=str(tmp_path / "storre"))


def test_the_shipped_model_is_the_pinned_one_and_small() -> None:
    artifact = shipped_model()
    for name in artifact.manifest.objects:
        artifact.check(name)
    files = [path for path in (FOLDER / "model").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2.7e6  # 2.4 MB, and 0.2 MB of what the model has seen
    lying = {path.name for path in files} - {"manifest.json", "made.json"}
    assert lying == {Path(name).name for name in artifact.manifest.objects}


@finds_faces
def test_a_photo_is_a_path_its_bytes_an_image_or_an_array(model) -> None:
    opened = Image.open(PHOTO)
    same = [PHOTO, str(PHOTO), PHOTO.read_bytes(), opened, np.asarray(opened)]
    features_ND = model.features(same)
    assert features_ND.shape == (5, 1440)
    np.testing.assert_array_equal(features_ND, np.repeat(features_ND[:1], 5, axis=0))
    found = model.compare(PHOTO.read_bytes(), np.asarray(opened)).to_dict()
    assert found["model"] == "shipped"
    assert {each["change"] for each in found["changes"].values()} == {0.0}


@finds_faces
def test_a_photo_in_memory_is_turned_upright_and_its_transparent_parts_are_white(model) -> None:
    upright = Image.open(PHOTO)
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=exif)
    clear = np.dstack([np.asarray(upright), np.full(upright.size, 255, np.uint8)])
    h_ND = model.features([PHOTO, Image.open(turned), clear])
    np.testing.assert_array_equal(h_ND, np.repeat(h_ND[:1], 3, axis=0))


@pytest.mark.parametrize(
    ("photo", "error", "said"),
    [
        ("absent.jpg", comface.DataError, "'absent.jpg' does not exist"),
        ("a\0b.jpg", comface.DataError, "embedded null byte"),
        (b"no image", comface.DataError, "not a supported image"),
        (np.zeros((9, 9, 3)), comface.DataError, "type float64; give uint8"),
        (np.zeros((0, 9, 3), np.uint8), comface.DataError, "shape (0, 9, 3)"),
        (np.zeros((90, 90, 3), np.uint8), comface.DataError, "No face was found in the photo BEFORE;"),
        (None, comface.ConfigurationError, "of type NoneType; give a path"),
    ],
)
@finds_faces
def test_a_photo_that_cannot_be_used_is_one_sentence_that_names_it(model, photo, error, said: str) -> None:
    with pytest.raises(error) as raised:
        model.compare(photo, PHOTO)
    assert said in str(raised.value)
    assert "BEFORE" in str(raised.value)


def test_a_model_and_a_store_are_named_by_text_or_path(tmp_path: Path) -> None:
    with pytest.raises(comface.ConfigurationError, match=r"model is an object of type int; give a text or a path"):
        comface.load_model(5)  # type: ignore[arg-type]
    with pytest.raises(comface.ConfigurationError, match=r"model is an object of type list"):
        comface.features([PHOTO], model=[])  # type: ignore[arg-type]
    with pytest.raises(comface.DataError, match=r"no finished artifact at file://.*/nowhere"):
        comface.load_model(tmp_path / "nowhere")
    (tmp_path / "store").mkdir()
    assert comface.load_model("shipped", tmp_path / "store").reference == "shipped"


@finds_faces
def test_a_model_is_pickled_with_its_weights(model) -> None:
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(again.features([PHOTO]), model.features([PHOTO]), rtol=0, atol=1e-5)
    assert again.reference == model.reference


@pytest.mark.parametrize("one", [str(PHOTO), PHOTO, np.zeros((64, 64, 3), np.uint8)])
def test_a_single_photo_in_the_place_of_several_and_weights_without_a_method_are_refused(one: Any) -> None:
    with pytest.raises(comface.ConfigurationError, match="put a single one into a list"):
        comface.features(one)
    with pytest.raises(comface.ConfigurationError, match="weights without a method"):
        comface.features([PHOTO], weights="x.pth")
