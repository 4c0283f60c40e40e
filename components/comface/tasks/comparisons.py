"""Paired differences between methods on the same pairs, with p-values corrected for all comparisons of a report.

In: per comparison, a metric and the sums per subject of both methods (metrics.py). Out: a `Gain`: the difference with
its interval, its p-value, the corrected one, and a word.

The family are all comparisons of ComFace with another method in one evaluation: every method, task, mode and metric. If
two methods are equally good, each subject's estimates could as well be the other method's. So the test swaps the two
methods in a random half of the subjects, the same in all comparisons of a data set, and compares the studentised
difference with those after swapping. It needs no normal distribution, and it keeps the dependence between tasks, modes
and metrics. The correction has two levels. Over the tasks, modes and metrics of one method it is the step-down min-p
procedure of Westfall and Young (Resampling-Based Multiple Testing, 1993, algorithm 2.8). Over the methods it is that of
Bonferroni: the comparisons with several methods have ComFace in common, so swaps do not give their joint distribution
(min-p over them had 7 % of wrong words with 10 subjects). The chance of one or more wrong words "better" or "worse" in
a whole report is at most ALPHA. The differences are studentised, so that this also holds, approximately, for methods
that are equally good in different ways (Chung and Romano, Exact and asymptotically robust permutation tests, Annals of
Statistics 41, 2013). Student's distribution puts data sets with few and with many subjects on one scale.
benchmarks/simulations.py measures the error.

Legend: S subjects, F swaps, R replicates, K columns, H comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comface.seeds import numpy_rng
from comface.tasks.intervals import LEAST_SUBJECTS, columns, interval, sample, slopes, standard_error, values
from comface.tasks.metrics import NAN, PLAIN, SMALLER_IS_BETTER, Estimate, Figure, Floats, Sums

ALPHA = 0.05
"""Family-wise error: the chance of one or more wrong words in a report."""
SWAPS = 1999
BETTER, WORSE, SAME, UNKNOWN = "better", "worse", "not different", "unknown"


@dataclass(frozen=True)
class Gain(Estimate):
    """Advantage of one method over another (positive: better, whatever the metric), with its interval."""

    p: float = NAN
    """Two-sided, of this comparison alone."""
    corrected_p: float = NAN
    """Corrected for all comparisons of the family (family-wise error)."""

    @property
    def word(self) -> str:
        if math.isnan(self.corrected_p):
            return UNKNOWN
        if self.corrected_p > ALPHA:
            return SAME
        return BETTER if self.value > 0 else WORSE


@dataclass(frozen=True)
class Difference:
    """One comparison of the family, with the method `other`. Comparisons of the same `dataset` have the same subjects,
    in the same order."""

    other: str
    dataset: str
    gain: Estimate
    figure: Figure
    ours_RS: Sums
    other_RS: Sums


def advantage(
    metric: str,
    figure: Figure,
    ours_RS: Sums,
    other_RS: Sums,
    counts_BS: Floats,
    confidence: float,
    subjects: int | None = None,
) -> Estimate:
    """The advantage of the first method in a metric on the same pairs (positive: better), with its paired interval:
    both methods are resampled with the same subjects. `subjects`: how many have pairs (default: all)."""
    ours, other = (sample(figure, sums_RS, counts_BS) for sums_RS in (ours_RS, other_RS))
    better, worse = (other, ours) if metric in SMALLER_IS_BETTER else (ours, other)
    return interval(better.minus(worse), counts_BS, confidence, PLAIN, subjects)


def corrected(family: Sequence[Difference], seed: int, swaps: int = SWAPS) -> list[Gain]:
    """The gains of the family with p-values. A difference that is undefined, or is of fewer than LEAST_SUBJECTS, has
    none."""
    drawn: dict[tuple[str, int], Floats] = {}
    subjects = [np.atleast_2d(each.ours_RS[each.figure.columns[0]]).shape[1] for each in family]
    tested = [i for i, n in enumerate(subjects) if math.isfinite(family[i].gain.value) and n >= LEAST_SUBJECTS]
    p_FH = np.empty((swaps + 1, len(tested)))
    for h, i in enumerate(tested):
        each = family[i]
        key = each.dataset, subjects[i]
        if key not in drawn:
            drawn[key] = swapped(key[1], swaps, seed, each.dataset)
        p_FH[:, h] = _student_p(each, drawn[key])
    alone_H = (p_FH <= p_FH[0] * (1 + 1e-9)).mean(axis=0)
    others = np.array([family[i].other for i in tested], dtype=np.str_)
    corrected_H = np.empty(len(tested))
    for other in (methods := np.unique(others)):
        of_H = others == other
        corrected_H[of_H] = np.minimum(1.0, len(methods) * step_down(p_FH[:, of_H]))
    p_of = {i: (float(alone_H[h]), float(max(corrected_H[h], alone_H[h]))) for h, i in enumerate(tested)}
    return [
        Gain(each.gain.value, each.gain.low, each.gain.high, each.gain.reason, *p_of.get(i, (NAN, NAN)))
        for i, each in enumerate(family)
    ]


def step_down(p_FH: Floats) -> Floats:
    """(H,) step-down min-p: corrected p-values. The first row of `p_FH` is observed, the others follow from swaps."""
    order_H = np.argsort(p_FH[0], kind="stable")
    least_FH = np.minimum.accumulate(p_FH[:, order_H][:, ::-1], axis=1)[:, ::-1]
    share_H = (least_FH <= p_FH[0, order_H] * (1 + 1e-9)).mean(axis=0)
    corrected_H = np.empty(len(order_H))
    corrected_H[order_H] = np.maximum.accumulate(share_H)
    return corrected_H


def swapped(subjects: int, swaps: int, seed: int, dataset: str) -> Floats:
    """(F,S) 1 where the methods are swapped; the first row is the observed one, without swaps. The first subjects of a
    data set have the same column in all of its tasks."""
    columns_SF = [numpy_rng(seed, "swaps", dataset, s).integers(0, 2, swaps + 1) for s in range(subjects)]
    swap_FS = np.stack(columns_SF, axis=1).astype(np.float64)
    swap_FS[0] = 0
    return swap_FS


def _student_p(each: Difference, swap_FS: Floats) -> Floats:
    """(F,) two-sided p-values of the studentised difference by Student's distribution; 1 where there is no
    difference."""
    first_RSK, second_RSK = _same_replicates(columns(each.figure, each.ours_RS), columns(each.figure, each.other_RS))
    between_RSK = second_RSK - first_RSK
    size_RK = (np.abs(first_RSK) + np.abs(second_RSK)).sum(axis=1)
    difference_F, influence_FS = np.zeros(len(swap_FS)), np.zeros_like(swap_FS)
    for own_RSK, sign in ((first_RSK, 1.0), (second_RSK, -1.0)):
        total_RFK = own_RSK.sum(axis=1, keepdims=True) + sign * (swap_FS @ between_RSK)
        slope_RFK = slopes(each.figure, total_RFK, size_RK)
        difference_F += sign * values(each.figure, total_RFK).mean(axis=0)
        kept_FS, moved_FS = (_influence(slope_RFK, part_RSK) for part_RSK in (own_RSK, sign * between_RSK))
        influence_FS += sign * (kept_FS + swap_FS * moved_FS)
    error_F = standard_error(influence_FS, np.ones((1, swap_FS.shape[1])))
    t_F = np.where(np.abs(difference_F) <= 1e-12, 0.0, np.abs(difference_F) / np.maximum(error_F, 1e-12))
    t_F = np.where(np.isfinite(t_F), t_F, np.inf)  # undefined after a swap: it counts against the observed difference
    from scipy import stats

    p_F: Floats = 2 * stats.t.sf(t_F, swap_FS.shape[1] - 1)
    return p_F


def _influence(slope_RFK: Floats, sums_RSK: Floats) -> Floats:
    influence_FS: Floats = np.einsum("rfk,rsk->fs", slope_RFK, sums_RSK, optimize=True) / len(sums_RSK)
    return influence_FS


def _same_replicates(first_RSK: Floats, second_RSK: Floats) -> tuple[Floats, Floats]:
    """Repeat the replicates of the method that has fewer, so that a swap exchanges as many."""
    wanted = math.lcm(len(first_RSK), len(second_RSK))
    first, second = (np.tile(each, (wanted // len(each), 1, 1)) for each in (first_RSK, second_RSK))
    return first, second
