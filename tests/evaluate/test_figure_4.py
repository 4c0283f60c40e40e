"""The report's figure 4: from the features of a rehearsal to one picture of all methods."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from protocols import protocol_sha256

from comface.artifacts.arrays import array_bytes
from comface.artifacts.manifest import Artifact, Draft
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.saliency import saliency_picture
from comface.evaluate.step import evaluate
from comface.methods.encoder import Sources
from comface.methods.example import read_example
from comface.store import FileStore
from comface.transfer.features import features


@pytest.fixture
def store(tmp_path) -> FileStore:
    return FileStore(tmp_path / "store")


def faces(store: FileStore, name: str, rehearsal: bool) -> Artifact:
    draft = Draft(store, "faces", {"name": name}, {}, {"test": 1})
    draft.write("faces.npy", array_bytes(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)))
    draft.write_json("photos.json", [{"subject": "s", "labels": {"au12": float(i % 2)}} for i in range(3)])
    return draft.publish({"dataset": name, "rehearsal": rehearsal})


def transfers(store: FileStore, name: str, rehearsal: bool, *methods: str) -> list[Artifact]:
    """A transfer per method, with its features as an input."""
    made, aligned = [], faces(store, name, rehearsal)
    for method in methods:
        computed = features(store, method, aligned, Sources(network="narrow", image_size_px=48))
        draft = Draft(store, "transfer", {"of": name, "method": method}, {"features": computed}, {"test": 1})
        draft.write_json("predictions.json", {})
        facts = {
            "task": "au12", "method": method, "mode": "linear", "dataset": name, "rehearsal": rehearsal, "subjects": 1,
            "pairs": 3, "protocol_sha256": protocol_sha256("0"),
        }  # fmt: skip
        made.append(draft.publish(facts))
    return made


def test_a_rehearsal_has_the_map_of_its_strongest_face_and_methods_without_a_map_are_left_out(store) -> None:
    made = transfers(store, "disfa", True, "scratch", "pixels")
    example = read_example(made[0].input("features"), "Scratch")
    assert example is not None
    expected = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)[1]
    assert np.array_equal(example.face_SS3, expected)
    assert example.saliency.map_hw.shape == (3, 3)
    assert read_example(made[1].input("features"), "Pixels") is None
    drawn = saliency_picture(made)
    assert drawn is not None
    assert Image.open(io.BytesIO(drawn)).format == "PNG"


def test_faces_of_people_are_never_kept_for_the_report(store) -> None:
    made = transfers(store, "patients", False, "scratch")
    assert set(made[0].input("features").manifest.objects) == {"features-00000.npy"}
    assert saliency_picture(made) is None


def test_the_report_shows_the_picture(store, tmp_path, results) -> None:
    made = results(("smile",), ("scratch", "comface"), ("linear",))
    without = evaluate(store, EvaluateConfig(bootstrap=50), made).read("report.html").decode()
    assert "This run made no saliency maps" in without
    computed = transfers(store, "disfa", True, "scratch")[0].input("features")
    of_scratch = made[0]
    draft = Draft(
        FileStore(tmp_path / "store"), "transfer", {"again": 1},
        {"protocol": of_scratch.input("protocol"), "features": computed}, {"test": 1},
    )  # fmt: skip
    draft.write_json("predictions.json", of_scratch.read_json("predictions.json"))
    made[0] = draft.publish(of_scratch.facts)
    report = evaluate(store, EvaluateConfig(bootstrap=50), made).read("report.html").decode()
    assert "This run made no saliency maps" not in report
    assert "Where each method looks in one generated face" in report
    assert "scratch, disfa, seed 0" in report, "provenance tells the features of data sets and seeds apart"
