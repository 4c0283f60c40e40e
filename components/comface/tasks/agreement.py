"""Agreement of estimated with true change: Bland–Altman limits, error and direction by size of change, the smallest
change that can be told, and error by subgroup.

In: true and predicted change and the subject of every pair. Out: figures with intervals over subjects (intervals.py);
each is the mean over the replicates (seeds).

The limits of agreement count repeated measures: the variance of the differences is that within a subject plus that
between subjects, from a one-way analysis of variance with unequal numbers of pairs (Bland and Altman, Agreement between
methods of measurement with multiple observations per individual, J Biopharm Stat 17, 2007, the case in which the true
value varies). Their intervals combine those of the bias and of half the width (MOVER: Zou, Confidence interval
estimation for the Bland–Altman limits of agreement with multiple observations per individual, Stat Methods Med Res 22,
2013). Half the width of the limits is the smallest detectable change: a larger estimate differs from zero with
95 % confidence (Beckerman et al., Smallest real difference, Qual Life Res 10, 2001; de Vet et al., When to use
agreement versus reliability measures, J Clin Epidemiol 59, 2006).

Legend: P pairs, S subjects, B resamples, R replicates, G classes of size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comface.tasks.classes import class_figures, class_sums
from comface.tasks.intervals import LEAST_SUBJECTS, estimate, percentiles
from comface.tasks.metrics import (
    FIGURES,
    INVERSE,
    NAN,
    PLAIN,
    Estimate,
    Figure,
    Floats,
    ratio,
    subject_sums,
    undefined,
)

Z = 1.959964
"""97.5 % quantile of the normal distribution: 95 % of the differences lie within the limits."""
BINS = 4
"""Bins of equal numbers of pairs, by size of change."""
FEW_SIZES = 6
"""A label with at most so many sizes of change (as AU intensities have) gets one bin per size."""
SHARE = 0.95
CLASSES = 20
"""Classes of size for the smallest change whose direction is right."""


@dataclass(frozen=True)
class Agreement:
    """Bland–Altman: the bias (estimated minus true change) and the limits within which 95 % of the differences lie."""

    bias: Estimate
    lower: Estimate
    upper: Estimate
    half_width: Estimate
    """Half the width of the limits: the smallest detectable change."""
    sd_within: float
    """Standard deviation of the differences within a subject."""
    sd_between: float
    """Standard deviation of the subjects' mean differences, without the part that is due to `sd_within`."""


@dataclass(frozen=True)
class SizeBin:
    """Pairs whose true change has a size (absolute value) above `low` and up to `high`, in the task's unit. The bin of
    pairs without a change has `low` = `high` = 0, and no direction."""

    low: float
    high: float
    pairs: int
    subjects: int
    mae: Estimate
    acc: Estimate
    """Accuracy of direction: the share of pairs whose estimate has the right sign."""


@dataclass(frozen=True)
class SmallestChange:
    """The smallest change that can be told, in the task's unit. NaN with a reason if there is none."""

    by_direction: Estimate
    """From this size on, the direction is right in at least `share` of the pairs (accuracy made monotone in size); with
    a percentile interval, whose coverage was not measured."""
    by_interval: Estimate
    """Smallest detectable change: half the width of the limits of agreement; a larger estimate excludes zero."""
    share: float


@dataclass(frozen=True)
class GroupFigures:
    """The metrics of the pairs of one subgroup: `value` of the column `group` of the data set."""

    group: str
    value: str
    pairs: int
    subjects: int
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Scored:
    """The test pairs of one result, and how its subjects are resampled."""

    subject_P: NDArray[np.int64]
    change_P: Floats
    predicted_RP: Floats
    counts_BS: Floats
    confidence: float
    classes: int = 0
    """Of a task of single photos whose label is a class; 0: the label is a quantity."""

    @property
    def figures(self) -> Mapping[str, Figure]:
        return class_figures(self.classes) if self.classes else FIGURES

    @property
    def subjects(self) -> int:
        return len(self.counts_BS[0])

    def sums(self, of_P: NDArray[np.bool_] | None = None) -> dict[str, Floats]:
        """Column → (R,S) sums per subject of all pairs, or of some."""
        each = [self._sums(predicted_P, of_P) for predicted_P in self.predicted_RP]
        return {name: np.stack([sums[name] for sums in each]) for name in each[0]}

    def _sums(self, predicted_P: Floats, of_P: NDArray[np.bool_] | None) -> dict[str, Floats]:
        if not self.classes:
            return subject_sums(self.subject_P, self.change_P, predicted_P, self.subjects, of_P)
        of_P = np.ones(len(self.change_P), bool) if of_P is None else of_P
        return class_sums(self.subject_P, self.change_P, predicted_P, self.subjects, self.classes, of_P)

    def estimate(self, metric: str, sums_RS: Mapping[str, Floats], of_P: NDArray[np.bool_] | None = None) -> Estimate:
        """A metric with its interval, or the reason why it is undefined."""
        of_P = np.ones(len(self.change_P), bool) if of_P is None else of_P
        for predicted_P in self.predicted_RP:
            if reason := undefined(metric, self.change_P[of_P], predicted_P[of_P]):
                return Estimate(NAN, reason=reason)
        return estimate(self.figures[metric], sums_RS, self.counts_BS, self.confidence)

    def people(self, of_P: NDArray[np.bool_]) -> int:
        return int(np.count_nonzero(np.bincount(self.subject_P[of_P])))


