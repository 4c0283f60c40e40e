"""Conditions of a photo: each reacts to what it measures, and little to the size of the aligned face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from comface.faces.conditions import CONDITIONS, conditions
from comface.tasks.conformal import differences

CORNERS = np.array([[30.0, 40], [38, 40], [58, 40], [66, 40]])


@pytest.fixture
def face() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (32, 32, 3), dtype=np.uint8)
    return cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_CUBIC)


def changed(face: np.ndarray, other: np.ndarray) -> dict[str, float]:
    return differences(conditions(face, CORNERS), conditions(other, CORNERS))


def test_every_condition_is_measured(face):
    assert conditions(face, CORNERS).keys() == CONDITIONS.keys()
    assert not any(changed(face, face).values())


def test_less_light_and_a_shadow_on_one_side_are_told_apart(face):
    darker = (face * 0.6).astype(np.uint8)
    shadow = (face * np.linspace(1.0, 0.4, 128)[None, :, None]).astype(np.uint8)
    assert changed(face, darker)["light"] > 10
    assert changed(face, shadow)["side_light"] > 5 * changed(face, darker)["side_light"]


def test_blur_changes_sharpness_and_hardly_light(face):
    blurred = changed(face, cv2.GaussianBlur(face, (0, 0), 3))
    assert blurred["sharpness"] > 0.5
    assert blurred["light"] < 1


def test_a_turned_head_a_tilted_head_and_a_smaller_face_change_the_pose_only(face):
    straight = conditions(face, CORNERS)
    turned = conditions(face, CORNERS * [1, 1] + [[4, 0], [0, 0], [0, 0], [4, 0]])
    assert differences(straight, turned)["turn"] > 0.5
    turn = np.radians(10)
    tilted = conditions(face, CORNERS @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]))
    assert differences(straight, tilted)["tilt"] == pytest.approx(10, abs=0.01)
    assert differences(straight, conditions(face, CORNERS / 2))["size"] == pytest.approx(1, abs=0.01)


def test_the_size_of_the_aligned_face_hardly_matters(face):
    half = cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA)
    assert max(changed(face, half).values()) < 0.1


def test_centres_of_eyes_alone_say_nothing_about_turn(face):
    found = conditions(face, np.array([[34.0, 40], [62, 40]]))
    assert "turn" not in found
    assert "turn" not in differences(found, conditions(face, CORNERS))
