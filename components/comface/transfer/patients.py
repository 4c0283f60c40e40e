"""The patient-specific method in a transfer (table 5): both stages, on the split of patients of a protocol.

In: the protocol of a task with reserved days, faces, settings. Out: the estimated change of every test pair, the
difference of two weights that a network of the patient estimates from single photos. The first stage is an artifact
`patients` (backbone.safetensors), which the methods for 0 to 3 days share. Labels are read of the training patients and
of the reserved days of test patients only. The number of epochs and the penalty are chosen on the validation patients,
on the days after the reserved ones.

Legend: N photos, P pairs, D feature width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray

from comface.artifacts.arrays import read_arrays
from comface.artifacts.manifest import Artifact, Draft
from comface.methods import REVISION as METHODS
from comface.methods import load_method
from comface.methods import method as method_called
from comface.methods.encoder import Encoder, Sources, best_device, encode
from comface.methods.patients.adapt import PENALTIES, PooledHead, adapted, pooled_heads, weights_of
from comface.methods.patients.config import PatientsConfig
from comface.methods.patients.moco import pretrain
from comface.methods.patients.photos import Faces, Photos
from comface.runtime.progress import counted, shown
from comface.store import Store
from comface.transfer.patient_split import NAME
from comface.transfer.protocol import Labelled, read_fold

logger = logging.getLogger(__name__)

REVISION = 1
"""Raise it when a change here or in methods/patients/ gives other estimates for the same protocol and settings."""
SECOND_STAGE = {"head", "adapt_epochs", "backbone_rate", "head_rate"}
CHUNK = 1024
"""Faces that are encoded at once."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PatientFold:
    """The split of patients, without a label of the tested days. Patients are numbers, as in the protocol."""

    training: Photos
    validation: Photos
    reserved: Photos
    """Of test patients, on the days reserved for adaptation."""
    validation_pairs: Labelled
    reserved_days: int
    test_x_P: NDArray[np.int64]
    test_y_P: NDArray[np.int64]
    test_patient_P: NDArray[np.int64]

    def later_pairs(self, patient: int) -> NDArray[np.int64]:
        """Return the positions of the validation pairs of `patient` that lie after the reserved days."""
        photos, pairs = self.validation, self.validation_pairs
        later_N = photos.row_N[photos.day_N >= self.reserved_days]
        own_P = pairs.subject_P == patient
        return np.flatnonzero(own_P & np.isin(pairs.x_P, later_N) & np.isin(pairs.y_P, later_N))


def read_patients(protocol: Artifact, reserved_days: int) -> PatientFold:
    fold, columns = read_fold(protocol, 0), read_arrays(protocol, NAME)
    photos = Photos(*(columns[name] for name in ("row", "subject", "day", "phase", "label")))
    training, validation = photos.of(fold.train.numbers), photos.of(fold.validation.numbers)
    tested = columns["test_subject"]
    reserved = photos.of(np.unique(tested).tolist())
    pairs = fold.validation, reserved_days, fold.test_x_P, fold.test_y_P
    return PatientFold(training, validation, reserved, *pairs, tested)


@dataclass(frozen=True)
class Study:
    """What both stages read."""

    fold: PatientFold
    faces: Faces
    config: PatientsConfig
    seed: int


def read_study(protocol: Artifact, faces: Faces, config: PatientsConfig, reserved_days: int, seed: int) -> Study:
    return Study(read_patients(protocol, reserved_days), faces, config, seed)


def first_stage(store: Store, sources: Sources, protocol: Artifact, study: Study) -> Artifact:
    """Publish the backbone of the first stage, or return it if it exists."""
    config, photos = study.config, study.fold.training
    made, _ = method_called(config.start).inputs(sources)
    address = config.model_dump(mode="json", exclude=SECOND_STAGE) | made | {"first_stage_seed": study.seed}
    inputs = {"protocol": protocol, "faces": protocol.input("faces", "faces")}
    draft = Draft(store, "patients", address, inputs, {"patients": REVISION, "methods": METHODS})
    if (done := draft.published()) is not None:
        return done
    encoder = load_method(config.start, sources)
    logger.info(f"first stage: {counted(len(photos), 'photo')} of {counted(len(set(photos.patient_N)), 'patient')}")
    losses = pretrain(encoder, study.faces, photos, config, study.seed, best_device())
    state = {key: value.contiguous().cpu() for key, value in encoder.network.state_dict().items()}
    draft.write("backbone.safetensors", safetensors.torch.save(state))
    return draft.publish({"losses": losses, "photos": len(photos)})