def agreement(tested: Scored) -> Agreement:
    sums_RS = _with_repeats(tested.sums())
    bias, half_width = (estimate(each, sums_RS, tested.counts_BS, tested.confidence) for each in (BIAS, HALF_WIDTH))
    variances_R = _variances(*(sums_RS[name].sum(axis=1) for name in ANOVA))
    within, between = (float(np.sqrt(each_R).mean()) for each_R in variances_R)
    return Agreement(bias, _limit(bias, half_width, -1), _limit(bias, half_width, 1), half_width, within, between)


def _limit(bias: Estimate, half_width: Estimate, sign: int) -> Estimate:
    """A limit with its interval, from the intervals of the bias and of half the width (MOVER)."""
    value = bias.value + sign * half_width.value
    narrower, wider = half_width.value - half_width.low, half_width.high - half_width.value
    below, above = (wider, narrower) if sign < 0 else (narrower, wider)
    low = value - math.hypot(bias.value - bias.low, below)
    high = value + math.hypot(bias.high - bias.value, above)
    return Estimate(value, low, high, bias.reason or half_width.reason.replace("upper end", "outer end"))


def by_size(tested: Scored) -> tuple[SizeBin, ...]:
    """The pairs without a change, then bins of the others: one per size if there are few, else of equal numbers."""
    size_P = np.abs(tested.change_P)
    sizes = np.unique(size_P[size_P > 0])
    edges = sizes if len(sizes) <= FEW_SIZES else np.unique(np.quantile(size_P[size_P > 0], _shares(BINS)))
    found = []
    for low, high in ((0.0, 0.0), *zip((0.0, *edges), edges, strict=False)):
        of_P = size_P == 0 if high == 0 else (size_P > low) & (size_P <= high)
        if of_P.any():
            sums_RS = tested.sums(of_P)
            mae, acc = (tested.estimate(metric, sums_RS, of_P) for metric in ("mae", "acc"))
            found.append(SizeBin(float(low), float(high), int(of_P.sum()), tested.people(of_P), mae, acc))
    return tuple(found)


def by_group(tested: Scored, groups_P: Mapping[str, Sequence[str]], metrics: Sequence[str]) -> tuple[GroupFigures, ...]:
    """The metrics of every subgroup of at least LEAST_SUBJECTS people: fewer have no intervals, and the name of a
    subgroup of one person can be that of the person. `groups_P`: column of the data set → value of every pair, empty if
    unknown or if the two photos differ in it."""
    found = []
    for group, values in groups_P.items():
        value_P = np.asarray(values, dtype=np.str_)
        for value in np.unique(value_P[value_P != ""]):
            of_P = value_P == value
            if tested.people(of_P) < LEAST_SUBJECTS:
                continue
            sums_RS = tested.sums(of_P)
            figures = {metric: tested.estimate(metric, sums_RS, of_P) for metric in metrics}
            found.append(GroupFigures(group, str(value), int(of_P.sum()), tested.people(of_P), figures))
    return tuple(found)


def smallest_change(tested: Scored, limits: Agreement) -> SmallestChange:
    return SmallestChange(_by_direction(tested), limits.half_width, SHARE)


