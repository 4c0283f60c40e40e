"""Thresholds to verdicts: an attribute is kept, in the range of alpha in which it holds, or dropped and why.

In: Measured, Figures, ScreeningConfig. Out: a Verdict per attribute, and the drop list: tracks of kept attributes that
miss by themselves, in that range, what is asked of the attribute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from comface.config import ScreeningConfig
from comface.screening.figures import Figures, rank_correlation
from comface.screening.measure import Measured


@dataclass(frozen=True)
class Verdict:
    kept: bool
    low: float
    high: float
    """The range of alpha in which face and identity hold."""
    reason: str
    """Why it is dropped, or what ends its range; empty where it holds over the whole sweep."""


def verdict(figures: Figures, config: ScreeningConfig) -> Verdict:
    low, high = (float(figures.alphas_A[i]) for i in (figures.range.low, figures.range.high))
    ends = _ends(figures)
    why = _too_few_faces(figures, config) or _too_narrow(low, high, ends, config) or _not_its_own(figures, config)
    return Verdict(not why, low, high, why or ends)


def drop_list(measured: Measured, figures: Figures, judged: Verdict, config: ScreeningConfig) -> dict[str, str]:
    """Key -> reason, of the measured tracks of a kept attribute."""
    if not judged.kept:
        return {}
    part = slice(figures.range.low, figures.range.high + 1)
    face_NA = measured.faces[:, part]
    seen_N = np.maximum(face_NA.sum(axis=1), 1)
    identity_N = np.where(face_NA, measured.own_nearest_NA[:, part], 0).sum(axis=1) / seen_N
    scale = figures.scale
    values = {**measured.parameters, **measured.scores}
    steady_N = np.full(len(face_NA), np.nan)
    if scale is not None:
        steady_N = rank_correlation(scale.sign * values[scale.name][:, part], figures.alphas_A[part])
    dropped = {}
    for n, track in enumerate(measured.tracks):
        if not measured.faces[n, measured.reference]:
            dropped[track.key] = "no face is found in its unedited image"
        elif face_NA[n].mean() < config.min_face:
            dropped[track.key] = f"a face is found in {face_NA[n].mean():.0%} of its images"
        elif identity_N[n] < config.min_identity:
            dropped[track.key] = f"it is nearest to its own unedited image with probability {identity_N[n]:.2f}"
        elif steady_N[n] < 0:
            dropped[track.key] = f"'{scale.name if scale else ''}' goes backwards (rank correlation {steady_N[n]:.2f})"
    return dropped


def described(alpha: float) -> str:
    return "0" if alpha == 0 else f"{alpha:+.4g}".replace("-", "\N{MINUS SIGN}")


def alpha_range(judged: Verdict) -> str:
    return f"{described(judged.low)} … {described(judged.high)}"


def _ends(figures: Figures) -> str:
    """Which of face and identity is lost next to the range, and where."""
    said = []
    alphas_A, held = figures.alphas_A, figures.range
    for why, place in ((held.below, held.low - 1), (held.above, held.high + 1)):
        if why:
            share = (figures.face_A if why == "face" else figures.identity_A)[place]
            said.append(f"{why} at alpha {described(alphas_A[place])} ({0 if math.isnan(share) else share:.0%})")
    return f"lost: {', '.join(said)}" if said else ""


def _too_few_faces(figures: Figures, config: ScreeningConfig) -> str:
    if figures.found < config.min_face:
        return f"a face is found in only {figures.found:.0%} of the unedited images"
    return ""


def _too_narrow(low: float, high: float, ends: str, config: ScreeningConfig) -> str:
    if high - low < config.min_range:
        return f"holds over less than {config.min_range:g} of alpha; {ends}"
    return ""


def _not_its_own(figures: Figures, config: ScreeningConfig) -> str:
    scale = figures.scale
    if scale is None:
        return ""
    said = f"{_signed(figures.own)} SD per 5 alpha, rank correlation {_signed(figures.monotone)}"
    if figures.monotone <= -config.min_monotone and figures.own < 0:
        return f"goes backwards: '{scale.name}' moves by {said}"
    if not (figures.monotone >= config.min_monotone and figures.own >= config.min_effect_sd):
        return f"does not move what it names: '{scale.name}' moves by {said}"
    other, move = strongest(figures.moves, scale.name)
    if abs(move) > config.max_entangled * figures.own:
        return f"moves '{other}' ({_signed(move)} SD per 5 alpha) more than its own '{scale.name}' ({said})"
    return ""


def strongest(moves: Mapping[str, float], own: str = "") -> tuple[str, float]:
    """The scorer that moves most, apart from the own one."""
    others = {name: move for name, move in moves.items() if name != own and math.isfinite(move)}
    return max(others.items(), key=lambda item: abs(item[1]), default=("", 0.0))


def also_moves(figures: Figures, least_sd: float) -> Sequence[tuple[str, float]]:
    """What moves along with it by at least `least_sd` per 5 alpha, strongest first."""
    own = figures.scale.name if figures.scale else ""
    found = [(n, m) for n, m in figures.moves.items() if n != own and abs(m) >= least_sd]
    return sorted(found, key=lambda item: -abs(item[1]))


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")
