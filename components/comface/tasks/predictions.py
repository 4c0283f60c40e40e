"""Predictions of a transfer's test pairs, joined with their true changes. All figures are computed from them.

In: a `transfer` artifact and the `protocol` that it was made from. Out: columns over all test pairs, checked to be
complete, finite and of the same protocol. A transfer holds the estimates only; subjects, photos and true changes are
those of the protocol, so that no transfer can bring figures of other pairs.

Legend: P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from comface.artifacts.arrays import read_arrays
from comface.artifacts.facts import ProtocolFacts, TransferFacts
from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.tasks.classes import class_metrics, confusion
from comface.tasks.metrics import direction_accuracy, mean_absolute_error, pearson

NAME = "predictions.json"
TRUTH = "truth.npz"
LARGEST_BYTES = 1 << 29
"""Size limit of predictions.json: about eight million pairs."""

Photos = Sequence[Mapping[str, Any]]
"""Rows of photos.json of a data set's faces."""


class _Columns(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    fold: list[int]
    predicted: list[float]
    used: list[float] | None = None


@dataclass(frozen=True)
class Predictions:
    """The facts and columns of a transfer; `metrics` are computed from the columns. `x_P` and `y_P` are rows of the
    artifact `faces`, which is an input of the transfer. If a task trains on another data set, every test pair occurs
    once in each fold."""

    facts: TransferFacts
    subjects: tuple[str, ...]
    fold_P: NDArray[np.int64]
    x_P: NDArray[np.int64]
    y_P: NDArray[np.int64]
    change_P: NDArray[np.float64]
    predicted_P: NDArray[np.float64]
    used_P: NDArray[np.float64]
    """What `compare` would estimate, from the faces and their mirror images in both orders, with a head fitted for
    that (transfer/linear.py); `predicted_P` if the transfer has none."""
    repeats: int
    """Number of folds that are tested on the same pairs; 1 for cross-validation, which tests every pair once."""
    metrics: dict[str, float | None]
    """Each the mean over the repeats."""


def read_predictions(artifact: Artifact) -> Predictions:
    """The predictions of a transfer. Raises DataError if they are incomplete, not finite, or of another protocol."""
    facts = artifact.facts_as(TransferFacts)
    columns, protocol = _columns(artifact), artifact.input("protocol", "protocol")
    truth, drawn = read_arrays(protocol, TRUTH), protocol.facts_as(ProtocolFacts)
    if facts.protocol_sha256 != drawn.protocol_sha256:
        raise DataError(
            f"The transfer at {artifact.uri} names another protocol than the one that it was made from; run that "
            "transfer again."
        )
    fold_P, predicted_P = np.array(columns.fold, dtype=np.int64), np.array(columns.predicted, dtype=np.float64)
    lengths = {len(predicted_P), len(predicted_P if columns.used is None else columns.used)}
    if lengths != {len(truth["change"])} or not np.array_equal(fold_P, truth["fold"]):
        raise DataError(
            f"The predictions of {artifact.uri} are incomplete: {len(predicted_P):,} for the {len(truth['change']):,} "
            "test pairs of its protocol; run that transfer again."
        )
    names = protocol.read_json("folds.json")["subjects"]
    subjects = tuple(names[number] for number in truth["subject"])
    pairs = truth["x"], truth["y"], truth["change"]
    repeats = _repeats(fold_P, truth["subject"])
    parts = zip(np.split(truth["change"], repeats), np.split(predicted_P, repeats), strict=True)
    metrics = mean_metrics([_metrics(facts, change_P, part_P) for change_P, part_P in parts])
    used_P = predicted_P if columns.used is None else np.array(columns.used, dtype=np.float64)
    return Predictions(facts, subjects, fold_P, *pairs, predicted_P, used_P, repeats, metrics)


def groups_of(read: Predictions, rows: int, photos: Photos) -> dict[str, list[str]]:
    """Column of the data set → value of each of the first `rows` pairs; empty if it is unknown or differs between the
    photos. Values that differ in case only are equal, and are written like the first of them."""
    columns = sorted({name for row in photos for name in row.get("groups", {})})
    pairs = list(zip(read.x_P[:rows].tolist(), read.y_P[:rows].tolist(), strict=True)) if columns else []

    spelled: dict[str, str] = {}

    def value(name: str, x: int, y: int) -> str:
        found = [str(photos[each].get("groups", {}).get(name, "")).strip() for each in (x, y)]
        before, after = (spelled.setdefault(each.casefold(), each) for each in found)
        return before if before == after else ""

    return {name: [value(name, x, y) for x, y in pairs] for name in columns}


def _metrics(
    facts: TransferFacts, change_P: NDArray[np.float64], predicted_P: NDArray[np.float64]
) -> dict[str, float | None]:
    if facts.classes:
        return _finite(class_metrics(confusion(change_P, predicted_P, len(facts.classes))))
    return metrics_of(change_P, predicted_P, facts.direction_accuracy)


def _repeats(fold_P: NDArray[np.int64], subject_P: NDArray[np.int64]) -> int:
    """In cross-validation, no subject is tested in two folds. Otherwise every fold has all pairs."""
    folds = np.unique(fold_P)
    return len(folds) if set(subject_P[fold_P == folds[0]]) & set(subject_P[fold_P != folds[0]]) else 1


def mean_metrics(each: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The means of metrics over seeds or folds; None for a metric that is None in one of them."""
    known = {name: [metrics[name] for metrics in each] for name in each[0]}
    return {
        name: None if None in values else float(np.mean([value for value in values if value is not None]))
        for name, values in known.items()
    }


def metrics_of(
    change_P: NDArray[np.float64], predicted_P: NDArray[np.float64], direction: bool
) -> dict[str, float | None]:
    """MAE, correlation and, if `direction`, accuracy of direction; None for a metric that cannot be computed."""
    with np.errstate(all="ignore"):
        found = {"mae": mean_absolute_error(change_P, predicted_P), "corr": pearson(change_P, predicted_P)}
        if direction:
            found["acc"] = direction_accuracy(change_P, predicted_P)
    return _finite(found)


def _finite(found: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _columns(artifact: Artifact) -> _Columns:
    if (size := artifact.manifest.objects.get(NAME)) is not None and size.size_bytes > LARGEST_BYTES:
        raise DataError(
            f"The predictions of {artifact.uri} have {size.size_bytes / 1e6:,.0f} MB, more than the limit of "
            f"{LARGEST_BYTES / 1e6:,.0f} MB; run that transfer again."
        )
    try:
        return _Columns.model_validate_json(artifact.read(NAME))
    except ValidationError as error:
        raise _unreadable(artifact, error) from None


def _unreadable(artifact: Artifact, error: ValidationError) -> DataError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])[:80]
    return DataError(
        f"The predictions of {artifact.uri} cannot be used ({where}: {first['msg'][:80]}); run that transfer again."
    )
