"""Protocols: who is in which role, which pairs are drawn, and what a transfer can know of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocols import make_protocol, protocol_sha256

from comface.artifacts.arrays import arrays_bytes, read_arrays
from comface.artifacts.manifest import Artifact, Draft
from comface.errors import DataError
from comface.store import FileStore
from comface.tasks.config import MODES, Task, base, mode_title, options
from comface.tasks.predictions import read_predictions
from comface.transfer.config import TransferConfig
from comface.transfer.from_plan import shown_metrics
from comface.transfer.protocol import draw_protocol, read_all, read_fold

TASK = Task(dataset="mine", label="smile", unit="steps")
ACROSS = Task(dataset="mine", train_dataset="theirs", label="smile", unit="steps")


def faces(store: FileStore, labels: dict[str, list[float]], name: str = "mine") -> Artifact:
    """`labels`: subject -> the label of each photo."""
    draft = Draft(store, "faces", {"name": name, "labels": labels}, {}, {"test": 1})
    everyone = [(subject, value) for subject, values in labels.items() for value in values]
    rows = [
        {"subject": subject, "labels": {"smile": value}, "sha256": f"{i:032x}{len(name):032x}"}
        for i, (subject, value) in enumerate(everyone)
    ]
    draft.write_json("photos.json", rows)
    return draft.publish({"dataset": name})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FileStore:
    return FileStore(tmp_path_factory.mktemp("store"))


values = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=7)
people = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), values, min_size=6, max_size=12)


@settings(max_examples=40, deadline=None)
@given(people, people, st.booleans(), st.integers(0, 3))
def test_no_subject_has_two_roles_and_the_truth_is_of_the_test_pairs_in_their_order(store, ours, theirs, across, seed):
    config = TransferConfig(folds=3, pairs_per_subject=6, seed=seed)
    made = faces(store, ours)
    trained = faces(store, theirs, "theirs") if across else made
    try:
        protocol = draw_protocol(store, config, "t", ACROSS if across else TASK, made, *([trained] if across else []))
    except DataError:
        return
    rows, train_rows = made.read_json("photos.json"), trained.read_json("photos.json")
    truth, found = read_arrays(protocol, "truth.npz"), protocol.read_json("folds.json")["folds"]
    at = 0
    for number, fold in enumerate(found):
        roles = [set(fold[role]) for role in ("train", "validation", "test")]
        assert sum(map(len, roles)) == len(set.union(*roles))
        pairs = read_fold(protocol, number)
        learned = {train_rows[row]["subject"] for part in (pairs.train, pairs.validation) for row in part.x_P}
        tested = {rows[row]["subject"] for row in pairs.test_x_P}
        assert across or not learned & tested
        for part in (pairs.train, pairs.validation):
            for x, y, change in zip(part.x_P, part.y_P, part.change_P, strict=True):
                assert train_rows[x]["subject"] == train_rows[y]["subject"]
                assert change == train_rows[y]["labels"]["smile"] - train_rows[x]["labels"]["smile"]
        end = at + len(pairs.test_x_P)
        assert np.array_equal(truth["x"][at:end], pairs.test_x_P)
        assert np.array_equal(truth["y"][at:end], pairs.test_y_P)
        assert set(truth["fold"][at:end]) <= {number}
        at = end
    assert at == len(truth["x"]) == protocol.facts["pairs"]
    wanted = [
        rows[y]["labels"]["smile"] - rows[x]["labels"]["smile"] for x, y in zip(truth["x"], truth["y"], strict=True)
    ]
    assert truth["change"].tolist() == wanted
    for subject in np.unique(truth["subject"]):
        of_one = truth["change"][
            (truth["subject"] == subject) & (truth["fold"] == truth["fold"][truth["subject"] == subject][0])
        ]
        assert abs(int(np.sum(of_one > 0)) - int(np.sum(of_one < 0))) <= 1, "as many rising as falling"


def test_a_fold_file_holds_no_change_of_a_test_subject(store):
    made = faces(store, {f"p{i}": [float(i + 10 * j) for j in range(4)] for i in range(8)})
    protocol = draw_protocol(store, TransferConfig(pairs_per_subject=6), "t", TASK, made)
    columns = read_arrays(protocol, "fold-0.npz")
    assert {name for name in columns if name.startswith("test")} == {"test_x", "test_y"}
    known = {name for name in columns if name.endswith("change")}
    assert known == {"train_change", "validation_change"}
    assert len(read_all(protocol).change_P) == protocol.facts["pairs"]


def test_folds_depend_on_the_subjects_and_the_seed_only(store):
    one = faces(store, {f"p{i}": [1.0, 2.0, 3.0] for i in range(8)})
    other = faces(store, {f"p{i}": [5.0, 2.0, 9.0, 4.0] for i in range(8)})
    cases = ((one, 3, 0), (other, 2, 0), (one, 3, 1))
    configs = [TransferConfig(pairs_per_subject=count, seed=seed) for _, count, seed in cases]
    drawn = [draw_protocol(store, config, "t", TASK, case[0]) for config, case in zip(configs, cases, strict=True)]
    folds = [protocol.read_json("folds.json")["folds"] for protocol in drawn]
    assert folds[0] == folds[1]
    assert folds[0] != folds[2]


def test_equal_changes_of_other_pairs_are_another_protocol(store):
    labels = {f"p{i}": [1.0, 2.0] for i in range(6)}
    one, other = faces(store, labels), faces(store, labels, "other photos")
    config = TransferConfig(folds=3, pairs_per_subject=1)
    first, second = (draw_protocol(store, config, "t", TASK, each) for each in (one, other))
    truths = [read_arrays(each, "truth.npz") for each in (first, second)]
    assert truths[0]["change"].tolist() == truths[1]["change"].tolist()
    assert first.facts["protocol_sha256"] != second.facts["protocol_sha256"]


def test_the_protocol_is_drawn_once_and_equal_arrays_are_equal_bytes(store, tmp_path):
    made = faces(store, {f"p{i}": [1.0, 2.0, 4.0] for i in range(6)})
    config = TransferConfig(folds=3)
    one = draw_protocol(store, config, "t", TASK, made)
    assert draw_protocol(store, config, "t", TASK, made).sha256 == one.sha256
    other = draw_protocol(FileStore(tmp_path), config, "t", TASK, made)
    assert other.facts["protocol_sha256"] == one.facts["protocol_sha256"]
    arrays = {"a": np.arange(3), "b": np.zeros(2)}
    assert arrays_bytes(arrays) == arrays_bytes(arrays)


def test_subjects_without_a_pair_are_left_out_and_counted(store):
    made = faces(store, {f"p{i}": [1.0, 2.0] for i in range(6)} | {"once": [3.0], "again": [4.0]})
    protocol = draw_protocol(store, TransferConfig(folds=3), "t", TASK, made)
    assert protocol.facts["subjects_without_pairs"] == 2
    assert protocol.facts["subjects"] == 6


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({f"p{i}": [1.0] for i in range(6)}, "No subject has two photos with comparable values of 'smile'"),
        ({f"p{i}": [2.0, 2.0] for i in range(6)}, "The label 'smile' of the task 't' is the same on all photos"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, r"3-fold cross-validation needs 3 subjects .* has 2; add"),
        (
            {f"p{i}": [2.0, 2.0] for i in range(5)} | {"only": [1.0, 2.0]},
            "The label of the task 't' does not change between any two photos of the training subjects of fold",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_said_in_one_sentence(store, labels, sentence):
    with pytest.raises(DataError, match=sentence):
        draw_protocol(store, TransferConfig(folds=3), "t", TASK, faces(store, labels))


def test_a_face_in_both_data_sets_is_refused_and_equal_names_of_subjects_are_said(store, caplog):
    ours, theirs = ({f"p{i}": [1.0, 2.0] for i in numbers} for numbers in (range(6), range(4, 10)))
    tested, trained = faces(store, ours), faces(store, theirs, "theirs")
    draw_protocol(store, TransferConfig(folds=3), "t", ACROSS, tested, trained)
    assert "2 subjects of 'theirs', on which the task trains, and of 'mine', on which it is tested, have" in caplog.text
    with pytest.raises(DataError, match=r"Photo 1 of 'mine', .* and photo 1 of 'mine', .* the same picture .* 11 furt"):
        draw_protocol(store, TransferConfig(folds=3), "t", ACROSS, tested, faces(store, ours))


def test_modes_are_named_by_their_base_and_options():
    assert [mode for mode in MODES if not options(mode)] == ["linear", "finetune"]
    assert all(base(mode) in ("linear", "finetune") for mode in MODES)
    assert options("linear+antisymmetric+standardised") == ("antisymmetric", "standardised")
    assert mode_title("finetune+fresh") == "Fine-tuning, new head"
    assert len(set(map(mode_title, MODES))) == len(MODES)


def test_a_metric_that_cannot_be_computed_is_said_and_is_no_number(store, caplog):
    protocol = make_protocol(store, "t", ["s001", "s001", "s002"], [1.0, 2.0, 3.0])
    draft = Draft(store, "transfer", {}, {"protocol": protocol}, {"test": 1})
    draft.write_json("predictions.json", {"fold": [0, 0, 0], "predicted": [2.0, 2.0, 2.0]})
    facts = {"task": "t", "method": "pixels", "mode": "linear", "subjects": 2, "pairs": 3}
    result = draft.publish(facts | {"protocol_sha256": protocol_sha256()})
    assert read_predictions(result).metrics == {"mae": pytest.approx(2 / 3), "corr": None}
    assert set(shown_metrics("t/pixels/linear", result)) == {"t_pixels_linear_mae"}
    assert "The metric 'corr' of t/pixels/linear cannot be computed: all estimates are equal." in caplog.text


@pytest.mark.parametrize(
    "columns",
    [
        {"fold": [0, 0], "predicted": [1.0, 2.0]},
        {"fold": [0, 0, 1], "predicted": [1.0, 2.0, 3.0]},
        {"fold": [0, 0, 0], "predicted": [1.0, 2.0, None]},
        {"fold": [0, 0, 0], "predicted": [1.0, 2.0, 3.0], "change": [1.0, 2.0, 3.0]},
    ],
)
def test_predictions_that_are_not_of_each_test_pair_are_refused(tmp_path, columns):
    store = FileStore(tmp_path)
    protocol = make_protocol(store, "t", ["s001", "s001", "s002"], [1.0, 2.0, 3.0])
    draft = Draft(store, "transfer", {}, {"protocol": protocol}, {"test": 1})
    draft.write_json("predictions.json", columns)
    facts = {"task": "t", "method": "pixels", "mode": "linear", "subjects": 2, "pairs": 3}
    result = draft.publish(facts | {"protocol_sha256": protocol_sha256()})
    with pytest.raises(DataError, match="run that transfer again"):
        read_predictions(result)
