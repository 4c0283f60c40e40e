"""Computes the figures of an attribute from its measurements: pure functions of arrays.

In: Measured. Out: Figures. Only tracks with a face in the unedited image are used. The change of a score is given in
standard deviations of that score between identities, per 5 units of alpha, within the range of alpha in which face and
identity are kept.

Legend: N tracks, A alphas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from comface.screening.config import ScreeningConfig
from comface.screening.measure import Measured
from comface.screening.sample import Kind
from comface.screening.scales import Scale, own_scale

Floats = NDArray[np.float64]

PER_ALPHA = 5.0
LEAST_IMAGES = 3
"""Minimum number of faces along a track for a rank correlation."""


@dataclass(frozen=True)
class Range:
    """Indices of the first and last accepted alpha (both included), and why the range ends on each side ('face',
    'identity', or '' at the end of the sweep)."""

    low: int
    high: int
    below: str
    above: str


@dataclass(frozen=True)
class Figures:
    kind: Kind
    tracks: int
    found: float
    """Share of unedited images with a detected face."""
    alphas_A: Floats
    reference: int
    face_A: Floats
    identity_A: Floats
    distance_A: Floats
    range: Range
    scale: Scale | None
    monotone: float
    """Mean rank correlation between alpha and the attribute's own score; NaN if nothing measures it."""
    own: float
    """Change of the own score, in SD per 5 units of alpha."""
    own_quartiles_3A: Floats
    """Change of the own score from alpha 0, in SD: lower quartile, median, upper quartile."""
    moves: Mapping[str, float]
    """Change of every score, in SD per 5 units of alpha."""


def figures(measured: Sequence[Measured], config: ScreeningConfig) -> list[Figures]:
    deviations = {generator: spreads(measured, generator) for generator in {each.kind[0] for each in measured}}
    return [_figures(each, deviations[each.kind[0]], config) for each in measured]


def spreads(measured: Sequence[Measured], generator: str) -> dict[str, float]:
    """Return the standard deviation of every score and parameter over the generator's unedited identities."""
    values: dict[str, dict[str, float]] = {}
    for each in measured:
        if each.kind[0] == generator:
            for name, score_NA in {**each.parameters, **each.scores}.items():
                pairs = zip(each.tracks, score_NA[:, each.reference], strict=True)
                values.setdefault(name, {}).update({track.identity: value for track, value in pairs})
    spread = {}
    for name, by_identity in values.items():
        finite = np.array([value for value in by_identity.values() if np.isfinite(value)])
        spread[name] = float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")
    return spread


def holding(face_A: Floats, identity_A: Floats, reference: int, config: ScreeningConfig) -> Range:
    """Return the range around alpha 0 in which both shares reach their thresholds."""

    def end(step: int) -> tuple[int, str]:
        place = reference
        while 0 <= place + step < len(face_A):
            if not face_A[place + step] >= config.min_face:
                return place, "face"
            if not identity_A[place + step] >= config.min_identity:
                return place, "identity"
            place += step
        return place, ""

    (low, below), (high, above) = end(-1), end(1)
    return Range(low, high, below, above)


def rank_correlation(score_NA: Floats, alphas_A: Floats) -> Floats:
    """Return Spearman's rank correlation per track (N,), over the images with a face. NaN if there are fewer than
    three, 0 if nothing changes."""
    result_N = np.full(len(score_NA), np.nan)
    for n, score_A in enumerate(score_NA):
        seen_A = np.isfinite(score_A)
        if seen_A.sum() >= LEAST_IMAGES:
            ranks, order = rankdata(score_A[seen_A]), rankdata(alphas_A[seen_A])
            still = ranks.std() == 0 or order.std() == 0
            result_N[n] = 0.0 if still else np.corrcoef(ranks, order)[0, 1]
    return result_N


def slopes(score_NA: Floats, alphas_A: Floats) -> Floats:
    """Return the least-squares slope per track (N,), over the images with a face; NaN if there are fewer than two."""
    seen_NA = np.isfinite(score_NA)
    count_N = seen_NA.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha_NA = np.where(seen_NA, alphas_A[None, :], 0.0)
        centred_NA = np.where(seen_NA, alphas_A[None, :] - (alpha_NA.sum(axis=1) / count_N)[:, None], 0.0)
        return np.where(
            count_N >= 2, (centred_NA * np.nan_to_num(score_NA)).sum(axis=1) / (centred_NA**2).sum(axis=1), np.nan
        )


def _figures(measured: Measured, spread: Mapping[str, float], config: ScreeningConfig) -> Figures:
    reference, alphas_A = measured.reference, measured.alphas_A
    counted_N = measured.faces[:, reference]
    face_NA = measured.faces[counted_N]
    face_A = _mean(face_NA.astype(float))
    identity_A = _mean(np.where(face_NA, measured.own_nearest_NA[counted_N], np.nan))
    held = holding(face_A, identity_A, reference, config)
    part = slice(held.low, held.high + 1) if held.high - held.low >= LEAST_IMAGES - 1 else slice(None)
    all_NA = {name: score_NA[counted_N] for name, score_NA in {**measured.parameters, **measured.scores}.items()}
    in_sd = {name: score_NA / spread[name] for name, score_NA in all_NA.items() if spread[name] > 0}
    scale = own_scale(measured.kind[1], measured.scores, measured.parameters)
    monotone, own, quartiles_3A = float("nan"), float("nan"), np.full((3, len(alphas_A)), np.nan)
    if scale is not None:
        own_NA = scale.sign * in_sd.get(scale.name, np.full(face_NA.shape, np.nan))
        monotone = _mean_of(rank_correlation(scale.sign * all_NA[scale.name][:, part], alphas_A[part]))
        own = PER_ALPHA * _mean_of(slopes(own_NA[:, part], alphas_A[part]))
        quartiles_3A = _quartiles(own_NA - own_NA[:, [reference]])
    return Figures(
        kind=measured.kind,
        tracks=len(measured.tracks),
        found=float(counted_N.mean()),
        alphas_A=alphas_A,
        reference=reference,
        face_A=face_A,
        identity_A=identity_A,
        distance_A=_mean(np.where(face_NA, measured.distance_NA[counted_N], np.nan)),
        range=held,
        scale=scale,
        monotone=monotone,
        own=own,
        own_quartiles_3A=quartiles_3A,
        moves={
            name: PER_ALPHA * _mean_of(slopes(in_sd[name][:, part], alphas_A[part]))
            for name in measured.scores
            if name in in_sd
        },
    )


def _mean(value_NA: Floats) -> Floats:
    """Return the mean per alpha over the tracks with a finite value; NaN if there is none."""
    seen_NA = np.isfinite(value_NA)
    with np.errstate(invalid="ignore"):
        mean_A: Floats = np.where(seen_NA, value_NA, 0).sum(axis=0) / seen_NA.sum(axis=0)
        return mean_A


def _mean_of(value_N: Floats) -> float:
    finite = value_N[np.isfinite(value_N)]
    return float(finite.mean()) if len(finite) else float("nan")


def _quartiles(value_NA: Floats) -> Floats:
    columns = [column[np.isfinite(column)] for column in value_NA.T]
    return np.array([np.quantile(c, (0.25, 0.5, 0.75)) if len(c) else np.full(3, np.nan) for c in columns]).T
