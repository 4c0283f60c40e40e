"""Intervals of a figure over subjects: a symmetric bootstrap-t whose unit is the subject, not the pair.

In: sums per subject (metrics.py) and how often each subject is drawn in every resample. Out: an `Estimate`.

The pairs of one person are alike, so subjects are resampled, with all their pairs. The plain percentile interval covers
86 to 92 % instead of 95 % with 8 to 20 subjects. Therefore the figure is studentised in every resample, with the
standard error of its influence values (jackknife), on a scale on which that error depends little on the figure:
Fisher's for correlations, log for MAE, logit for shares, the inverse for standard deviations. The interval
is symmetric on that scale; its error in coverage then falls with the square of the number of subjects (Hall, The
Bootstrap and Edgeworth Expansion, 1992, sections 3.5 and 3.6; Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapter 12). A share of exactly 0 or 1 does not vary between resamples. It gets the interval of Clopper and
Pearson with each subject as one trial, which is what Korn and Graubard use for clustered data (Survey Methodology 24,
1998) if all pairs of a subject agree. benchmarks/simulations.py measures the coverage.

Legend: S subjects, B resamples, R replicates (seeds; a figure is the mean over them), K columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from comface.seeds import numpy_rng
from comface.tasks.metrics import NAN, PLAIN, Estimate, Figure, Floats, Scale, Sums

LEAST_SUBJECTS = 5
"""Fewer subjects give no interval. From 8 on, its coverage is as stated (benchmarks/simulations.py)."""
LEAST_KNOWN = 0.5
"""Share of the resamples in which a figure must be defined."""
STEP = 1e-6
"""Of a column's size, for the numerical derivative of a figure."""


@dataclass(frozen=True)
class Sample:
    """A figure in the sample and in every resample, with the influence of every subject: in the sample by leaving out
    one subject in turn (jackknife), in the resamples by derivatives. Samples of two methods can be subtracted."""

    value: float
    influence_S: Floats
    value_B: Floats
    influence_BS: Floats

    def minus(self, other: Sample) -> Sample:
        mine, theirs = vars(self), vars(other)
        return Sample(**{name: mine[name] - theirs[name] for name in mine})


def resample_counts(subjects: int, resamples: int, seed: int, *words: object) -> Floats:
    """(B,S): how often each subject is drawn. All methods of a task use the same draw, so that they are comparable."""
    rng = numpy_rng(seed, "bootstrap", *words)
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples).astype(np.float64)


def sample(figure: Figure, sums_RS: Sums, counts_BS: Floats) -> Sample:
    """The figure of `sums_RS` (columns (R,S)) and of every resample: the mean over the replicates."""
    sums_RSK = columns(figure, sums_RS)
    total_RBK = np.concatenate([sums_RSK.sum(axis=1, keepdims=True), counts_BS @ sums_RSK], axis=1)
    slope_RBK = slopes(figure, total_RBK, np.abs(sums_RSK).sum(axis=1))
    influence_BS = np.einsum("rbk,rsk->bs", slope_RBK[:, 1:], sums_RSK, optimize=True) / len(sums_RSK)
    without_S = values(figure, total_RBK[:, :1] - sums_RSK).mean(axis=0)
    influence_S = (without_S.mean() - without_S) * (len(without_S) - 1) / len(without_S)
    value_B = values(figure, total_RBK).mean(axis=0)
    return Sample(float(value_B[0]), influence_S, value_B[1:], influence_BS)


def replicates(figure: Figure, sums_RS: Sums) -> Floats:
    """(R,): the figure of every replicate."""
    return values(figure, columns(figure, sums_RS).sum(axis=1))


def estimate(figure: Figure, sums_RS: Sums, counts_BS: Floats, confidence: float) -> Estimate:
    """The figure of the sums with its interval."""
    subjects = int(np.count_nonzero(np.atleast_2d(sums_RS[figure.columns[0]])[0]))
    drawn = sample(figure, sums_RS, counts_BS)
    if figure.is_share and drawn.value in (0.0, 1.0) and subjects >= LEAST_SUBJECTS:
        return Estimate(drawn.value, *_of_equal_shares(drawn.value, subjects, confidence))
    return interval(drawn, counts_BS, 1 - figure.tail * (1 - confidence), figure.scale, subjects)


