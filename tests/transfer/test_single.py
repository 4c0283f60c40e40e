"""Tasks of single photos: the linear head against scikit-learn, and classes."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import drawn_face
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn import metrics
from sklearn.linear_model import Ridge as Reference

from comface.artifacts.arrays import array_bytes, read_arrays
from comface.artifacts.manifest import Artifact, Draft
from comface.errors import ConfigurationError, DataError
from comface.store import FileStore, Store
from comface.tasks.classes import class_metrics, confusion
from comface.tasks.config import Task
from comface.tasks.predictions import read_predictions
from comface.transfer import single
from comface.transfer.config import TransferConfig
from comface.transfer.protocol import draw_protocol
from comface.transfer.step import Item, transfer


def data(seed: int = 0, photos: int = 120, width: int = 12) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    h_ND = (5 + rng.normal(size=(photos, width)) * np.linspace(0.5, 3, width)).astype(np.float32)
    return h_ND, h_ND @ rng.normal(size=width) + rng.normal(size=photos) + 40


def sample(h_ND: NDArray[np.float32], label_N: NDArray[np.float64], rows: NDArray[np.int64], classes: int = 0):
    return single.Sample(h_ND, rows, single.targets(label_N[rows], classes))


@pytest.mark.parametrize("standardised", [False, True])
def test_the_head_equals_ridge_regression_of_scikit_learn(standardised: bool) -> None:
    h_ND, label_N = data()
    rows = np.arange(90)
    head, penalty = single.fit([sample(h_ND, label_N, rows)], sample(h_ND, label_N, np.arange(90, 120)), standardised)
    z_ND = np.asarray(h_ND[rows], np.float64)
    scale_D = z_ND.std(axis=0) if standardised else np.sqrt(z_ND.var(axis=0).mean())
    z_ND = (z_ND - z_ND.mean(axis=0)) / scale_D
    strength = penalty * len(rows) * z_ND.var(axis=0).mean()
    right = Reference(alpha=strength).fit(z_ND, label_N[rows])
    assert np.allclose(head.weight_DK[:, 0], right.coef_, rtol=1e-6)
    assert np.allclose(single.predicted(head, h_ND, rows), right.predict(z_ND), rtol=1e-6)


def test_the_penalty_is_chosen_on_the_validation_photos_only() -> None:
    h_ND, label_N = data()
    label_N[:60] = np.random.default_rng(1).normal(size=60)  # training labels that the features do not show
    rows = np.arange(60)
    _, penalty = single.fit([sample(h_ND, label_N, rows)], sample(h_ND, label_N - 40, np.arange(60, 120)), False)
    _, own = single.fit([sample(h_ND, label_N, rows)], sample(h_ND, label_N, rows), False)
    assert own == single.PENALTIES[0], "on its own photos, no penalty is best"
    assert penalty > own


def test_groups_that_validate_in_turn_give_the_head_of_all_groups() -> None:
    h_ND, label_N = data()
    groups = [sample(h_ND, label_N, np.arange(start, 120, 3)) for start in range(3)]
    head, penalty = single.fit(groups, None, False)
    whole = sample(h_ND, label_N, np.arange(120))
    again = single.Ridge(single.Moments.of(whole), False).head(penalty)
    assert np.allclose(head.weight_DK, again.weight_DK)
    assert np.allclose(head.bias_K, again.bias_K)


def test_blocks_of_photos_give_the_same_sums_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    h_ND, label_N = data()
    whole = single.Moments.of(sample(h_ND, label_N, np.arange(120)))
    monkeypatch.setattr(single, "ROWS", 7)
    parts = single.Moments.of(sample(h_ND, label_N, np.arange(120)))
    assert np.allclose(whole.gram_DD, parts.gram_DD)
    assert np.allclose(whole.product_DK, parts.product_DK)


def test_classes_that_the_features_separate_are_predicted() -> None:
    rng = np.random.default_rng(0)
    label_N = rng.integers(0, 3, 150).astype(np.float64)
    h_ND = (rng.normal(size=(150, 6)) * 0.3 + np.eye(6)[label_N.astype(int)]).astype(np.float32)
    rows = np.arange(100)
    head, _ = single.fit([sample(h_ND, label_N, rows, 3)], sample(h_ND, label_N, np.arange(100, 125), 3), False)
    found = single.predicted(head, h_ND, np.arange(125, 150))
    assert (found == label_N[125:]).mean() > 0.9


CONFIG = TransferConfig(
    backbone="narrow",
    image_size_px=32,
    pairs_per_subject=6,
    epochs=12,
    batch_pairs=8,
    backbone_rate=1e-3,
    head_rate=1e-2,
)
SMILE = Task(dataset="drawn", label="smile", unit="steps", kind="single")
OPEN = Task(dataset="drawn", label="open", unit="class", kind="single", classes=("closed", "open"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact]:
    store, rng = FileStore(tmp_path_factory.mktemp("store")), np.random.default_rng(0)
    rows, images = [], []
    for subject in range(8):
        for _ in range(8):
            smile = float(rng.integers(0, 5))
            image = drawn_face(32, smile, subject)
            labels = {"smile": smile, "open": float(smile > 1)}
            rows.append(
                {"subject": f"Jane {subject}", "labels": labels, "session": "", "phase": "", "sha256": str(smile)}
            )
            images.append(image)
    draft = Draft(store, "faces", {"name": "drawn"}, {}, {"test": 1})
    draft.write("faces.npy", array_bytes(np.stack(images)))
    draft.write_json("photos.json", rows)
    return store, draft.publish({"dataset": "drawn", "rehearsal": True, "found": len(rows)})


def run(faces: tuple[Store, Artifact], task: Task, method: str, mode: str, config: TransferConfig = CONFIG) -> Artifact:
    protocol = draw_protocol(faces[0], config, "of-one", task, faces[1])
    return transfer(faces[0], config, Item("of-one", task, method, mode), {"protocol": protocol})


@pytest.mark.parametrize(("method", "mode"), [("pixels", "linear"), ("scratch", "finetune")])
def test_a_quantity_of_single_photos_is_estimated_for_people_who_were_not_trained_on(faces, method, mode) -> None:
    result = run(faces, SMILE, method, mode)
    read = read_predictions(result)
    assert np.array_equal(read.x_P, read.y_P)
    assert len(read.x_P) == len(set(read.x_P.tolist())) == 8 * 6, "pairs_per_subject photos of every person, each once"
    assert read.metrics["corr"] > 0.5
    assert list(result.manifest.objects) == ["predictions.json"], "no head is registered"


@pytest.mark.parametrize(("method", "mode"), [("pixels", "linear"), ("scratch", "finetune")])
def test_classes_of_single_photos_have_the_metrics_of_classes(faces, method, mode) -> None:
    result = run(faces, OPEN, method, mode)
    read = read_predictions(result)
    assert set(read.metrics) == {"class_acc", "balanced_acc", "macro_f1"}
    assert set(read.predicted_P.tolist()) <= {0.0, 1.0}
    assert read.metrics["balanced_acc"] > 0.6
    assert read.facts.classes == ("closed", "open")


def test_the_protocol_of_single_photos_hides_the_labels_of_test_subjects(faces) -> None:
    protocol = draw_protocol(faces[0], CONFIG, "of-one", SMILE, faces[1])
    columns = read_arrays(protocol, "fold-0.npz")
    assert {name for name in columns if name.startswith("test_")} == {"test_x", "test_y"}


def test_people_can_take_turns_to_validate_single_photos(faces) -> None:
    turns = run(faces, SMILE, "pixels", "linear", CONFIG.model_copy(update={"validation_turns": 3}))
    assert read_predictions(turns).metrics["corr"] > 0.5


def test_what_does_not_fit_single_photos_is_refused(faces) -> None:
    with pytest.raises(ConfigurationError, match="single photos with the option 'antisymmetric'"):
        run(faces, SMILE, "pixels", "linear+antisymmetric")
    with pytest.raises(DataError, match="values other than 0 to 1"):
        run(faces, OPEN.model_copy(update={"label": "smile"}), "pixels", "linear")
    with pytest.raises(DataError, match="No photo has the label 'age'"):
        run(faces, SMILE.model_copy(update={"label": "age"}), "pixels", "linear")
    for wrong in ({"classes": ("one",)}, {"direction_accuracy": True}, {"min_change": 1.0}, {"split": (2, 1)}):
        with pytest.raises(ValidationError, match=r"classes|single|kind"):
            Task(dataset="drawn", unit="steps", kind="single", **wrong)


def test_metrics_of_classes_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 4):
        truth, predicted = (rng.integers(0, classes, 50).astype(float) for _ in range(2))
        truth[truth == classes - 1] = 0  # a class that never occurs, but is predicted
        found = class_metrics(confusion(truth, predicted, classes))
        assert found["class_acc"] == pytest.approx(metrics.accuracy_score(truth, predicted))
        assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
        recall = metrics.recall_score(truth, predicted, average=None, labels=np.unique(truth))
        assert found["balanced_acc"] == pytest.approx(np.mean(recall))
