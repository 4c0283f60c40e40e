"""Transfer: evaluates one method on one task in one mode (sections 3.4 and 4.2), cross-validated by subject.

In: the protocol of the task (artifact `protocol`, which names the aligned faces), a backbone or the weights of a
published method. Out: an artifact `transfer`:

    predictions.json        columns over all test pairs, in the order of the protocol: fold, predicted, and `used`, if
                            it can be registered (ComFace): what `compare` would estimate, which intervals describe
    head.safetensors        if it can be registered (ComFace), the head fitted on all subjects
    backbone.safetensors    in mode finetune, if it can be registered, f fine-tuned on all subjects

No label of a test subject is read: of each fold, only fold-K.npz. tasks/predictions.py joins the true changes later.
What is registered is fitted on all subjects (all.npz) after all predictions. Linear evaluation needs no torch if the
features of the method are already published.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from comface.artifacts.facts import FacesFacts, ProtocolFacts, TransferFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.errors import ConfigurationError, DataError
from comface.methods import REVISION as METHODS
from comface.methods import method as method_called
from comface.methods.encoder import Sources
from comface.store import Store
from comface.tasks.config import MODES, base
from comface.tasks.predictions import NAME
from comface.transfer.applicable import misfit
from comface.transfer.config import TransferConfig
from comface.transfer.features import features
from comface.transfer.item import Data, Estimates
from comface.transfer.item import Item as Item
from comface.transfer.linear import linear
from comface.transfer.protocol import read_fold
from comface.transfer.rows import read_faces, read_features, read_mirrored

REVISION = 4
"""Raise it when a change here or in networks/ gives other estimates or heads for the same protocol and settings."""
FIELDS = {
    "linear": ("validation_turns",),
    "finetune": ("epochs", "batch_pairs", "backbone_rate", "head_rate", "precision"),
}


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
        rows = {name: (read_features(each), read_mirrored(each)) for name, each in made.items()}
        (tested_N, mirrored_N), (training_N, training_mirrored_N) = (
            rows["faces"],
            rows.get("train_faces", rows["faces"]),
        )
        data = Data(tested_N, training_N, folds, protocol, mirrored_N, training_mirrored_N)
        estimates = linear(config, item, data)
    else:
        faces = {name: read_faces(each) for name, each in sets.items()}
        data = Data(faces["faces"], faces.get("train_faces", faces["faces"]), folds, protocol)
        from comface.transfer.tuning import finetuned  # imports torch

        estimates = finetuned(config, item, sources, data)
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


def _publish(draft: Draft, item: Item, protocol: Artifact, estimates: Estimates) -> Artifact:
    columns = {"predicted": estimates.predicted} | ({"used": estimates.used} if estimates.used else {})
    digits = {name: [float(f"{value:.6g}") for value in np.concatenate(of)] for name, of in columns.items()}
    if not all(np.isfinite(of).all() for of in digits.values()):
        raise DataError(f"The estimates of {item} are not finite; lower its learning rates.")
    fold_P = [number for number, part in enumerate(estimates.predicted) for _ in part]
    draft.write_json(NAME, {"fold": fold_P} | digits)
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
