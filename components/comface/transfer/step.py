"""Transfer: one task, one method, one way of evaluation (section 3.4 and 4.2), cross-validated by subject.

In: aligned faces (artifact `faces`), a backbone or the weights of a published method. Out: an artifact `transfer`:

    predictions.json    one column per field over all test pairs: subject (a pseudonym), fold, change, predicted
    head.safetensors    linear evaluation only: the head fitted on all subjects, for registration

Linear evaluation of a method whose features are already published needs no torch.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.config import Task, TransferConfig
from comface.errors import ConfigurationError
from comface.manifest import Artifact, Draft
from comface.metrics import direction_accuracy, mean_absolute_error, pearson
from comface.progress import say
from comface.store import Store
from comface.transfer import heads
from comface.transfer.arrays import read_array
from comface.transfer.features import features, method_inputs, read_features
from comface.transfer.folds import Fold, hold_out, subject_folds
from comface.transfer.methods import Sources, can_finetune
from comface.transfer.pairs import Pairs, draw_pairs

FINETUNE_FIELDS = ("head", "epochs", "batch_pairs", "backbone_rate", "head_rate")
PROTOCOL_FIELDS = ("folds", "validation_fraction", "validation_turns", "pairs_per_subject", "antisymmetric", "seed")


@dataclass(frozen=True)
class Side:
    """A data set as one task sees it: rows of features (or faces) and the pairs drawn among them."""

    rows_N: NDArray[Any]
    pairs: Pairs

    def samples(self, subjects: Sequence[str]) -> heads.Samples:
        of_P = self.pairs.of(subjects)
        return heads.Samples(self.rows_N, self.pairs.x_P[of_P], self.pairs.y_P[of_P], self.pairs.change_P[of_P])


@dataclass(frozen=True)
class Estimates:
    """What a way of evaluation gives: the predictions of each fold's test pairs, what to record, files to publish."""

    predicted: list[NDArray[np.float64]]
    facts: dict[str, Any]
    head: heads.Head | None = None


def transfer(
    store: Store,
    config: TransferConfig,
    task_name: str,
    task: Task,
    method: str,
    mode: str,
    faces: Artifact,
    train_faces: Artifact | None,
    backbone: Artifact | None,
    weights: Path | None,
) -> Artifact:
    """`train_faces`: the other data set of a task that trains on one and tests on another (Edema-A to B), else None.

    Raises ConfigurationError for a combination that cannot be evaluated, DataError for data that do not suffice."""
    _check(task_name, task, method, mode, train_faces)
    sets = {"faces": faces} | ({"train_faces": train_faces} if train_faces is not None else {})
    address = _address(config, task_name, task, method, mode)
    if mode == "linear":
        made = {name: features(store, method, each, backbone, weights, config) for name, each in sets.items()}
        inputs = sets | {name.replace("faces", "features"): each for name, each in made.items()}
    else:
        of_method, of_inputs = method_inputs(method, backbone, weights, config)
        address, inputs = address | of_method, sets | of_inputs
    draft = Draft(store, "transfer", address, inputs, step=__name__)
    if (done := draft.published()) is not None:
        return done
    pairs = {name: _pairs(config, task_name, task, each, name) for name, each in sets.items()}
    folds = _folds(config, pairs["faces"], pairs.get("train_faces"))
    count, people = len(pairs["faces"].subjects), len(set(pairs["faces"].subjects))
    say(f"transfer: {task_name}, {method}, {mode}: {count} pairs of {people} subjects")
    if mode == "linear":
        sides = {name: Side(read_features(made[name]), pairs[name]) for name in sets}
        estimates = _linear(config, sides["faces"], sides.get("train_faces", sides["faces"]), folds)
    else:
        sides = {name: Side(read_array(each, "faces.npy"), pairs[name]) for name, each in sets.items()}
        sources = Sources.of(backbone, weights, config)
        training = sides.get("train_faces", sides["faces"])
        estimates = _finetuned(config, (task_name, method), sources, sides["faces"], training, folds)
    return _publish(draft, (task_name, method, mode), task, faces, pairs["faces"], folds, estimates)


def _check(task_name: str, task: Task, method: str, mode: str, train_faces: Artifact | None) -> None:
    if mode not in ("linear", "finetune"):
        raise ConfigurationError(f"There is no way of evaluation '{mode}'; choose linear or finetune.")
    if mode == "finetune" and not can_finetune(method):
        raise ConfigurationError(f"The method '{method}' has no layers to fine-tune; evaluate it with 'linear' only.")
    if bool(task.train_dataset) != (train_faces is not None):
        needs = f"trains on '{task.train_dataset}'" if task.train_dataset else "trains on its own data set"
        raise ConfigurationError(f"The task '{task_name}' {needs}; pass the faces that belong to it.")


def _address(config: TransferConfig, task_name: str, task: Task, method: str, mode: str) -> dict[str, Any]:
    fields = PROTOCOL_FIELDS + (FINETUNE_FIELDS if mode == "finetune" else ())
    values = config.model_dump(mode="json", include=set(fields))
    return values | {"task": task_name, "definition": task.model_dump(mode="json"), "method": method, "mode": mode}


