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


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trust_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(SCRIPT.parent))  # trust_photos.py and trust_damage.py are beside it
    spec.loader.exec_module(module)
    return module


TRUST = script()
TRUST_PHOTOS = sys.modules["trust_photos"]
KINDS = [(code, name) for code, kinds in TRUST.DAMAGES.items() for name in kinds]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_photo(PHOTO)


def test_a_photo_without_damage_breaks_no_rule(photo: np.ndarray) -> None:
    assert TRUST.codes_of(photo) == set()


@pytest.mark.parametrize(("code", "name"), KINDS)
def test_a_damaged_photo_is_refused_for_the_right_reason(photo: np.ndarray, code: str, name: str) -> None:
    damaged = TRUST.DAMAGES[code][name](photo, TRUST.Frame.of(find_face(photo)))
    assert code in TRUST.codes_of(np.ascontiguousarray(damaged))


def test_the_covered_part_is_named(photo: np.ndarray) -> None:
    frame = TRUST.Frame.of(find_face(photo))
    for name, part in (("box over the mouth", "the mouth"), ("box over one eye", "the right eye")):
        damaged = TRUST.DAMAGES["occluded"][name](photo, frame)
        found = {rule.code: rule.sentence for rule in broken(*measured(damaged, find_face(damaged)))}
        assert found["occluded"] == f"{part} in {{photo}} seems to be covered or turned away"


def test_a_mirrored_face_has_the_other_eye_covered(photo: np.ndarray) -> None:
    face = find_face(photo)
    damaged = TRUST.DAMAGES["occluded"]["box over one eye"](photo, TRUST.Frame.of(face))
    aligned = align(damaged, face.points_52, 128)
    left, right = (covered(each)[PARTS[0]] for each in (aligned, aligned[:, ::-1]))
    assert left < 0.3 < right


def test_half_a_face_is_found_by_its_mirror_image_at_the_edge(photo: np.ndarray) -> None:
    frame = TRUST.Frame.of(find_face(photo))
    half = np.ascontiguousarray(sys.modules["trust_damage"].cut("right", 0)(photo, frame))
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


def test_a_vague_face_is_not_said_to_be_cut(photo: np.ndarray) -> None:
    measures, part = measured(photo, find_face(photo))
    assert [rule.code for rule in broken(measures | {"confidence": -0.4, "outside": 0.3}, part)] == ["cropped"]
    (said,) = broken(measures | {"confidence": -0.6, "outside": 0.3}, part)
    assert (said.code, said.sentence) == (LAST.code, LAST.sentence)


@pytest.mark.parametrize("rule", [*RULES, LAST], ids=lambda rule: f"{rule.code}-{rule.measure}")
def test_a_rule_is_broken_beyond_its_limit_alone(rule) -> None:
    assert not rule.broken({rule.measure: rule.limit})
    assert rule.broken({rule.measure: rule.limit + (-0.01 if rule.below else 0.01)})


def test_the_halves_of_the_people_are_those_of_their_names() -> None:
    chosen = [TRUST_PHOTOS.chooses(f"person-{i}") for i in range(200)]
    assert 70 < sum(chosen) < 130
    assert chosen == [TRUST_PHOTOS.chooses(f"person-{i}") for i in range(200)]


def test_a_narrow_face_is_a_turned_head(photo: np.ndarray) -> None:
    measures, part = measured(photo, find_face(photo))
    assert 0.35 < measures["narrow"] < 0.5
    assert [rule.code for rule in broken(measures | {"narrow": 0.3}, part)] == ["turned"]
    assert [rule.code for rule in broken(measures | {"narrow": 0.3, "turn": 0.5}, part)] == ["turned"], "said once"


def test_a_share_comes_with_its_wilson_interval() -> None:
    assert TRUST.share(0, 10) == "0.0 % (0/10; 0.0 to 27.8 %)"
    assert TRUST.share(8, 10) == "80.0 % (8/10; 49.0 to 94.3 %)"


def test_pairs_are_of_one_person_or_of_two() -> None:
    photos = [
        TRUST.Seen("x", name, "good", frozenset(), np.full(128, at)) for name, at in (("a", 0), ("a", 0), ("b", 1))
    ]
    assert TRUST._pairs(photos)[0] == (True, 0.0, False)
    assert [same for same, _, _ in TRUST._pairs(photos)] == [True, False, False]


def test_errors_are_not_refusals_and_a_source_without_good_photos_has_no_pairs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = [frozenset({"occluded"}), frozenset({"no face"}), frozenset({"turned"}), frozenset({"occluded", "dark"})]
    photos = [TRUST.Seen("mask", f"person-{i}", "occluded", codes) for i, codes in enumerate(said)]
    TRUST.report_labels(photos)
    TRUST.report_pairs(photos, [0.5])
    (line,) = capsys.readouterr().out.splitlines()
    assert "right reason 50.0 % (2/4; " in line
    assert "refused 75.0 % (3/4; " in line


def test_labels_come_from_the_names_of_the_cmu_face_images(tmp_path: Path) -> None:
    folder = tmp_path / TRUST_PHOTOS.CMU / "faces" / "an2i"
    folder.mkdir(parents=True)
    for name in ("left_angry_open", "straight_sad_sunglasses", "straight_sad_open", "up_sad_open", "up_sad_open_2"):
        (folder / f"an2i_{name}.pgm").touch()
    labels = {each.path.stem.split("_", 1)[1]: each.label for each in TRUST_PHOTOS.labelled(tmp_path)}
    assert labels == {
        "left_angry_open": "turned",
        "straight_sad_open": "good",
        "straight_sad_sunglasses": "occluded",
        "up_sad_open": "raised",
    }
