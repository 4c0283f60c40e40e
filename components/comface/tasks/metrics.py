"""Metrics of predicted changes (section 4.3): MAE, Pearson correlation, accuracy of direction, with intervals.

In: true and predicted change and the subject of every pair. Out: numbers, and bootstrap intervals that resample
subjects, not pairs, because the pairs of one person are not independent.

Legend: P pairs, S subjects, B resamples, K sums per subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comface.seeds import numpy_rng

Floats = NDArray[np.float64]
METRICS = ("mae", "corr", "acc")
SMALLER_IS_BETTER = {"mae"}


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its interval over subjects. NaN with a `reason` for what is undefined."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    reason: str = ""
    """Why the figure or its interval is undefined."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a figure over `count` seeds or folds (NaN for one)."""

    sd: float
    count: int


def mean_absolute_error(change_P: Floats, predicted_P: Floats) -> float:
    return float(np.mean(np.abs(predicted_P - change_P)))


def pearson(change_P: Floats, predicted_P: Floats) -> float:
    """Pearson correlation; NaN if either input is constant."""
    a_P, b_P = _centred(change_P), _centred(predicted_P)
    norm = float(np.sqrt((a_P @ a_P) * (b_P @ b_P)))
    return float(a_P @ b_P) / norm if norm > 0 else float("nan")


def _centred(values_P: Floats) -> Floats:
    """`values_P` minus its mean; exact zeros for constant values, where rounding would leave noise."""
    return values_P - values_P.mean() if np.ptp(values_P) > 0 else np.zeros_like(values_P)


def direction_accuracy(change_P: Floats, predicted_P: Floats) -> float:
    """Share of pairs with the right sign of change; pairs with a true change of 0 are left out. NaN without any."""
    changed_P = change_P != 0
    if not changed_P.any():
        return float("nan")
    return float(np.mean(np.sign(predicted_P[changed_P]) == np.sign(change_P[changed_P])))


def subject_sums(subjects: Sequence[str], change_P: Floats, predicted_P: Floats) -> Floats:
    """(S,K): the sums per subject from which the three metrics follow, so that a resample is one matrix product."""
    _, index_P = np.unique(np.asarray(subjects), return_inverse=True)
    changed_P = change_P != 0
    right_P = changed_P & (np.sign(predicted_P) == np.sign(change_P))
    a_P, b_P = _centred(change_P), _centred(predicted_P)
    columns = (
        np.ones_like(a_P),
        np.abs(predicted_P - change_P),
        a_P,
        b_P,
        a_P**2,
        b_P**2,
        a_P * b_P,
        changed_P,
        right_P,
    )
    return np.column_stack([np.bincount(index_P, weights=column) for column in columns])


def metrics_of_sums(sums_BK: Floats) -> dict[str, Floats]:
    """The metrics (B,) from summed rows of `subject_sums`."""
    n, error, a, b, aa, bb, ab, changed, right = sums_BK.T
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance, variance_a, variance_b = ab - a * b / n, aa - a * a / n, bb - b * b / n
        tiny = 1e-12 * np.maximum(bb, 1e-300)
        norm = np.sqrt(np.maximum(variance_a, 0) * np.where(variance_b > tiny, variance_b, 0))
        return {
            "mae": error / n,
            "corr": np.where(norm > 0, covariance / norm, np.nan),
            "acc": np.where(changed > 0, right / changed, np.nan),
        }


def resample_counts(subjects: int, resamples: int, seed: int, *words: object) -> Floats:
    """(B,S): how often each subject is drawn. All methods of a task use the same draw, so that they are comparable."""
    rng = numpy_rng(seed, "bootstrap", *words)
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples).astype(np.float64)


def estimates(sums_SK: Floats, counts_BS: Floats, confidence: float) -> dict[str, Estimate]:
    """Each metric with its percentile interval over the resamples."""
    values = metrics_of_sums(sums_SK.sum(axis=0, keepdims=True))
    resampled = metrics_of_sums(counts_BS @ sums_SK)
    return {name: Estimate(float(values[name][0]), *_interval(resampled[name], confidence)) for name in METRICS}


def advantage(sums_SK: Floats, other_SK: Floats, counts_BS: Floats, confidence: float) -> Mapping[str, Estimate]:
    """Advantage of the first method over the other on the same pairs (positive: better), with intervals."""
    gains = {}
    for name in METRICS:
        sign = -1.0 if name in SMALLER_IS_BETTER else 1.0
        difference_B = sign * (metrics_of_sums(counts_BS @ sums_SK)[name] - metrics_of_sums(counts_BS @ other_SK)[name])
        first, second = (metrics_of_sums(sums.sum(axis=0, keepdims=True))[name][0] for sums in (sums_SK, other_SK))
        gains[name] = Estimate(float(sign * (first - second)), *_interval(difference_B, confidence))
    return gains


def _interval(values_B: Floats, confidence: float) -> tuple[float, float]:
    known_B = values_B[np.isfinite(values_B)]
    if not len(known_B):
        return float("nan"), float("nan")
    low, high = np.quantile(known_B, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
