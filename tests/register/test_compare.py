"""Compare: photos in, changes out; exact against transfer's own head, and one sentence for every unusable photo."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from comface.artifacts.manifest import Draft, open_artifact
from comface.errors import DataError
from comface.faces import framing
from comface.faces.detection import Face
from comface.faces.identity import THRESHOLD
from comface.faces.photos import read_photo
from comface.faces.usable import Broken
from comface.methods import load_method
from comface.methods.encoder import Sources, encode
from comface.models.caveats import Caveats, Reason, caveats_of
from comface.models.compare import (
    Change,
    Comparison,
    changes_of,
    compare,
    compare_with,
    notes,
    one_per_quantity,
    table,
)
from comface.models.estimator import load_estimator
from comface.models.format import Interval, Task
from comface.models.photo import Prepared
from comface.models.picture import picture
from comface.networks.backbones import build_backbone
from comface.networks.head import Head
from comface.register.config import RegisterConfig
from comface.register.step import register
from comface.weights.fetched import DCGAN, FACE_RECOGNITION, LANDMARKS, available

needs_models = pytest.mark.skipif(
    not {DCGAN, LANDMARKS} <= set(available()), reason="needs what `comface fetch` takes from packages"
)
SURE_FACES = (15, 16, 19, 22)
KEYS = {
    "title", "quantity", "change", "unit", "interval", "coverage", "rehearsal", "verdict", "reasons", "codes"
}  # fmt: skip


def noise_faces(count: int, side_px: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side_px, side_px, 3), np.uint8)


# Numbers


def test_a_change_is_the_mean_over_the_faces_and_their_mirror_images(registered) -> None:
    result, chain = registered
    estimator = load_estimator(result.model)
    before, after = noise_faces(2)
    found = estimator.changes(before, after)
    assert found == pytest.approx(estimator.changes(before[:, ::-1], after[:, ::-1]), abs=1e-5)
    encoder = load_method("comface", Sources(backbone=chain.backbone))
    for task, value in found.items():
        head = Head.read(safetensors.numpy.load(result.model.read(f"heads/{task}.safetensors")))
        h_ND = encode(encoder, np.stack([before, after, before[:, ::-1], after[:, ::-1]]))
        there = head(h_ND[:1], h_ND[1:2])[0] + head(h_ND[2:3], h_ND[3:])[0]
        back = head(h_ND[1:2], h_ND[:1])[0] + head(h_ND[3:], h_ND[2:3])[0]
        expected = (there - back) / 4
        assert value == pytest.approx(expected, abs=1e-4)


def test_the_change_back_is_the_change_with_the_other_sign(registered) -> None:
    estimator = load_estimator(registered[0].model)
    before, after = noise_faces(2)
    there, back = estimator.changes(before, after), estimator.changes(after, before)
    assert there == pytest.approx({task: -value for task, value in back.items()}, abs=1e-6)
    assert any(abs(value) > 1e-3 for value in there.values())


def test_an_interval_is_centred_on_the_estimate(registered) -> None:
    result, _ = registered
    estimator = load_estimator(result.model)
    before, after = noise_faces(2)
    for task, each in changes_of(estimator, before, after).items():
        interval = estimator.record[task].interval
        assert interval is not None
        width = interval.mean_half_width
        assert each.interval == (each.change - width, each.change + width)


def test_an_interval_is_wider_for_photos_that_differ_and_says_in_what(registered) -> None:
    estimator = load_estimator(registered[0].model)
    interval = Interval(constant=1.0, weights={"light": 0.1, "turn": 2.0}, mean_half_width=1.5)
    record = {task: entry.model_copy(update={"interval": interval}) for task, entry in estimator.record.items()}
    estimator = replace(estimator, record=record)
    faces = noise_faces(2)
    alike = changes_of(estimator, *faces, apart={"light": 0.0, "turn": 0.0})["smile"]
    dark = changes_of(estimator, *faces, apart={"light": 30.0, "turn": 0.0})["smile"]
    assert alike.interval == (alike.change - 1, alike.change + 1)
    assert dark.interval == pytest.approx((dark.change - 4, dark.change + 4))
    said = "the photos differ in lightness, so the 90 % prediction interval is wider than usual"
    assert Reason("unlike_photos", said) in dark.reasons
    assert not any("wider" in reason.sentence for reason in alike.reasons)
    assert alike.record().keys() == KEYS


@needs_models
def test_two_photos_are_compared_with_the_conditions_of_their_faces(registered, photos) -> None:
    """A darker photo against another; the model's interval depends on lightness alone."""
    estimator = load_estimator(registered[0].model)
    interval = Interval(constant=1.0, weights={"light": 1.0}, mean_half_width=1.0)
    record = {task: entry.model_copy(update={"interval": interval}) for task, entry in estimator.record.items()}
    estimator = replace(estimator, record=record)
    darker = photos["one"].with_name("darker.png")
    Image.fromarray((read_photo(photos["one"]) * 0.8).astype(np.uint8)).save(darker)
    same = compare_with(estimator, photos["one"], photos["one"], "model").changes["smile"]
    unlike = compare_with(estimator, photos["one"], darker, "model").changes["smile"]
    assert same.interval == (-1.0, 1.0)
    assert unlike.interval[1] - unlike.interval[0] > 2.5
    assert any(reason.sentence.startswith("the photos differ in lightness") for reason in unlike.reasons)


