"""Faces on a photo in the public domain (tests/data/README.md), whole and spoilt in every way a user's photo is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from comface.errors import DataError
from comface.faces.detection import align, alignment, eye_centres, faces_in, find_face
from comface.faces.photos import read_photo
from comface.weights.fetched import LANDMARKS, available

PHOTO = Path(__file__).parent / "data" / "astronaut.jpg"
fetched = pytest.mark.skipif(LANDMARKS not in available(), reason="the face model is not fetched (make setup)")
POINTS = np.array([[30.0, 40.0], [50.0, 44.0]])


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return read_photo(PHOTO)


@fetched
def test_the_eyes_of_a_photo_come_to_their_place(photo: NDArray[np.uint8]) -> None:
    face = find_face(photo)
    aligned = align(photo, face.points_52, 128)
    again = eye_centres(find_face(aligned).points_52)
    np.testing.assert_allclose(again.mean(axis=0) + 0.5, [64.0, 60.2], atol=2)
    assert abs(np.linalg.norm(again[1] - again[0]) - 38.4) < 2


@fetched
@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_a_photo_of_another_size_gives_the_same_aligned_face(photo: NDArray[np.uint8], scale: float) -> None:
    side = int(200 * scale)
    resized = np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.LANCZOS))
    one = align(photo, find_face(photo).points_52, 64).astype(float)
    other = align(resized, find_face(resized).points_52, 64).astype(float)
    assert np.abs(one - other).mean() < 8


@fetched
def test_a_turned_photo_is_set_upright(photo: NDArray[np.uint8]) -> None:
    turned = np.asarray(Image.fromarray(photo).rotate(12, Image.Resampling.BICUBIC))
    upright = align(photo, find_face(photo).points_52, 64).astype(float)
    again = align(turned, find_face(turned).points_52, 64).astype(float)
    middle = (slice(16, 56), slice(12, 52))
    assert np.abs(upright - again)[middle].mean() < 10


@fetched
def test_a_photo_without_a_face_is_said_so() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    for image in (noise, np.full((90, 120, 3), 128, np.uint8), np.zeros((4, 400, 3), np.uint8)):
        with pytest.raises(DataError, match=r"No face was found in 'x.jpg'"):
            find_face(image, "'x.jpg'")


@fetched
@pytest.mark.parametrize("bright_border", [False, True])
@pytest.mark.parametrize("light", [0.15, 0.08, 0.05])
def test_the_face_in_a_very_dark_photo_is_found_where_it_is_in_the_light(
    photo: NDArray[np.uint8], light: float, bright_border: bool
) -> None:
    noise = np.random.default_rng(0).normal(0, 1, photo.shape)
    dark = np.clip(photo * light + noise, 0, 255).round().astype(np.uint8)
    if bright_border:
        dark[:12] = 255
    wanted, found = (eye_centres(find_face(image).points_52) for image in (photo, dark))
    assert np.abs(wanted - found).max() < 2  # of 43 px between the eyes


@fetched
def test_two_faces_of_one_size_are_refused_and_a_passer_by_is_not(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="There are 2 faces"):
        find_face(np.concatenate([photo, photo], axis=1))
    scene = np.full((400, 640, 3), 200, np.uint8)
    scene[:, :400] = np.asarray(Image.fromarray(photo).resize((400, 400)))
    scene[100:300, 420:620] = photo
    assert len(faces_in(scene)) == 2
    assert find_face(scene).box[2] < 400


@fetched
def test_a_face_too_small_to_judge_is_refused(photo: NDArray[np.uint8]) -> None:
    tiny = np.asarray(Image.fromarray(photo).resize((44, 44), Image.Resampling.LANCZOS))
    with pytest.raises(DataError, match=r"too small \(the eyes are \d+ px apart"):
        find_face(tiny)


def test_alignment_is_the_similarity_that_puts_both_eyes_in_place() -> None:
    for size_px in (64, 112):
        matrix_23 = alignment(POINTS, size_px)
        placed = POINTS @ matrix_23[:, :2].T + matrix_23[:, 2]
        unit = size_px / 64
        expected = np.array([[22.4, 30.1], [41.6, 30.1]]) * unit - 0.5
        np.testing.assert_allclose(placed, expected, atol=1e-9)
        rotation_22 = matrix_23[:, :2]
        scale = unit * 19.2 / np.hypot(20, 4)
        np.testing.assert_allclose(rotation_22 @ rotation_22.T, scale**2 * np.eye(2), atol=1e-9)
        assert np.linalg.det(rotation_22) > 0


def test_a_mirrored_photo_gives_the_mirrored_face() -> None:
    image = np.random.default_rng(1).integers(0, 255, (90, 80, 3), dtype=np.uint8)
    mirrored_points = np.array([79, 0]) + np.array([-1, 1]) * POINTS
    one = align(image, POINTS, 64).astype(int)
    other = align(np.ascontiguousarray(image[:, ::-1]), mirrored_points, 64)[:, ::-1].astype(int)
    assert np.abs(one - other).max() <= 12


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    checks = np.indices((800, 800)).sum(axis=0) % 2 * 255
    image = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    points = np.array([[280.0, 376.0], [520.0, 376.0]])
    aligned = align(image, points, 64)
    assert abs(float(aligned.mean()) - 127.5) < 2
    assert aligned.std() < 12


def test_landmarks_of_every_known_kind_name_the_same_eyes() -> None:
    five = np.array([[52, 44], [48, 44], [28, 40], [32, 40], [40, 60.0]])
    corners = np.array([[28, 40], [32, 40], [48, 44], [52, 44.0]])
    many = np.zeros((68, 2))
    many[[36, 39, 42, 45]] = corners
    for points in (POINTS, POINTS[::-1], five, corners, many, many[:66]):
        np.testing.assert_allclose(eye_centres(points), POINTS)


@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.zeros((2, 2)), np.full((5, 2), np.nan)])
def test_landmarks_that_place_no_eyes_are_refused(points: NDArray[np.float64]) -> None:
    with pytest.raises(DataError):
        eye_centres(points)