def estimated_changes(stage: Artifact, sources: Sources, study: Study, days: int) -> tuple[Floats, dict[str, Any]]:
    """Return the estimated change of every test pair, and facts to record. `stage`: the result of `first_stage`.
    `days`: those of the second stage."""
    encoder, fold = load_method(study.config.start, sources), study.fold
    encoder.network.load_state_dict(safetensors.torch.load(stage.read("backbone.safetensors")))
    encoder.network.eval()
    head, penalty = _pooled(study, encoder)
    facts: dict[str, Any] = {"days": days, "penalty": penalty}
    if not days:
        features = _features(encoder, study, np.concatenate([fold.test_x_P, fold.test_y_P]))
        return head(features(fold.test_y_P)) - head(features(fold.test_x_P)), facts
    epochs = _best_epochs(study, encoder, head, days)
    predicted_P = np.zeros(len(fold.test_x_P))
    patients = sorted(set(fold.test_patient_P.tolist()))
    for patient in shown(patients, "fine-tuning on the days of a patient", unit="patient"):
        own_P = fold.test_patient_P == patient
        pairs_P2 = np.column_stack([fold.test_x_P[own_P], fold.test_y_P[own_P]])
        *_, predicted_P[own_P] = _adapted(
            study, encoder, head, fold.reserved.days(0, days).of([patient]), epochs, pairs_P2
        )
    return predicted_P, facts | {"epochs": epochs}


def _adapted(
    study: Study, encoder: Encoder, head: PooledHead, photos: Photos, epochs: int, pairs_P2: NDArray[np.int64]
) -> Iterator[Floats]:
    """Fine-tune on `photos` of one patient and yield the estimated change of the patient's pairs after every epoch, or
    only after the last if `epochs` is below the maximum."""
    rows_N, place = np.unique(pairs_P2, return_inverse=True)
    place_P2, device = place.reshape(pairs_P2.shape), best_device()
    every = epochs == study.config.adapt_epochs
    words = (photos.patient_N[0], len(set(photos.day_N.tolist())))
    config = study.config.model_copy(update={"adapt_epochs": epochs})
    steps = adapted(encoder, head, study.faces, photos, config, words, study.seed, device)
    for epoch, network in enumerate(steps, start=1):
        if every or epoch == epochs:
            weight_N = weights_of(network, encoder, study.faces, rows_N, config.batch_photos, device)
            yield weight_N[place_P2[:, 1]] - weight_N[place_P2[:, 0]]


def _pooled(study: Study, encoder: Encoder) -> tuple[PooledHead, float]:
    """Return the head fitted to the training patients, and its penalty: the one with the lowest squared error on the
    validation pairs."""
    photos, pairs = study.fold.training, study.fold.validation_pairs
    features = _features(encoder, study, np.concatenate([photos.row_N, pairs.x_P, pairs.y_P]))
    heads = pooled_heads(features(photos.row_N), photos, study.config)
    x_PD, y_PD = features(pairs.x_P), features(pairs.y_P)
    errors = [float(np.mean((head(y_PD) - head(x_PD) - pairs.change_P) ** 2)) for head in heads]
    best = int(np.argmin(errors))
    return heads[best], PENALTIES[best]


def _best_epochs(study: Study, encoder: Encoder, head: PooledHead, days: int) -> int:
    """Return the number of epochs with the lowest squared error over the validation patients, each fine-tuned on his
    first days. If no validation patient has a further day, it is the maximum."""
    pairs, photos = study.fold.validation_pairs, study.fold.validation
    error_E = np.zeros(study.config.adapt_epochs)
    count = 0
    for patient in sorted(set(photos.patient_N.tolist())):
        own = study.fold.later_pairs(patient)
        if not len(own):
            continue
        pairs_P2 = np.column_stack([pairs.x_P[own], pairs.y_P[own]])
        steps = _adapted(study, encoder, head, photos.days(0, days).of([patient]), study.config.adapt_epochs, pairs_P2)
        error_E += [float(((change_P - pairs.change_P[own]) ** 2).sum()) for change_P in steps]
        count += len(own)
    return int(np.argmin(error_E)) + 1 if count else study.config.adapt_epochs


def _features(
    encoder: Encoder, study: Study, rows_N: NDArray[np.int64]
) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """Encode these faces, each once. Return a function from rows to their features (N,D)."""
    unique_N = np.unique(rows_N)
    parts = [
        encode(encoder, study.faces[unique_N[begin : begin + CHUNK]], best_device())
        for begin in range(0, len(unique_N), CHUNK)
    ]
    h_ND = np.concatenate(parts)
    return lambda rows_N: h_ND[np.searchsorted(unique_N, rows_N)]