def _by_direction(tested: Scored) -> Estimate:
    """The lowest size of the first class of size from which on the monotone accuracy of direction reaches SHARE."""
    size_P = np.abs(tested.change_P)
    changed_P = size_P > 0
    if not changed_P.any():
        return Estimate(NAN, reason="no pair has a change")
    edges_G = np.unique(np.quantile(size_P[changed_P], np.arange(CLASSES) / CLASSES))
    class_P = np.searchsorted(edges_G, size_P, side="right") - 1
    right_P = (np.sign(tested.predicted_RP) == np.sign(tested.change_P)).mean(axis=0) * changed_P
    shape = (tested.subjects, len(edges_G))
    place_P = tested.subject_P * shape[1] + np.maximum(class_P, 0)
    right_SG, pairs_SG = (
        np.bincount(place_P, weights=each_P, minlength=shape[0] * shape[1]).reshape(shape)
        for each_P in (right_P, changed_P.astype(np.float64))
    )
    first = _first(right_SG.sum(axis=0)[None], pairs_SG.sum(axis=0)[None])[0]
    if first == len(edges_G):
        return Estimate(NAN, reason=f"the direction is right in less than {SHARE:.0%} of the pairs of every size")
    if tested.subjects < LEAST_SUBJECTS:
        return Estimate(float(edges_G[first]), reason=f"no interval: fewer than {LEAST_SUBJECTS} subjects")
    first_B = _first(tested.counts_BS @ right_SG, tested.counts_BS @ pairs_SG)
    found = percentiles(float(edges_G[first]), np.append(edges_G, np.inf)[first_B], tested.confidence)
    beyond = "" if found.high == found.high else "the upper end is beyond the largest change"
    return Estimate(found.value, found.low, found.high, beyond)


def _first(right_BG: Floats, pairs_BG: Floats) -> NDArray[np.int64]:
    """(B,) the first class whose accuracy, made monotone by isotonic regression, reaches SHARE; G if none does.

    The isotonic fit of class k is the largest, over i ≤ k, of the least mean over classes i to j, j ≥ k."""
    classes = right_BG.shape[1]
    zero_B1 = np.zeros((len(right_BG), 1))
    right_BG, pairs_BG = (np.concatenate([zero_B1, np.cumsum(each, axis=1)], axis=1) for each in (right_BG, pairs_BG))
    fit_BG = np.full((len(right_BG), classes), -np.inf)
    for i in range(classes):
        with np.errstate(divide="ignore", invalid="ignore"):
            mean_BJ = (right_BG[:, i + 1 :] - right_BG[:, [i]]) / (pairs_BG[:, i + 1 :] - pairs_BG[:, [i]])
        least_BJ = np.fmin.accumulate(mean_BJ[:, ::-1], axis=1)[:, ::-1]
        fit_BG[:, i:] = np.fmax(fit_BG[:, i:], least_BJ)
    reached_BG = fit_BG >= SHARE - 1e-9
    first_B: NDArray[np.int64] = np.where(reached_BG.any(axis=1), reached_BG.argmax(axis=1), classes)
    return first_B


def _shares(count: int) -> Floats:
    return np.arange(1, count + 1) / count


def _with_repeats(sums_RS: dict[str, Floats]) -> dict[str, Floats]:
    """The sums, and those that the analysis of variance needs: of the subjects' means, of their numbers of pairs."""
    pairs_RS = sums_RS["pairs"]
    present_RS = (pairs_RS > 0).astype(np.float64)
    of_means_RS = sums_RS["bias"] ** 2 / np.maximum(pairs_RS, 1)
    return sums_RS | {"means": of_means_RS, "pairs_squared": pairs_RS**2, "subjects": present_RS}


ANOVA = ("pairs", "bias", "squares", "means", "pairs_squared", "subjects")
BIAS = Figure(("pairs", "bias"), ratio, PLAIN)


def _variances(n: Floats, d: Floats, dd: Floats, means: Floats, nn: Floats, s: Floats) -> tuple[Floats, Floats]:
    """Variance of the differences within and between subjects."""
    with np.errstate(divide="ignore", invalid="ignore"):
        within = np.maximum(dd - means, 0) / (n - s)
        of_means = np.maximum(means - d**2 / n, 0) / (s - 1)
        pairs_each = (n - nn / n) / (s - 1)
        single = n - s < 0.5  # one pair per subject: all variance is between subjects
        between = np.where(single, of_means, np.maximum(of_means - within, 0) / pairs_each)
        return np.where(single, 0.0, within), between


def _half_width(*sums: Floats) -> Floats:
    within, between = _variances(*sums)
    return Z * np.sqrt(within + between)


HALF_WIDTH = Figure(ANOVA, _half_width, INVERSE, tail=0.85)
"""`tail`: with heavy-tailed errors of 10 to 30 subjects, the interval of a standard deviation covers 92 to 94 % instead
of 95 %."""
