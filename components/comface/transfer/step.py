"""Transfer: evaluates one method on one task in one mode (sections 3.4 and 4.2), cross-validated by subject.

In: aligned faces (artifact `faces`), a backbone or the weights of a published method. Out: an artifact `transfer`:

    predictions.json        columns over all test pairs: subject (a pseudonym), fold, change, predicted
    head.safetensors        the head fitted on all subjects, for registration. Written in mode linear, and in mode
                            finetune if the method can be registered (ComFace)
    backbone.safetensors    in mode finetune, f fine-tuned on all subjects, if the method can be registered

Linear evaluation does not need torch if the features of the method are already published.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import Rows
from comface.artifacts.facts import FacesFacts, TransferFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.config.canonical import canonical_json
from comface.errors import ConfigurationError, DataError
from comface.methods import REVISION as METHODS
from comface.methods import method as method_called
from comface.methods.encoder import Sources, best_device
from comface.networks.head import Head
from comface.runtime.progress import counted
from comface.store import Store
from comface.tasks.config import Task
from comface.tasks.predictions import NAME, metrics_of
from comface.transfer import ridge
from comface.transfer.config import TransferConfig
from comface.transfer.features import features
from comface.transfer.folds import Fold, hold_out, subject_folds
from comface.transfer.pairs import Pairs, draw_pairs
from comface.transfer.rows import read_faces, read_features

logger = logging.getLogger(__name__)

REVISION = 1
"""Raise it when a change here or in tasks/ or networks/ gives other estimates, metrics or heads for the same faces and
settings."""
FINETUNE_FIELDS = ("head", "epochs", "batch_pairs", "backbone_rate", "head_rate")
PROTOCOL_FIELDS = ("folds", "validation_fraction", "validation_turns", "pairs_per_subject", "antisymmetric", "seed")


@dataclass(frozen=True)
class Side:
    """The data of one task from one data set: rows of features (or faces) and pairs of them."""

    rows_N: Rows
    pairs: Pairs

    def samples(self, subjects: Sequence[str]) -> ridge.Samples:
        of_P = self.pairs.of(subjects)
        return ridge.Samples(self.rows_N, self.pairs.x_P[of_P], self.pairs.y_P[of_P], self.pairs.change_P[of_P])


@dataclass(frozen=True)
class Estimates:
    """Result of one mode: the predictions for the test pairs of each fold, facts to record, and files to publish."""

    predicted: list[NDArray[np.float64]]
    facts: dict[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """What one transfer evaluates. `name` is the name of the task, `task` its definition."""

    name: str
    task: Task
    method: str
    mode: str

    def __str__(self) -> str:
        return f"{self.name}/{self.method}/{self.mode}"


def transfer(
    store: Store, config: TransferConfig, item: Item, reads: Mapping[str, Artifact], weights: Path | None = None
) -> Artifact:
    """Publish the `transfer` artifact, or return it if it exists.

    `reads`: role → artifact. The roles are `faces`; `train_faces` if the task trains on another data set (Edema-A to
    B); `backbone` if the method needs one. `weights`: the weight file of a published method (None: the file that
    `comface fetch` downloaded).

    Raises ConfigurationError if the method cannot be evaluated in this mode or inputs do not fit the task, DataError if
    there are too few subjects or pairs, or training diverges."""
    _check(item, "train_faces" in reads)
    sources = Sources.of(reads.get("backbone"), weights, config)
    sets = {name: reads[name] for name in ("faces", "train_faces") if name in reads}
    address, inputs = _address(config, item), dict(sets)
    if item.mode == "linear":
        made = {name: features(store, item.method, each, sources) for name, each in sets.items()}
        inputs |= {name.replace("faces", "features"): each for name, each in made.items()}
    else:
        of_method, of_inputs = method_called(item.method).inputs(sources)
        address, inputs = address | of_method, inputs | of_inputs
    revisions = {"transfer": REVISION} | ({"methods": METHODS} if item.mode == "finetune" else {})
    draft = Draft(store, "transfer", address, inputs, revisions)
    if (done := draft.published()) is not None:
        return done
    pairs = {name: _pairs(config, item, each, name) for name, each in sets.items()}
    folds = _folds(config, pairs["faces"], pairs.get("train_faces"))
    count, people = len(pairs["faces"].subjects), len(set(pairs["faces"].subjects))
    logger.info(f"{counted(count, 'pair')} of {counted(people, 'subject')}")
    linear = item.mode == "linear"
    rows = {name: read_features(made[name]) if linear else read_faces(sets[name]) for name in sets}
    tested = Side(rows["faces"], pairs["faces"])
    training = Side(rows["train_faces"], pairs["train_faces"]) if "train_faces" in sets else tested
    if linear:
        estimates = _linear(config, tested, training, folds)
    else:
        estimates = _finetuned(config, item, sources, tested, training, folds)
    return _publish(draft, item, reads["faces"], tested.pairs, folds, estimates)


def _check(item: Item, trains_on_another: bool) -> None:
    if item.mode not in ("linear", "finetune"):
        raise ConfigurationError(f"There is no mode '{item.mode}'; choose linear or finetune.")
    if item.mode == "finetune" and not method_called(item.method).trainable:
        raise ConfigurationError(
            f"The method '{item.method}' has no layers to fine-tune; evaluate it with 'linear' only."
        )
    if bool(item.task.train_dataset) != trains_on_another:
        needs = f"trains on '{item.task.train_dataset}'" if item.task.train_dataset else "trains on its own data set"
        raise ConfigurationError(f"The task '{item.name}' {needs}; pass the faces of that data set.")


def _address(config: TransferConfig, item: Item) -> dict[str, Any]:
    fields = PROTOCOL_FIELDS + (FINETUNE_FIELDS if item.mode == "finetune" else ())
    values = config.model_dump(mode="json", include=set(fields))
    definition = item.task.model_dump(mode="json")
    return values | {"task": item.name, "definition": definition, "method": item.method, "mode": item.mode}


def _pairs(config: TransferConfig, item: Item, faces: Artifact, side: str) -> Pairs:
    """Draw the pairs of a task. They depend on the faces, the task and the seed only, so they are equal for all
    methods. Training pairs from another data set have a seed of their own."""
    name = item.name if side == "faces" else f"{item.name}/training"
    photos, task = faces.read_json("photos.json"), item.task
    return draw_pairs(photos, task.label, config.pairs_per_subject, task.min_change, config.seed, name)


def _folds(config: TransferConfig, pairs: Pairs, train_pairs: Pairs | None) -> list[Fold]:
    if train_pairs is None:
        return subject_folds(pairs.subjects, config.folds, config.validation_fraction, config.seed)
    train, validation = hold_out(train_pairs.subjects, config.validation_fraction, config.seed, "across")
    return [Fold(train, validation, tuple(sorted(set(pairs.subjects))))]


def _linear(config: TransferConfig, tested: Side, training: Side, folds: list[Fold]) -> Estimates:
    """Fit l to frozen features in each fold, then on all subjects with the median of the chosen penalties."""
    predicted, penalties = [], []
    for fold in folds:
        head, penalty = _fitted(config, training, fold)
        predicted.append(tested.samples(fold.test).predicted(head))
        penalties.append(penalty)
    final_penalty = sorted(penalties)[len(penalties) // 2]
    final = ridge.fit(training.samples(training.pairs.subjects), final_penalty, config.antisymmetric)
    files = {"head.safetensors": _safetensors(final.tensors())}
    return Estimates(predicted, {"penalties": penalties, "final_penalty": final_penalty}, files)


def _fitted(config: TransferConfig, training: Side, fold: Fold) -> tuple[Head, float]:
    """Return the head of one fold and its penalty, chosen on the validation subjects or on all training subjects in
    turn."""
    if config.validation_turns == 1:
        parts = training.samples(fold.train), training.samples(fold.validation)
        return ridge.fit_validated(*parts, config.antisymmetric)
    subjects = fold.validation + fold.train
    turns = min(config.validation_turns, len(subjects))
    groups = [training.samples(subjects[turn::turns]) for turn in range(turns)]
    return ridge.fit_in_turns(groups, config.antisymmetric)


def _finetuned(
    config: TransferConfig, item: Item, sources: Sources, tested: Side, training: Side, folds: list[Fold]
) -> Estimates:
    """Train all layers in each fold, starting from the pre-trained weights. Then, if the method can be registered,
    train once on all subjects for the median number of epochs of the folds."""
    from comface.methods import load_method
    from comface.transfer.finetune import Batches, finetune, finetune_all, predict

    device, words = best_device(), (item.name, item.method)
    predicted, epochs, began = [], [], []
    for number, fold in enumerate(folds):
        encoder = load_method(item.method, sources)
        data = Batches(encoder.preprocessing, training.rows_N, training.pairs, device)
        parts = training.pairs.of(fold.train), training.pairs.of(fold.validation)
        tuned = finetune(encoder, data, *parts, config, (*words, number))
        data = Batches(encoder.preprocessing, tested.rows_N, tested.pairs, device)
        predicted.append(predict(tuned.network, data, tested.pairs.of(fold.test), config))
        epochs.append(tuned.epoch)
        began.append(tuned.head)
    facts: dict[str, Any] = {"heads": began, "best_epochs": epochs, "batchnorm": "of the batch in training"}
    if not method_called(item.method).challenger:  # it does not become a model, so one training is saved
        return Estimates(predicted, facts)
    final_epochs = sorted(epochs)[len(epochs) // 2]
    encoder = load_method(item.method, sources)
    data = Batches(encoder.preprocessing, training.rows_N, training.pairs, device)
    final = finetune_all(encoder, data, final_epochs, config, (*words, "all"))
    backbone, head = final.tensors(config.antisymmetric)
    files = {"head.safetensors": _safetensors(head), "backbone.safetensors": _safetensors(backbone)}
    return Estimates(predicted, facts | {"final_epochs": final_epochs, "final_head": final.head}, files)


def _safetensors(tensors: Mapping[str, Any]) -> bytes:
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        import safetensors.numpy

        return safetensors.numpy.save(dict(tensors))
    import safetensors.torch

    return safetensors.torch.save(dict(tensors))


def test_set(faces: Artifact, pairs: Pairs, folds: Sequence[Fold], pseudonyms: Mapping[str, str]) -> str:
    """Return the sha256 of the test set: fold, person, both photos and change of every pair, in order. Metrics of two
    transfers are comparable if it is equal, whatever their method or mode."""
    rows = faces.read_json("photos.json")
    photo_N = [row["sha256"] for row in rows]
    tested = [
        [number, pseudonyms[pairs.subjects[p]], photo_N[pairs.x_P[p]], photo_N[pairs.y_P[p]], float(pairs.change_P[p])]
        for number, fold in enumerate(folds)
        for p in pairs.of(fold.test)
    ]
    return hashlib.sha256(canonical_json(tested).encode()).hexdigest()


def _publish(
    draft: Draft, item: Item, faces: Artifact, pairs: Pairs, folds: list[Fold], estimates: Estimates
) -> Artifact:
    pseudonyms = {name: f"s{i:03d}" for i, name in enumerate(sorted(set(pairs.subjects)), start=1)}
    order_P = np.concatenate([pairs.of(fold.test) for fold in folds])
    change_P = pairs.change_P[order_P]
    predicted_P = np.array([float(f"{value:.6g}") for value in np.concatenate(estimates.predicted)])
    if not np.isfinite(predicted_P).all():
        raise DataError(f"The estimates of {item} are not finite; lower its learning rates.")
    columns = {
        "subject": [pseudonyms[pairs.subjects[p]] for p in order_P],
        "fold": [number for number, fold in enumerate(folds) for _ in pairs.of(fold.test)],
        "change": change_P.tolist(),
        "predicted": predicted_P.tolist(),
    }
    draft.write_json(NAME, columns)
    for name, data in estimates.files.items():
        draft.write(name, data)
    of_faces = faces.facts_as(FacesFacts)
    facts = TransferFacts(
        task=item.name,
        method=item.method,
        mode=item.mode,
        unit=item.task.unit,
        direction_accuracy=item.task.direction_accuracy,
        subjects=len(pseudonyms),
        pairs=len(order_P),
        metrics=metrics_of(change_P, predicted_P, item.task.direction_accuracy),
        test_sha256=test_set(faces, pairs, folds, pseudonyms),
        dataset=of_faces.dataset,
        rehearsal=of_faces.rehearsal,
    )
    found = {"found": of_faces.found, "missed": of_faces.missed}
    return draft.publish(facts.record() | found | estimates.facts)
