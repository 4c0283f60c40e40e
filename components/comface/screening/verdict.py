"""Applies the thresholds: an attribute is kept within a range of alpha, or dropped with a reason.

In: Figures, ScreeningConfig. Out: a Verdict per attribute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from comface.screening.config import ScreeningConfig
from comface.screening.figures import Figures
from comface.screening.table import described


@dataclass(frozen=True)
class Verdict:
    kept: bool
    low: float
    high: float
    """`low` and `high`: the range of alpha in which face and identity are kept."""
    reason: str
    """Why it is dropped, or what ends its range; empty if the whole sweep is accepted."""


def verdict(figures: Figures, config: ScreeningConfig) -> Verdict:
    low, high = (float(figures.alphas_A[i]) for i in (figures.range.low, figures.range.high))
    ends = _ends(figures)
    if figures.found < config.min_face:
        why = f"a face is found in only {figures.found:.0%} of the unedited images"
    elif high - low < config.min_range:
        why = f"accepted range narrower than {config.min_range:g} units of alpha; {ends}"
    else:
        why = _not_its_own(figures, config)
    return Verdict(not why, low, high, why or ends)


def alpha_range(judged: Verdict) -> str:
    return f"{described(judged.low)} … {described(judged.high)}"


def _ends(figures: Figures) -> str:
    """Describe at which alphas beyond the range the face or the identity is lost."""
    said = []
    alphas_A, held = figures.alphas_A, figures.range
    for why, place in ((held.below, held.low - 1), (held.above, held.high + 1)):
        if why:
            share = (figures.face_A if why == "face" else figures.identity_A)[place]
            said.append(f"{why} at alpha {described(alphas_A[place])} ({0 if math.isnan(share) else share:.0%})")
    return f"lost: {', '.join(said)}" if said else ""


def _not_its_own(figures: Figures, config: ScreeningConfig) -> str:
    scale = figures.scale
    if scale is None:
        return ""
    said = f"{_signed(figures.own)} SD per 5 alpha, rank correlation {_signed(figures.monotone)}"
    if figures.monotone <= -config.min_monotone and figures.own < 0:
        return f"reversed: '{scale.name}' changes by {said}"
    if not (figures.monotone >= config.min_monotone and figures.own >= config.min_effect_sd):
        return f"no clear effect: '{scale.name}' changes by {said}"
    other, move = next(iter(also_moves(figures, 0)), ("", 0.0))
    if abs(move) > config.max_entangled * figures.own:
        return f"changes '{other}' ({_signed(move)} SD per 5 alpha) more than its own score '{scale.name}' ({said})"
    return ""


def also_moves(figures: Figures, least_sd: float) -> Sequence[tuple[str, float]]:
    """Return the other scores that change by at least `least_sd` SD per 5 units of alpha, strongest first."""
    own = figures.scale.name if figures.scale else ""
    found = [(n, m) for n, m in figures.moves.items() if n != own and abs(m) >= least_sd]
    return sorted(found, key=lambda item: -abs(item[1]))


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")
