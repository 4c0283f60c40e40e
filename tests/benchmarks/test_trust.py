"""Photos that cannot be used and photos of two people get "cannot tell", with the right reason."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from comface.errors import DataError
from comface.faces.detection import align, eye_centres, find_face
from comface.faces.photos import read_photo
from comface.faces.usable import LAST, RULES, broken, measured
from comface.faces.visible import PARTS, covered

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "trust.py"
PHOTO = Path(__file__).resolve().parents[1] / "data" / "astronaut.jpg"
NO_FACE = {"σ 0.15"}
"""Damage after which no face is found in this photo: an error says so."""


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trust_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TRUST = script()
KINDS = [(code, name) for code, kinds in TRUST.DAMAGES.items() for name in kinds]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_photo(PHOTO)


def test_a_photo_without_damage_breaks_no_rule(photo: np.ndarray) -> None:
    assert TRUST.codes_of(photo) == set()


@pytest.mark.parametrize(("code", "name"), KINDS)
def test_a_damaged_photo_is_refused_for_the_right_reason(photo: np.ndarray, code: str, name: str) -> None:
    damaged = TRUST.DAMAGES[code][name](photo, TRUST.Frame.of(find_face(photo)))
    assert ("no face" if name in NO_FACE else code) in TRUST.codes_of(np.ascontiguousarray(damaged))


def test_the_covered_part_is_named(photo: np.ndarray) -> None:
    frame = TRUST.Frame.of(find_face(photo))
    for name, part in (("box over the mouth", "the mouth"), ("box over one eye", "the right eye")):
        damaged = TRUST.DAMAGES["occluded"][name](photo, frame)
        found = {rule.code: rule.sentence for rule in broken(*measured(damaged, find_face(damaged)))}
        assert found["occluded"] == f"{part} in {{photo}} seems to be covered"


def test_a_mirrored_face_has_the_other_eye_covered(photo: np.ndarray) -> None:
    face = find_face(photo)
    damaged = TRUST.DAMAGES["occluded"]["box over one eye"](photo, TRUST.Frame.of(face))
    aligned = align(damaged, face.points_52, 128)
    left, right = (covered(each)[PARTS[0]] for each in (aligned, aligned[:, ::-1]))
    assert left < 0.3 < right


def test_half_a_face_is_found_by_its_mirror_image_at_the_edge(photo: np.ndarray) -> None:
    frame = TRUST.Frame.of(find_face(photo))
    half = np.ascontiguousarray(TRUST.cut("right", 0)(photo, frame))
    face = find_face(half, faint=True)
    assert face.confidence > find_face(half).confidence + 0.5
    assert eye_centres(face.points_52)[0] == pytest.approx(eye_centres(find_face(photo).points_52)[0], abs=8)


def test_an_image_without_a_face_has_no_faint_face_either() -> None:
    grey = np.full((240, 320, 3), 128, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for image in (grey, noise):
        with pytest.raises(DataError, match="No face was found"):
            find_face(image, faint=True)


def test_an_edge_darkness_or_blur_explains_a_faint_face(photo: np.ndarray) -> None:
    measures, part = measured(photo, find_face(photo))
    assert [rule.code for rule in broken(measures | {"confidence": -0.2}, part)] == ["occluded"]
    assert [rule.code for rule in broken(measures | {"confidence": -0.2, "detail": 0.1}, part)] == ["blurred"]


@pytest.mark.parametrize("rule", [*RULES, LAST], ids=lambda rule: f"{rule.code}-{rule.measure}")
def test_a_rule_is_broken_beyond_its_limit_alone(rule) -> None:
    assert not rule.broken({rule.measure: rule.limit})
    assert rule.broken({rule.measure: rule.limit + (-0.01 if rule.below else 0.01)})


def test_the_halves_of_the_people_are_those_of_their_names() -> None:
    people = [TRUST.Person(f"person-{i}", ()) for i in range(200)]
    assert 70 < sum(person.chooses for person in people) < 130
    assert people[0].chooses == TRUST.Person("person-0", ()).chooses
