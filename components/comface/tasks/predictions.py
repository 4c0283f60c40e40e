"""Predictions of a transfer's test pairs. The figures of report, gate and interval are computed from them.

In: a `transfer` artifact. Out: its columns (predictions.json), checked to be complete, finite and consistent with the
artifact's facts. Recorded metrics are not trusted: they must equal those computed from the predictions.

Legend: P pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comface.artifacts.facts import TransferFacts
from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.tasks.metrics import direction_accuracy, mean_absolute_error, pearson

NAME = "predictions.json"
LARGEST_BYTES = 1 << 29
"""Size limit of predictions.json: about eight million pairs."""
TOLERANCE = 1e-6
"""Relative tolerance: the last digits of a sum differ between processors."""


class _Columns(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    subject: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1)
    fold: list[int]
    change: list[float]
    predicted: list[float]


@dataclass(frozen=True)
class Predictions:
    """The facts and columns of a transfer; `metrics` are computed from the columns."""

    facts: TransferFacts
    subjects: tuple[str, ...]
    change_P: NDArray[np.float64]
    predicted_P: NDArray[np.float64]
    metrics: dict[str, float | None]


def read_predictions(artifact: Artifact) -> Predictions:
    """The predictions of a transfer. Raises DataError if they are incomplete, not finite, or inconsistent with the
    facts."""
    facts = artifact.facts_as(TransferFacts)
    if (size := artifact.manifest.objects.get(NAME)) is not None and size.size_bytes > LARGEST_BYTES:
        raise DataError(
            f"The predictions of {artifact.uri} have {size.size_bytes / 1e6:,.0f} MB, more than the limit of "
            f"{LARGEST_BYTES / 1e6:,.0f} MB; run that transfer again."
        )
    try:
        columns = _Columns.model_validate_json(artifact.read(NAME))
    except ValidationError as error:
        raise _unreadable(artifact, error) from None
    lengths = {len(column) for column in (columns.subject, columns.fold, columns.change, columns.predicted)}
    if len(lengths) > 1:
        raise DataError(f"The predictions of {artifact.uri} are incomplete; run that transfer again.")
    change_P, predicted_P = np.array(columns.change), np.array(columns.predicted)
    metrics = metrics_of(change_P, predicted_P, facts.direction_accuracy)
    _check(artifact, facts, columns, metrics)
    return Predictions(facts, tuple(columns.subject), change_P, predicted_P, metrics)


def metrics_of(
    change_P: NDArray[np.float64], predicted_P: NDArray[np.float64], direction: bool
) -> dict[str, float | None]:
    """MAE, correlation and, if `direction`, accuracy of direction; None for a metric that cannot be computed."""
    with np.errstate(all="ignore"):
        found = {"mae": mean_absolute_error(change_P, predicted_P), "corr": pearson(change_P, predicted_P)}
        if direction:
            found["acc"] = direction_accuracy(change_P, predicted_P)
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _check(artifact: Artifact, facts: TransferFacts, columns: _Columns, metrics: dict[str, float | None]) -> None:
    counts: dict[str, tuple[Any, Any]] = {
        "number of pairs": (facts.pairs, len(columns.subject)),
        "number of subjects": (facts.subjects, len(set(columns.subject))),
    }
    counts |= {name: (facts.metrics.get(name), value) for name, value in metrics.items()}
    for name, (recorded, found) in counts.items():
        if not _equal(recorded, found):
            raise DataError(
                f"The transfer at {artifact.uri} was changed: its recorded {name} is {_shown(recorded)}, but its "
                f"predictions give {_shown(found)}; run that transfer again."
            )


def _equal(recorded: float | None, found: float | None) -> bool:
    if recorded is None or found is None:
        return recorded is found
    return math.isclose(recorded, found, rel_tol=TOLERANCE, abs_tol=1e-9)


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _unreadable(artifact: Artifact, error: ValidationError) -> DataError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])[:80]
    return DataError(
        f"The predictions of {artifact.uri} cannot be used ({where}: {first['msg'][:80]}); run that transfer again."
    )
