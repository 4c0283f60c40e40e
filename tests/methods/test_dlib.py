"""dlib's face recognition as a method: equal to dlib itself, on chips and on aligned faces."""

from __future__ import annotations

from pathlib import Path

import dlib
import numpy as np
import pytest
import torch
from PIL import Image

from comface.cli import main
from comface.errors import DataError
from comface.faces.detection import align, find_face
from comface.faces.identity import THRESHOLD, descriptor
from comface.methods import load_method
from comface.methods.encoder import Encoder, Sources, encode
from comface.weights.dlib_files import read_dlib
from comface.weights.fetched import FACE_RECOGNITION, available, model_path

pytestmark = pytest.mark.skipif(FACE_RECOGNITION not in available(), reason="comface fetch")
ASTRONAUT = Path(__file__).parent.parent / "data/astronaut.jpg"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_method("dlib", Sources())


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    """A face's chip, the same mirrored, dark, shifted, and noise."""
    photo_HW3 = np.asarray(Image.open(ASTRONAUT).convert("RGB"))
    chip_SS3 = np.asarray(Image.fromarray(photo_HW3).resize((150, 150)))
    noise_SS3 = np.random.RandomState(0).randint(0, 256, (150, 150, 3)).astype(np.uint8)
    return np.stack([chip_SS3, chip_SS3[:, ::-1], chip_SS3 // 4, np.roll(chip_SS3, 9, axis=1), noise_SS3])


def of_dlib(chips: np.ndarray) -> np.ndarray:
    network = dlib.face_recognition_model_v1(str(model_path(FACE_RECOGNITION)))
    return np.array([network.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in chips])


def test_descriptors_of_chips_equal_those_of_dlib(encoder: Encoder, chips: np.ndarray) -> None:
    with torch.inference_mode():
        found = encoder.network(encoder.preprocessing.colours(chips)).numpy()
    np.testing.assert_allclose(found, of_dlib(chips), atol=1e-5)


def test_the_command_takes_an_image_of_150_px_as_a_chip(chips: np.ndarray, tmp_path: Path) -> None:
    images = []
    for number, chip in enumerate(chips[:2]):
        images.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(chip).save(images[-1])
    assert main(["features", "--method", "dlib", *images, "--output", str(tmp_path / "f.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "f.npy"), of_dlib(chips[:2]), atol=1e-4)


def test_an_aligned_face_gives_nearly_the_descriptor_of_the_photo(encoder: Encoder) -> None:
    photo_HW3 = np.asarray(Image.open(ASTRONAUT).convert("RGB"))
    face = find_face(photo_HW3)
    (found,) = encode(encoder, align(photo_HW3, face.points_52, 128)[None])
    whole = encoder.preprocessing.model_copy(update={"square": None})
    (without_square,) = encode(Encoder(128, whole, encoder.network), align(photo_HW3, face.points_52, 128)[None])
    true = descriptor(photo_HW3, face)
    assert np.linalg.norm(found - true) < THRESHOLD / 2
    assert np.linalg.norm(found - true) < np.linalg.norm(without_square - true)


def test_it_can_be_trained(encoder: Encoder) -> None:
    encoder.network(torch.rand(2, 3, 150, 150)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in encoder.network.parameters())
    encoder.network.zero_grad()


def test_damaged_files_and_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    content = model_path(FACE_RECOGNITION).read_bytes()
    path = tmp_path / "other.dat"
    cases = {
        "truncated": content[: len(content) // 2],
        "more bytes": content + b"\x00",
        "not a face recognition network": b"\x01\x01\x01\x04abcd" + content[10:],
        "unknown layer": content.replace(b"add_prev_", b"mul_prev_"),
        "contains another network": content.replace(b"\x01\x96\x01\x96", b"\x01\x95\x01\x96", 1),
    }
    for sentence, damaged in cases.items():
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=sentence):
            load_method("dlib", Sources(weights=path))


def test_every_truncation_of_a_file_is_refused_and_nothing_else_is_raised() -> None:
    from comface.weights.pickle_machine import Refused

    content = model_path(FACE_RECOGNITION).read_bytes()
    for size in [*range(0, 400, 7), *np.random.RandomState(0).randint(400, len(content), 20)]:
        with pytest.raises(Refused):
            read_dlib(content[:size])
    assert read_dlib(content)[0].settings[3:] == (150, 150)