def test_a_model_of_an_earlier_version_has_one_width_for_all_photos(registered) -> None:
    values = json.loads(registered[0].model.read("heads.json"))["smile"]
    del values["interval"]
    for half_width in (1.25, None):
        task = Task.model_validate_json(json.dumps(values | {"interval_half_width": half_width}))
        assert task.interval == (None if half_width is None else Interval(constant=half_width))
    with pytest.raises(ValidationError, match="extra"):
        Task.model_validate_json(json.dumps(values | {"interval": None, "interval_half_width": 1.0}))


def test_a_damaged_head_and_one_of_another_width_are_refused(registered, tmp_path: Path) -> None:
    result, _ = registered
    shutil.copytree(result.model.store.root, tmp_path / "copy")
    model = open_artifact((tmp_path / "copy").as_uri())
    name = "heads/smile.safetensors"
    head = safetensors.numpy.load(model.read(name))
    data = safetensors.numpy.save({**head, "weight": head["weight"][:5]})
    model.store.write(name, data)
    with pytest.raises(DataError, match=r"'heads/smile\.safetensors' .* does not match its manifest"):
        load_estimator(model)
    narrow = Draft(model.store, "model", {}, {}, {"test": 1})
    for other in model.manifest.objects:
        narrow.write(other, model.store.read(other))
    with pytest.raises(DataError, match=r"in heads/smile\.safetensors, it does not fit the backbone"):
        load_estimator(narrow.publish({}))


# Photos


@needs_models
def test_two_photos_give_a_change_per_task_as_the_design_fixes_the_json(registered, photos: dict[str, Path]) -> None:
    result, _ = registered
    comparison = compare(photos["one"], photos["other"], result.model, "comface@v1")
    record = json.loads(json.dumps(comparison.to_dict()))
    assert set(record) == {"model", "changes", "caveats"}
    assert record["model"] == "comface@v1"
    assert set(record["changes"]) == {"age", "smile"}
    for entry in record["changes"].values():
        assert set(entry) == KEYS
        assert len(entry["reasons"]) == len(entry["codes"])
    assert record["changes"]["age"]["rehearsal"] is True
    assert record["changes"]["smile"]["rehearsal"] is False
    assert record["changes"]["smile"]["coverage"] == 0.9


@needs_models
def test_the_same_photo_twice_has_not_changed(registered, photos: dict[str, Path]) -> None:
    result, _ = registered
    comparison = compare(photos["one"], photos["one"], result.model)
    assert comparison.model == result.model.uri
    assert comparison.changes["smile"].change == pytest.approx(0.0, abs=1e-6)


@needs_models
@pytest.mark.parametrize("role", ["BEFORE", "AFTER"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "No face was found"),
        ("two", "2 faces"),
        ("tiny", "too small"),
        ("text", "not a supported image"),
        ("cut", "cannot be decoded|damaged"),
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("fifo", "is not a regular file"),
        ("long", "cannot be opened"),
    ],
)
def test_a_photo_that_cannot_be_used_is_named_with_its_role(
    registered, photos: dict[str, Path], capfd: pytest.CaptureFixture[str], name: str, reason: str, role: str
) -> None:
    result, _ = registered
    pair = (photos[name], photos["one"]) if role == "BEFORE" else (photos["one"], photos[name])
    with pytest.raises(DataError, match=reason) as error:
        compare(*pair, result.model)
    text = str(error.value)
    assert error.value.exit_code == 65
    assert f"photo {role}" in text
    assert photos[name].name[:100] in text
    assert ("AFTER" if role == "BEFORE" else "BEFORE") not in text
    assert text.endswith(".")
    assert "\n" not in text
    assert capfd.readouterr() == ("", ""), "nothing about a photo is logged"


