"""Transfer: evaluates one method on one task in one mode (sections 3.4 and 4.2), cross-validated by subject.

In: the protocol of the task (artifact `protocol`, which names the aligned faces), a backbone or the weights of a
published method. Out: an artifact `transfer`:

    predictions.json        columns over all test pairs, in the order of the protocol: fold, predicted
    head.safetensors        if it can be registered (ComFace), the head fitted on all subjects
    backbone.safetensors    in mode finetune, if it can be registered, f fine-tuned on all subjects

No label of a test subject is read: of each fold, only fold-K.npz. tasks/predictions.py joins the true changes later.
What is registered is fitted on all subjects (all.npz) after all predictions. Linear evaluation does not need torch if the features of the method are already published.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import Rows
from comface.artifacts.facts import FacesFacts, ProtocolFacts, TransferFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.errors import ConfigurationError, DataError
from comface.methods import REVISION as METHODS
from comface.methods import method as method_called
from comface.methods.encoder import Sources, best_device
from comface.networks.head import Head
from comface.store import Store
from comface.tasks.config import MODES, Task, base, options
from comface.tasks.predictions import NAME
from comface.transfer import ridge, single
from comface.transfer.applicable import misfit
from comface.transfer.config import TransferConfig
from comface.transfer.features import features
from comface.transfer.protocol import FoldPairs, Labelled, read_all, read_fold
from comface.transfer.rows import read_faces, read_features

if TYPE_CHECKING:
    from comface.transfer.finetune import Batches, Finetuned, Training

logger = logging.getLogger(__name__)

REVISION = 3
"""Raise it when a change here or in networks/ gives other estimates or heads for the same protocol and settings."""
FIELDS = {
    "linear": ("validation_turns",),
    "finetune": ("epochs", "batch_pairs", "backbone_rate", "head_rate", "precision"),
}


@dataclass(frozen=True)
class Item:
    """What one transfer evaluates. `name` is the name of the task, `task` its definition. `seed`: of random weights and
    of fine-tuning."""

    name: str
    task: Task
    method: str
    mode: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.name}/{self.method}/{self.mode}"

    @property
    def registrable(self) -> bool:
        """Whether a registered model can use its head."""
        return method_called(self.method).challenger and self.task.registrable

    def record(self) -> dict[str, Any]:
        """What it adds to the address of its result."""
        definition = self.task.model_dump(mode="json")
        words = {"task": self.name, "method": self.method, "mode": self.mode, "seed": self.seed}
        return words | {"definition": definition}


@dataclass(frozen=True)
class Data:
    """What a mode learns from: rows of features (or faces) of both data sets, and the pairs of each fold."""

    tested_N: Rows
    training_N: Rows
    folds: Sequence[FoldPairs]
    protocol: Artifact

    def everyone(self) -> Labelled:
        """All pairs of the training data set, for the head that is registered; read after all predictions."""
        return read_all(self.protocol)


@dataclass(frozen=True)
class Estimates:
    """Result of one mode: the predictions for the test pairs of each fold, facts to record, and files to publish."""

    predicted: list[NDArray[np.float64]]
    facts: dict[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


def transfer(
    store: Store, config: TransferConfig, item: Item, reads: Mapping[str, Artifact], weights: Path | None = None
) -> Artifact:
    """Publish the `transfer` artifact, or return it if it exists.

    `reads`: role → artifact. The roles are `protocol`; `backbone` if the method needs one; `features` and
    `train_features` of the protocol's faces, if they are known already. `weights`: the weight
    file of a published method (None: the file that `comface fetch` downloaded).

    Raises ConfigurationError if the method cannot be evaluated in this mode or the protocol is of another task,
    DataError if training diverges."""
    protocol = reads["protocol"]
    _check(item, protocol)
    sources = Sources.of(reads.get("backbone"), weights, config, item.seed)
    if method_called(item.method).patient_days is not None:
        return _patient_specific(store, config, item, sources, protocol)
    sets = {
        name: protocol.input(name, "faces") for name in ("faces", "train_faces") if name in protocol.manifest.inputs
    }
    address, inputs = _address(config, item), {"protocol": protocol} | sets
    if base(item.mode) == "linear":
        role = {name: name.replace("faces", "features") for name in sets}
        made = {
            name: _given(reads[role[name]], item, each)
            if role[name] in reads
            else features(store, item.method, each, sources)
            for name, each in sets.items()
        }
        inputs |= {role[name]: each for name, each in made.items()}
    else:
        of_method, of_inputs = method_called(item.method).inputs(sources)
        address, inputs = address | of_method, inputs | of_inputs
    revisions = {"transfer": REVISION} | ({"methods": METHODS} if base(item.mode) == "finetune" else {})
    draft = Draft(store, "transfer", address, inputs, revisions)
    if (done := draft.published()) is not None:
        return done
    folds = [read_fold(protocol, number) for number in range(protocol.facts_as(ProtocolFacts).folds)]
    if base(item.mode) == "linear":
        rows = {name: read_features(each) for name, each in made.items()}
        estimates = _linear(config, item, Data(rows["faces"], rows.get("train_faces", rows["faces"]), folds, protocol))
    else:
        rows = {name: read_faces(each) for name, each in sets.items()}
        data = Data(rows["faces"], rows.get("train_faces", rows["faces"]), folds, protocol)
        estimates = _finetuned(config, item, sources, data)
    return _publish(draft, item, protocol, estimates)


def _given(given: Artifact, item: Item, faces: Artifact) -> Artifact:
    if given.facts.get("method") != item.method or given.manifest.inputs["faces"].sha256 != faces.sha256:
        raise ConfigurationError(
            f"The features at {given.uri} are not those of {item.method} of the faces of this protocol; pass others, "
            "or none."
        )
    return given


def _check(item: Item, protocol: Artifact) -> None:
    if item.mode not in MODES:
        raise ConfigurationError(f"There is no mode '{item.mode}'; choose from {', '.join(MODES)}.")
    if wrong := misfit(item.task, method_called(item.method), item.mode):
        raise ConfigurationError(f"The method '{item.method}' {wrong.problem}; {wrong.advice}.")
    drawn = protocol.facts_as(ProtocolFacts)
    if (drawn.task, drawn.train_dataset) != (item.name, item.task.train_dataset):
        raise ConfigurationError(
            f"The protocol at {protocol.uri} is of the task '{drawn.task}', not of '{item.name}'; pass that of the "
            "task."
        )


def _address(config: TransferConfig, item: Item) -> dict[str, Any]:
    return config.model_dump(mode="json", include=set(FIELDS[base(item.mode)])) | item.record()


def _patient_specific(
    store: Store, config: TransferConfig, item: Item, sources: Sources, protocol: Artifact
) -> Artifact:
    """The patient-specific method (table 5), which has a network for each test patient."""
    from comface.transfer import patients

    faces, days = protocol.input("faces", "faces"), method_called(item.method).patient_days
    study = patients.read_study(protocol, read_faces(faces), config.patients, item.task.reserved_days, item.seed)
    stage = patients.first_stage(store, sources, protocol, study)
    inputs = {"protocol": protocol, "faces": faces, "patients": stage}
    revisions = {"transfer": REVISION, "patients": patients.REVISION, "methods": METHODS}
    draft = Draft(store, "transfer", item.record() | config.patients.model_dump(mode="json"), inputs, revisions)
    if (done := draft.published()) is not None:
        return done
    predicted, facts = patients.estimated_changes(stage, sources, study, days or 0)
    return _publish(draft, item, protocol, Estimates([predicted], facts))


def _linear(config: TransferConfig, item: Item, data: Data) -> Estimates:
    """Fit l to frozen features in each fold. Then, if it can be registered, on all subjects with the median of the
    chosen penalties."""
    if item.task.kind == "single":
        return _linear_single(config, item, data)
    form = ridge.Form("antisymmetric" in options(item.mode), "standardised" in options(item.mode))
    predicted, penalties = [], []
    for fold in data.folds:
        head, penalty = _fitted(config, form, data.training_N, fold)
        predicted.append(ridge.predicted(head, data.tested_N, fold.test_x_P, fold.test_y_P))
        penalties.append(penalty)
    if not item.registrable:
        return Estimates(predicted, {"penalties": penalties})
    final_penalty = sorted(penalties)[len(penalties) // 2]
    final = ridge.fit(_samples(data.training_N, data.everyone()), final_penalty, form)
    files = {"head.safetensors": _safetensors(final.tensors())}
    return Estimates(predicted, {"penalties": penalties, "final_penalty": final_penalty}, files)


def _linear_single(config: TransferConfig, item: Item, data: Data) -> Estimates:
    """Fit a linear head for the label of single photos in each fold. No head is registered."""

    def sample(*parts: Labelled) -> single.Sample:
        row_P, label_P = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x_P", "change_P"))
        return single.Sample(data.training_N, row_P, single.targets(label_P, len(item.task.classes)))

    predicted, penalties = [], []
    for fold in data.folds:
        turns, standardised = _turns(config, fold), "standardised" in options(item.mode)
        groups = [sample(*parts) for parts in turns] or [sample(fold.train)]
        head, penalty = single.fit(groups, None if turns else sample(fold.validation), standardised)
        predicted.append(single.predicted(head, data.tested_N, fold.test_x_P))
        penalties.append(penalty)
    return Estimates(predicted, {"penalties": penalties})


def _turns(config: TransferConfig, fold: FoldPairs) -> list[list[Labelled]]:
    """Return the groups of training subjects that validate in turn; none if only the validation subjects do."""
    if config.validation_turns == 1:
        return []
    parts = [part.of([number]) for part in (fold.validation, fold.train) for number in part.numbers]
    turns = min(config.validation_turns, len(parts))
    return [parts[turn::turns] for turn in range(turns)]


def _fitted(config: TransferConfig, form: ridge.Form, rows_ND: Rows, fold: FoldPairs) -> tuple[Head, float]:
    """Return the head of one fold and its penalty, chosen on the validation subjects or on all training subjects in
    turn."""
    if turns := _turns(config, fold):
        return ridge.fit_in_turns([_samples(rows_ND, *parts) for parts in turns], form)
    return ridge.fit_validated(_samples(rows_ND, fold.train), _samples(rows_ND, fold.validation), form)


def _samples(rows_ND: Rows, *parts: Labelled) -> ridge.Samples:
    sides = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x_P", "y_P", "change_P"))
    return ridge.Samples(rows_ND, *sides)


def _finetuned(config: TransferConfig, item: Item, sources: Sources, data: Data) -> Estimates:
    """Train all layers in each fold, starting from the pre-trained weights. Then, if the method can be registered,
    train once on all subjects, with the rates that most folds chose and the median of their epochs."""
    from comface.methods import load_method
    from comface.transfer.finetune import Batches, finetune_all, finetune_best, predict

    device, loaded = best_device(), load_method(item.method, sources)
    preprocessing, origin = loaded.preprocessing, loaded.origin
    del loaded  # each training loads its own

    def load() -> Any:
        return load_method(item.method, sources)

    def batches(rows_N: Rows, x_P: NDArray[np.int64], y_P: NDArray[np.int64]) -> Batches:
        return Batches(preprocessing, rows_N, (x_P, y_P), device)

    predicted, tuned = [], []
    for number, fold in enumerate(data.folds):
        parts = (fold.train, fold.validation)
        known = [batches(data.training_N, part.x_P, part.y_P) for part in parts]
        best = finetune_best(load, known, [part.change_P for part in parts], _grid(config, item, number))
        tested = batches(data.tested_N, fold.test_x_P, fold.test_y_P)
        predicted.append(predict(best.network, tested, best.training))
        tuned.append(replace(best, network=None))  # type: ignore[arg-type]  # one network in memory, not one per fold
    facts: dict[str, Any] = (origin.described() if origin else {}) | {
        "heads": [each.head for each in tuned],
        "chosen": [each.chosen for each in tuned],
        "batchnorm": "of the batch in training",
    }
    if not item.registrable:  # it does not become a model, so one training is saved
        return Estimates(predicted, facts)
    everyone, training = data.everyone(), _final(config, item, tuned)
    final = finetune_all(load(), batches(data.training_N, everyone.x_P, everyone.y_P), everyone.change_P, training)
    backbone, head = final.tensors()
    files = {"head.safetensors": _safetensors(head), "backbone.safetensors": _safetensors(backbone)}
    last = {"final_epochs": final.epoch, "final_head": final.head}
    return Estimates(predicted, facts | last, files)


def _grid(config: TransferConfig, item: Item, fold: object) -> list[Training]:
    """Each backbone rate with each head rate, the same grid for every method."""
    from comface.transfer.finetune import Training

    fresh, antisymmetric = ("fresh" in options(item.mode), "antisymmetric" in options(item.mode))
    words, classes = (item.name, item.method, fold), len(item.task.classes) if item.task.kind == "single" else None
    return [
        Training(
            config.epochs, config.batch_pairs, *rates, fresh, antisymmetric, item.seed, words, config.precision, classes
        )
        for rates in itertools.product(config.backbone_rate, config.head_rate)
    ]


def _final(config: TransferConfig, item: Item, tuned: Sequence[Finetuned]) -> Training:
    """The rates that most folds chose (in a tie, those first in the grid), and the median epoch of these folds."""
    grid = _grid(config, item, "all")
    rates = [(each.training.backbone_rate, each.training.head_rate) for each in tuned]
    votes = Counter(rates)
    best = max(grid, key=lambda each: votes[each.backbone_rate, each.head_rate])
    chosen = (best.backbone_rate, best.head_rate)
    epochs = sorted(each.epoch for each, rate in zip(tuned, rates, strict=True) if rate == chosen)
    return replace(best, epochs=epochs[len(epochs) // 2])


def _safetensors(tensors: Mapping[str, Any]) -> bytes:
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        import safetensors.numpy

        return safetensors.numpy.save(dict(tensors))
    import safetensors.torch

    return safetensors.torch.save(dict(tensors))


def _publish(draft: Draft, item: Item, protocol: Artifact, estimates: Estimates) -> Artifact:
    predicted_P = np.array([float(f"{value:.6g}") for value in np.concatenate(estimates.predicted)])
    if not np.isfinite(predicted_P).all():
        raise DataError(f"The estimates of {item} are not finite; lower its learning rates.")
    fold_P = [number for number, part in enumerate(estimates.predicted) for _ in part]
    draft.write_json(NAME, {"fold": fold_P, "predicted": predicted_P.tolist()})
    for name, data in estimates.files.items():
        draft.write(name, data)
    drawn, of_faces = protocol.facts_as(ProtocolFacts), draft.inputs["faces"].facts_as(FacesFacts)
    facts = TransferFacts(
        task=item.name,
        method=item.method,
        mode=item.mode,
        seed=item.seed,
        unit=item.task.unit,
        direction_accuracy=item.task.direction_accuracy,
        kind=item.task.kind,
        classes=item.task.classes,
        own_split=item.task.split is not None,
        training_subjects=drawn.training_subjects,
        subjects=drawn.subjects,
        pairs=drawn.pairs,
        protocol_sha256=drawn.protocol_sha256,
        dataset=of_faces.dataset,
        rehearsal=of_faces.rehearsal,
    )
    found = {"found": of_faces.found, "missed": of_faces.missed}
    return draft.publish(facts.record() | found | estimates.facts)