def _pairs(config: TransferConfig, task_name: str, task: Task, faces: Artifact, side: str) -> Pairs:
    """The same for every method: a function of the faces, the task and the seed. Cross-data-set training pairs are
    those of the training side's own name."""
    name = task_name if side == "faces" else f"{task_name}/training"
    photos = faces.read_json("photos.json")
    return draw_pairs(photos, task.label, config.pairs_per_subject, task.min_change, config.seed, name)


def _folds(config: TransferConfig, pairs: Pairs, train_pairs: Pairs | None) -> list[Fold]:
    if train_pairs is None:
        return subject_folds(pairs.subjects, config.folds, config.validation_fraction, config.seed)
    train, validation = hold_out(train_pairs.subjects, config.validation_fraction, config.seed, "across")
    return [Fold(train, validation, tuple(sorted(set(pairs.subjects))))]


def _linear(config: TransferConfig, tested: Side, training: Side, folds: list[Fold]) -> Estimates:
    """Frozen features, l from scratch, per fold; then once on all subjects with the middle of the chosen penalties."""
    predicted, penalties = [], []
    for fold in folds:
        head, penalty = _fitted(config, training, fold)
        predicted.append(tested.samples(fold.test).predicted(head))
        penalties.append(penalty)
    final_penalty = sorted(penalties)[len(penalties) // 2]
    final = heads.fit(training.samples(training.pairs.subjects), final_penalty, config.antisymmetric)
    return Estimates(predicted, {"penalties": penalties, "final_penalty": final_penalty}, final)


def _fitted(config: TransferConfig, training: Side, fold: Fold) -> tuple[heads.Head, float]:
    """The head of one fold and its penalty, chosen on the validation subjects, or by all training subjects in turn."""
    if config.validation_turns == 1:
        parts = training.samples(fold.train), training.samples(fold.validation)
        return heads.fit_validated(*parts, config.antisymmetric)
    subjects = fold.validation + fold.train
    turns = min(config.validation_turns, len(subjects))
    groups = [training.samples(subjects[turn::turns]) for turn in range(turns)]
    return heads.fit_in_turns(groups, config.antisymmetric)


def _finetuned(
    config: TransferConfig,
    words: tuple[str, str],
    sources: Sources,
    tested: Side,
    training: Side,
    folds: list[Fold],
) -> Estimates:
    """All layers, per fold, each from the pre-trained weights."""
    import torch

    from comface.transfer.finetune import Batches, finetune, predict
    from comface.transfer.methods import load_method

    device = "cuda" if torch.cuda.is_available() else "cpu"
    predicted, epochs = [], []
    head_from = "fresh"
    for number, fold in enumerate(folds):
        encoder = load_method(words[1], sources)
        head_from = "transferred" if config.head == "transferred" and encoder.head else "fresh"
        data = Batches(encoder.preprocess, training.rows_N, training.pairs, device)
        parts = training.pairs.of(fold.train), training.pairs.of(fold.validation)
        network, epoch = finetune(encoder, data, *parts, config, (*words, number))
        data = Batches(encoder.preprocess, tested.rows_N, tested.pairs, device)
        predicted.append(predict(network, data, tested.pairs.of(fold.test), config))
        epochs.append(epoch)
    return Estimates(predicted, {"head": head_from, "best_epochs": epochs, "batchnorm": "of the batch in training"})


def _publish(
    draft: Draft,
    words: tuple[str, str, str],
    task: Task,
    faces: Artifact,
    pairs: Pairs,
    folds: list[Fold],
    estimates: Estimates,
) -> Artifact:
    pseudonyms = {name: f"s{i:03d}" for i, name in enumerate(sorted(set(pairs.subjects)), start=1)}
    order_P = np.concatenate([pairs.of(fold.test) for fold in folds])
    change_P, predicted_P = pairs.change_P[order_P], np.concatenate(estimates.predicted)
    draft.write_json(
        "predictions.json",
        {
            "subject": [pseudonyms[pairs.subjects[p]] for p in order_P],
            "fold": [number for number, fold in enumerate(folds) for _ in pairs.of(fold.test)],
            "change": change_P.tolist(),
            "predicted": [float(f"{value:.6g}") for value in predicted_P],
        },
    )
    if estimates.head is not None:
        import safetensors.numpy

        draft.write("head.safetensors", safetensors.numpy.save(estimates.head.tensors()))
    metrics = {"mae": mean_absolute_error(change_P, predicted_P), "corr": pearson(change_P, predicted_P)}
    if task.direction_accuracy:
        metrics["acc"] = direction_accuracy(change_P, predicted_P)
    kept = {name: faces.facts.get(name) for name in ("dataset", "rehearsal", "found", "missed")}
    task_name, method, mode = words
    return draft.publish(
        {
            "task": task_name,
            "method": method,
            "mode": mode,
            "unit": task.unit,
            "direction_accuracy": task.direction_accuracy,
            "subjects": len(pseudonyms),
            "pairs": len(order_P),
            "metrics": metrics,
            **kept,
            **estimates.facts,
        }
    )