# What a person sees


@pytest.fixture
def comparison(registered) -> Comparison:
    result, _ = registered
    before, after = noise_faces(2, 192)
    changes = changes_of(load_estimator(result.model), *noise_faces(2))
    return Comparison("comface@v1", changes, before, after)


def test_the_table_has_a_line_per_task_with_unit_interval_verdict_and_rehearsal(comparison: Comparison) -> None:
    lines = table(comparison).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["Age", "Smile"]
    assert "years (rehearsal)" in lines[1]
    assert f"{comparison.changes['smile'].change:+.2f}" in lines[2]
    assert comparison.changes["smile"].verdict in lines[2]
    assert "Interval: 90 % prediction interval for a new person, for photos like those the head was fitted on." in lines
    assert any("the 90 % prediction interval was calibrated on generated faces" in line for line in lines)
    assert "Rehearsal: the head was fitted on generated faces; the estimate says nothing about a real person." in lines


@pytest.mark.parametrize(
    ("change", "width", "verdict"), [(2.0, 1.0, "increase"), (-2.0, 1.0, "decrease"), (0.5, 1.0, "cannot tell"),
                                     (2.0, None, "cannot tell")]
)  # fmt: skip
def test_the_verdict_follows_from_the_interval(change: float, width: float | None, verdict: str) -> None:
    interval = (change - width, change + width) if width else None
    assert Change(change, "kg", interval, 0.9).verdict == verdict


def test_a_model_of_rehearsals_alone_promises_nothing_about_people(comparison: Comparison) -> None:
    only = replace(comparison, changes={"age": comparison.changes["age"]})
    assert not any("new person" in note for note in notes(only))
    assert "rehearsal" in only.to_dict()["changes"]["age"]["reasons"][-1]


def test_the_picture_is_a_png_and_the_same_every_time(comparison: Comparison) -> None:
    first = picture(comparison)
    assert first.startswith(b"\x89PNG")
    assert first == picture(comparison)


@needs_models
@pytest.mark.skipif(FACE_RECOGNITION not in available(), reason="needs the network that `comface fetch` takes")
def test_two_people_get_no_interval_and_no_verdict_but_the_reason(registered, photos: dict[str, Path]) -> None:
    comparison = compare(photos["one"], photos["stranger"], registered[0].model, "comface@v1")
    for entry in comparison.to_dict()["changes"].values():
        assert entry["verdict"] == "cannot tell"
        assert entry["interval"] is None
        assert re.match(
            r"the photos seem to show different people \(distance 0\.\d\d, threshold 0\.50\)$", entry["reasons"][0]
        )
    text = table(comparison)
    assert "The photos seem to show different people" in text
    assert "new person" not in text, "no promise is left"
    assert picture(comparison).startswith(b"\x89PNG")


@needs_models
@pytest.mark.skipif(FACE_RECOGNITION not in available(), reason="needs the network that `comface fetch` takes")
def test_one_person_smiling_is_one_person(registered, photos: dict[str, Path]) -> None:
    assert compare(photos["one"], photos["smiling"], registered[0].model).caveats == Caveats()


def test_without_the_network_it_is_said_that_nobody_checked(registered) -> None:
    face = Face(np.array([[10.0, 20], [20, 20], [40, 20], [50, 20], [30, 40]]), (0, 0, 60, 60), 1.0)
    before, after = noise_faces(2)
    unread = [Prepared(role, each, face, each, {}, {}) for role, each in (("BEFORE", before), ("AFTER", after))]
    caveats = caveats_of(*unread)
    assert not caveats.refused
    assert [reason.code for reason in caveats.reasons] == ["identity_unchecked"]
    changes = changes_of(load_estimator(registered[0].model), before, after, caveats)
    assert all(each.interval and each.reasons[0] == caveats.reasons[0] for each in changes.values())


@pytest.mark.parametrize(
    ("farther_than", "codes", "refused"),
    [(None, [], False), (0.98, [], False), (0.99, ["unlike_training"], False), (1.0, ["unlike_training"], True)],
)
def test_a_photo_unlike_those_that_the_model_has_seen_is_said_and_beyond_all_of_them_refused(
    farther_than: float | None, codes: list[str], refused: bool
) -> None:
    face = Face(np.array([[10.0, 20], [20, 20], [40, 20], [50, 20], [30, 40]]), (0, 0, 60, 60), 1.0)
    (image,) = noise_faces(1)
    same = Prepared("BEFORE", image, face, image, {}, {}, descriptor_D=np.zeros(128))
    caveats = caveats_of(same, replace(same, role="AFTER", farther_than=farther_than))
    assert [reason.code for reason in caveats.reasons] == codes
    assert caveats.refused == refused
    assert all("the photo AFTER" in reason.sentence for reason in caveats.reasons)