def interval(
    drawn: Sample, counts_BS: Floats, confidence: float, scale: Scale = PLAIN, subjects: int | None = None
) -> Estimate:
    """The figure with its interval. `subjects`: how many have pairs (default: all)."""
    value, everyone = drawn.value, counts_BS.shape[1]
    if not math.isfinite(value):
        return Estimate(NAN, reason="it cannot be computed")
    if (everyone if subjects is None else subjects) < LEAST_SUBJECTS:
        return Estimate(value, reason=f"no interval: fewer than {LEAST_SUBJECTS} subjects")
    se = standard_error(drawn.influence_S[None], np.ones((1, everyone)))[0]
    if se <= 1e-12 * max(abs(value), 1.0):
        return Estimate(value, reason="no interval: the figure does not vary between subjects")
    with np.errstate(all="ignore"):
        there, slope = scale.there(np.asarray(value)), scale.slope(np.asarray(value))
        t_B = (scale.there(drawn.value_B) - there) / (
            standard_error(drawn.influence_BS, counts_BS) * scale.slope(drawn.value_B)
        )
    t_B = t_B[np.isfinite(t_B)]
    if len(t_B) < LEAST_KNOWN * len(counts_BS):
        return Estimate(value, reason="no interval: the figure is undefined in most resamples")
    half = float(np.quantile(np.abs(t_B), confidence)) * se * float(slope)
    with np.errstate(over="ignore"):
        low, high = scale.back(float(there) - half), scale.back(float(there) + half)
    if not math.isfinite(high):
        return Estimate(value, low, NAN, "the interval has no upper end")
    return Estimate(value, low, high)


def percentiles(value: float, value_B: Floats, confidence: float) -> Estimate:
    """A figure that is not smooth, with the percentile interval of its resamples; a resample without it counts as
    infinite."""
    ends = np.quantile(np.where(np.isfinite(value_B), value_B, np.inf), _ends(confidence), method="nearest")
    low, high = (float(end) if math.isfinite(end) else NAN for end in ends)
    return Estimate(value, low, high)


def _ends(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2


def _of_equal_shares(value: float, subjects: int, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's interval of `subjects` trials that all succeeded, or all failed."""
    tail = _ends(confidence)[0] ** (1 / subjects)
    return (tail, 1.0) if value == 1.0 else (0.0, 1.0 - tail)


def columns(figure: Figure, sums_RS: Sums) -> Floats:
    """(R,S,K) the columns of a figure."""
    return np.stack([np.atleast_2d(sums_RS[name]) for name in figure.columns], axis=-1)


def values(figure: Figure, total_XK: Floats) -> Floats:
    """(X) the figure of totals."""
    return np.asarray(figure.of(*np.moveaxis(total_XK, -1, 0)), dtype=np.float64)


def slopes(figure: Figure, total_RBK: Floats, size_RK: Floats) -> Floats:
    """(R,B,K) numerical derivatives of the figure by its totals; `size_RK`: the size of the columns."""
    slope_RBK = np.empty_like(total_RBK)
    for k in range(total_RBK.shape[-1]):
        step_RBK = np.zeros_like(total_RBK)
        step_RBK[..., k] = STEP * size_RK[:, None, k] + 1e-300
        above, below = values(figure, total_RBK + step_RBK), values(figure, total_RBK - step_RBK)
        slope_RBK[..., k] = (above - below) / (2 * step_RBK[..., k])
    return slope_RBK


def standard_error(influence_BS: Floats, counts_BS: Floats) -> Floats:
    """(B,) from the influences of the drawn subjects."""
    subjects = counts_BS.shape[1]
    if subjects < 2:
        return np.full(len(counts_BS), NAN)
    centred_BS = influence_BS - ((counts_BS * influence_BS).sum(axis=1) / subjects)[:, None]
    variance_B: Floats = subjects / (subjects - 1) * (counts_BS * centred_BS**2).sum(axis=1)
    return np.sqrt(variance_B)
