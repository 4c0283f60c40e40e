"""Metrics of predicted changes (section 4.3): MAE, Pearson correlation, accuracy of direction.

In: true and predicted change and the subject of every pair. Out: figures, NaN where one is undefined (`undefined` says
why). A figure is a function of sums over pairs. The sums are kept per subject, so that resampling subjects
(intervals.py) needs no pairs.

Legend: P pairs, S subjects, B resamples, R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Sums = Mapping[str, Floats]
"""Column → its sum over pairs: per subject (…,S), or in total."""
METRICS = ("mae", "corr", "acc")
SMALLER_IS_BETTER = {"mae"}
NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its interval over subjects. NaN with a `reason` for what is undefined."""

    value: float
    low: float = NAN
    high: float = NAN
    reason: str = ""
    """Why the figure or its interval is undefined."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a figure over `count` seeds or folds (NaN for one)."""

    sd: float
    count: int


@dataclass(frozen=True)
class Scale:
    """The scale on which an interval is computed and mapped back: there, the figure's error depends less on its
    value."""

    there: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    back: Callable[[float], float]


PLAIN = Scale(lambda v: v, np.ones_like, float)
LOG = Scale(np.log, lambda v: 1 / v, lambda t: float(np.exp(t)))
FISHER = Scale(np.arctanh, lambda v: 1 / (1 - v * v), lambda t: float(np.tanh(t)))
LOGIT = Scale(
    lambda v: np.log(v) - np.log1p(-v), lambda v: 1 / (v * (1 - v)), lambda t: float(np.exp(-np.logaddexp(0, -t)))
)

INVERSE = Scale(lambda v: -1 / v, lambda v: 1 / v**2, lambda t: -1 / t if t < 0 else math.inf)


@dataclass(frozen=True)
class Figure:
    """A figure as a function of the sums of some columns, and the scale of its interval."""

    columns: tuple[str, ...]
    of: Callable[..., Floats]
    scale: Scale
    is_share: bool = False
    tail: float = 1.0
    """Share of the error probability that its interval uses; below 1 where simulation shows that it covers too
    little."""


def mean_absolute_error(change_P: Floats, predicted_P: Floats) -> float:
    return float(np.mean(np.abs(predicted_P - change_P)))


def pearson(change_P: Floats, predicted_P: Floats) -> float:
    """Pearson correlation; NaN if either input is constant."""
    a_P, b_P = _standardised(change_P), _standardised(predicted_P)
    norm = float(np.sqrt((a_P @ a_P) * (b_P @ b_P)))
    return float(np.clip((a_P @ b_P) / norm, -1, 1)) if norm > 0 else NAN


def direction_accuracy(change_P: Floats, predicted_P: Floats) -> float:
    """Share of pairs with the right sign of change. Pairs with a true change of 0 are left out; an estimate of 0 for a
    change is wrong. NaN without a change."""
    changed_P = change_P != 0
    if not changed_P.any():
        return NAN
    return float(np.mean(np.sign(predicted_P[changed_P]) == np.sign(change_P[changed_P])))


def _standardised(values_P: Floats) -> Floats:
    """Centred, with a standard deviation of 1; exact zeros for constant values, where rounding would leave noise."""
    if not len(values_P) or np.ptp(values_P) <= 1e-12 * np.abs(values_P).max():
        return np.zeros_like(values_P)
    centred_P: Floats = values_P - values_P.mean()
    return centred_P / float(centred_P.std())


def subject_sums(
    subject_P: NDArray[np.int64],
    change_P: Floats,
    predicted_P: Floats,
    subjects: int,
    of_P: NDArray[np.bool_] | None = None,
) -> dict[str, Floats]:
    """Column → (S,) sums over the pairs of each subject, numbered from 0. `of_P`: the pairs that count."""
    weight_P = np.ones(len(change_P)) if of_P is None else of_P.astype(np.float64)
    changed_P = (change_P != 0).astype(np.float64)
    error_P, a_P, b_P = predicted_P - change_P, _standardised(change_P), _standardised(predicted_P)
    columns = {
        "pairs": np.ones_like(a_P),
        "error": np.abs(error_P),
        "bias": error_P,
        "squares": error_P**2,
        "a": a_P,
        "b": b_P,
        "aa": a_P**2,
        "bb": b_P**2,
        "ab": a_P * b_P,
        "changed": changed_P,
        "right": changed_P * (np.sign(predicted_P) == np.sign(change_P)),
    }
    return {
        name: np.bincount(subject_P, weight_P * column, subjects).astype(np.float64) for name, column in columns.items()
    }


def ratio(denominator: Floats, numerator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, NAN)


def _correlation(n: Floats, a: Floats, b: Floats, aa: Floats, bb: Floats, ab: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_a, variance_b = aa / n - (a / n) ** 2, bb / n - (b / n) ** 2
        known = (variance_a > 1e-12 * aa / n) & (variance_b > 1e-12 * bb / n)
        return np.where(known, (ab / n - a * b / n**2) / np.sqrt(np.abs(variance_a * variance_b)), NAN)


FIGURES = {
    "mae": Figure(("pairs", "error"), ratio, LOG),
    "corr": Figure(("pairs", "a", "b", "aa", "bb", "ab"), _correlation, FISHER),
    "acc": Figure(("changed", "right"), ratio, LOGIT, is_share=True),
}
"""The metrics as functions of sums."""


def undefined(metric: str, change_P: Floats, predicted_P: Floats) -> str:
    """Why a metric of these pairs is undefined, or an empty string."""
    if not len(change_P):
        return "there are no pairs"
    if metric == "corr" and not _standardised(change_P).any():
        return "all true changes are equal"
    if metric == "corr" and not _standardised(predicted_P).any():
        return "all estimates are equal"
    if metric == "acc" and not change_P.any():
        return "no pair has a change"
    return ""
