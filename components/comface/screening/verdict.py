"""Thresholds to verdicts: an attribute is kept, in the range of alpha in which it holds, or dropped and why.

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
    """The range of alpha in which face and identity hold."""
    reason: str
    """Why it is dropped, or what ends its range; empty where it holds over the whole sweep."""


def verdict(figures: Figures, config: ScreeningConfig) -> Verdict:
    low, high = (float(figures.alphas_A[i]) for i in (figures.range.low, figures.range.high))
    ends = _ends(figures)
    if figures.found < config.min_face:
        why = f"a face is found in only {figures.found:.0%} of the unedited images"
    elif high - low < config.min_range:
        why = f"holds over less than {config.min_range:g} of alpha; {ends}"
    else:
        why = _not_its_own(figures, config)
    return Verdict(not why, low, high, why or ends)


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


def _not_its_own(figures: Figures, config: ScreeningConfig) -> str:
    scale = figures.scale
    if scale is None:
        return ""
    said = f"{_signed(figures.own)} SD per 5 alpha, rank correlation {_signed(figures.monotone)}"
    if figures.monotone <= -config.min_monotone and figures.own < 0:
        return f"goes backwards: '{scale.name}' moves by {said}"
    if not (figures.monotone >= config.min_monotone and figures.own >= config.min_effect_sd):
        return f"does not move what it names: '{scale.name}' moves by {said}"
    other, move = next(iter(also_moves(figures, 0)), ("", 0.0))
    if abs(move) > config.max_entangled * figures.own:
        return f"moves '{other}' ({_signed(move)} SD per 5 alpha) more than its own '{scale.name}' ({said})"
    return ""


def also_moves(figures: Figures, least_sd: float) -> Sequence[tuple[str, float]]:
    """What moves along with it by at least `least_sd` per 5 alpha, strongest first."""
    own = figures.scale.name if figures.scale else ""
    found = [(n, m) for n, m in figures.moves.items() if n != own and abs(m) >= least_sd]
    return sorted(found, key=lambda item: -abs(item[1]))


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")
