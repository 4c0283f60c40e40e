"""Transfer: one task, one method, one way of evaluation (section 3.4 and 4.2), cross-validated by subject.

logger = logging.getLogger(__name__)

In: aligned faces (artifact `faces`), a backbone or the weights of a published method. Out: an artifact `transfer`:

    predictions.json        one column per field over all test pairs: subject (a pseudonym), fold, change, predicted
    head.safetensors        the head fitted on all subjects, for registration: of linear evaluation, and of
                            fine-tuning where the method can be registered (ComFace)
    backbone.safetensors    then also f, fine-tuned on all subjects

Linear evaluation of a method whose features are already published needs no torch.

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

from comface.artifacts.arrays import read_array
from comface.artifacts.manifest import Artifact, Draft
from comface.config.canonical import canonical_json
from comface.errors import ConfigurationError, DataError
from comface.methods import method as method_called
from comface.methods.encoder import Sources
from comface.networks.head import Head
from comface.runtime.progress import counted
from comface.store import Store
from comface.tasks.config import Task
from comface.tasks.predictions import NAME, metrics_of
from comface.transfer import ridge
from comface.transfer.config import TransferConfig
from comface.transfer.features import features, read_features
from comface.transfer.folds import Fold, hold_out, subject_folds
from comface.transfer.pairs import Pairs, draw_pairs

logger = logging.getLogger(__name__)

FINETUNE_FIELDS = ("head", "epochs", "batch_pairs", "backbone_rate", "head_rate")
PROTOCOL_FIELDS = ("folds", "validation_fraction", "validation_turns", "pairs_per_subject", "antisymmetric", "seed")


@dataclass(frozen=True)
class Side:
    """A data set as one task sees it: rows of features (or faces) and the pairs drawn among them."""

    rows_N: NDArray[Any]
    pairs: Pairs

    def samples(self, subjects: Sequence[str]) -> ridge.Samples:
        of_P = self.pairs.of(subjects)
        return ridge.Samples(self.rows_N, self.pairs.x_P[of_P], self.pairs.y_P[of_P], self.pairs.change_P[of_P])


@dataclass(frozen=True)
class Estimates:
    """What a way of evaluation gives: the predictions of each fold's test pairs, what to record, files to publish."""

    predicted: list[NDArray[np.float64]]
    facts: dict[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


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
        of_method, of_inputs = method_called(method).inputs(Sources.of(backbone, weights, config))
        address, inputs = address | of_method, sets | of_inputs
    draft = Draft(store, "transfer", address, inputs, step=__name__)
    if (done := draft.published()) is not None:
        return done
    pairs = {name: _pairs(config, task_name, task, each, name) for name, each in sets.items()}
    folds = _folds(config, pairs["faces"], pairs.get("train_faces"))
    count, people = len(pairs["faces"].subjects), len(set(pairs["faces"].subjects))
    logger.info(f"{counted(count, 'pair')} of {counted(people, 'subject')}")
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
    if mode == "finetune" and not method_called(method).trainable:
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
    final = ridge.fit(training.samples(training.pairs.subjects), final_penalty, config.antisymmetric)
    files = {"head.safetensors": _safetensors(final.tensors())}
    return Estimates(predicted, {"penalties": penalties, "final_penalty": final_penalty}, files)


def _fitted(config: TransferConfig, training: Side, fold: Fold) -> tuple[Head, float]:
    """The head of one fold and its penalty, chosen on the validation subjects, or by all training subjects in turn."""
    if config.validation_turns == 1:
        parts = training.samples(fold.train), training.samples(fold.validation)
        return ridge.fit_validated(*parts, config.antisymmetric)
    subjects = fold.validation + fold.train
    turns = min(config.validation_turns, len(subjects))
    groups = [training.samples(subjects[turn::turns]) for turn in range(turns)]
    return ridge.fit_in_turns(groups, config.antisymmetric)


def _finetuned(
    config: TransferConfig,
    words: tuple[str, str],
    sources: Sources,
    tested: Side,
    training: Side,
    folds: list[Fold],
) -> Estimates:
    """All layers, per fold, each from the pre-trained weights; then, for a method that can be registered, once on all
    subjects, for as many epochs as the middle fold took."""
    import torch

    from comface.methods import load_method
    from comface.transfer.finetune import Batches, finetune, finetune_all, predict

    device = "cuda" if torch.cuda.is_available() else "cpu"
    predicted, epochs, began = [], [], []
    for number, fold in enumerate(folds):
        encoder = load_method(words[1], sources)
        data = Batches(encoder.preprocessing, training.rows_N, training.pairs, device)
        parts = training.pairs.of(fold.train), training.pairs.of(fold.validation)
        tuned = finetune(encoder, data, *parts, config, (*words, number))
        data = Batches(encoder.preprocessing, tested.rows_N, tested.pairs, device)
        predicted.append(predict(tuned.network, data, tested.pairs.of(fold.test), config))
        epochs.append(tuned.epoch)
        began.append(tuned.head)
    facts: dict[str, Any] = {"heads": began, "best_epochs": epochs, "batchnorm": "of the batch in training"}
    if not method_called(words[1]).challenger:  # no other becomes a model, and each would cost one more training
        return Estimates(predicted, facts)
    final_epochs = sorted(epochs)[len(epochs) // 2]
    encoder = load_method(words[1], sources)
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
    """A digest of what is tested: fold, person, both photos and the change of every pair, in order. Figures of two
    transfers can be compared where it is equal, whatever method or mode made them."""
    rows = faces.read_json("photos.json")
    photo_N = [row["sha256"] for row in rows]
    tested = [
        [number, pseudonyms[pairs.subjects[p]], photo_N[pairs.x_P[p]], photo_N[pairs.y_P[p]], float(pairs.change_P[p])]
        for number, fold in enumerate(folds)
        for p in pairs.of(fold.test)
    ]
    return hashlib.sha256(canonical_json(tested).encode()).hexdigest()


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
    change_P = pairs.change_P[order_P]
    predicted_P = np.array([float(f"{value:.6g}") for value in np.concatenate(estimates.predicted)])
    if not np.isfinite(predicted_P).all():
        raise DataError(f"The estimates of {'/'.join(words)} are not finite; lower its learning rates.")
    draft.write_json(
        NAME,
        {
            "subject": [pseudonyms[pairs.subjects[p]] for p in order_P],
            "fold": [number for number, fold in enumerate(folds) for _ in pairs.of(fold.test)],
            "change": change_P.tolist(),
            "predicted": predicted_P.tolist(),
        },
    )
    for name, data in estimates.files.items():
        draft.write(name, data)
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
            "metrics": metrics_of(change_P, predicted_P, task.direction_accuracy),
            "test_sha256": test_set(faces, pairs, folds, pseudonyms),
            **kept,
            **estimates.facts,
        }
    )