@pytest.mark.parametrize(("apart", "refused"), [(THRESHOLD, False), (THRESHOLD + 0.01, True)])
def test_every_reason_of_both_photos_and_of_the_pair_is_given(apart: float, refused: bool) -> None:
    face = Face(np.array([[10.0, 20], [20, 20], [40, 20], [50, 20], [30, 40]]), (0, 0, 60, 60), 1.0)
    (image,) = noise_faces(1)
    before = Prepared("BEFORE", image, face, image, {}, {}, descriptor_D=np.zeros(128))
    after = replace(before, role="AFTER", descriptor_D=np.eye(128)[0] * apart)
    assert caveats_of(before, after).refused is refused
    dark = Broken("dark", "the face in {photo} is too dark")
    caveats = caveats_of(replace(before, broken=(dark,)), replace(after, broken=(dark,)))
    assert [reason.code for reason in caveats.reasons] == ["dark", "dark", *(["different_people"] * refused)]
    assert [reason.sentence for reason in caveats.reasons][:2] == [
        "the face in the photo BEFORE is too dark",
        "the face in the photo AFTER is too dark",
    ]


# One row per quantity


def change_of(unit: str = "kg", **more: Any) -> Change:
    return Change(1.0, unit, **({"interval": (0.5, 1.5), "coverage": 0.9, "quantity": "weight"} | more))


def test_of_three_tasks_in_kg_the_best_measured_one_is_shown_under_the_title_of_the_quantity() -> None:
    changes = {
        "edema-a": change_of(corr=0.8, title="Edema-A"),
        "au12": change_of("AU intensity (0-5)", corr=0.1, quantity="au12", title="AU12, lip corner puller"),
        "edema-b": change_of(corr=0.9),
        "edema-a-to-b": change_of(corr=None),
    }
    assert list(one_per_quantity(changes)) == ["edema-b", "au12"]
    assert [each.title for each in one_per_quantity(changes).values()] == ["Weight", "AU12, lip corner puller"]


def test_a_head_of_real_people_and_one_with_an_interval_come_before_a_higher_correlation() -> None:
    real, few = change_of(corr=0.2), change_of(corr=0.9, reasons=(Reason("few_people", ""),))
    assert list(one_per_quantity({"edema-a": change_of(corr=0.9, rehearsal=True), "edema-b": real})) == ["edema-b"]
    assert list(one_per_quantity({"edema-a": few, "edema-b": real})) == ["edema-b"]


def test_a_fine_tuned_task_is_estimated_by_its_own_network(tmp_path: Path, make_chain: Callable) -> None:
    chain = make_chain(finetuned={"age": 0.6})
    now = datetime(2026, 3, 1, tzinfo=UTC)
    result = register(chain.store, RegisterConfig(), chain.evaluation, chain.backbone, chain.transfers, now, tmp_path)
    estimator = load_estimator(result.model)
    assert estimator.encoder_of == {"age": "backbones/age.safetensors", "smile": "model.safetensors"}
    before, after = noise_faces(2)
    network, _ = build_backbone("narrow")
    state = safetensors.torch.load(result.model.read("backbones/age.safetensors"))
    network.load_state_dict({k.removeprefix("backbone."): v.float() for k, v in state.items()})
    x_NCHW = (
        torch.from_numpy(np.stack([before, after, before[:, ::-1], after[:, ::-1]])).permute(0, 3, 1, 2) / 127.5 - 1
    )
    with torch.no_grad():
        h_ND = network.eval()(x_NCHW.float()).double().numpy()
    head = Head.read(safetensors.numpy.load(result.model.read("heads/age.safetensors")))
    expected = np.mean(head(h_ND[::2], h_ND[1::2]) - head(h_ND[1::2], h_ND[::2])) / 2
    assert estimator.changes(before, after)["age"] == pytest.approx(expected, rel=1e-4)


def test_the_framing_in_the_model_is_the_one_of_the_module_that_aligns(registered) -> None:
    result, _ = registered
    assert result.model.read_json("preprocessing.json")["framing"] == {
        "size_px": framing.FRAME_PX,
        "eye_distance_px": framing.EYE_DISTANCE_PX,
        "eyes_centre_px": list(framing.EYES_MIDPOINT_PX),
    }
