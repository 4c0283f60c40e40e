"""The power of a comparison: how often a challenger that is exactly as good as the champion would pass.

In: half the width of the gain's interval, and the number of people. Out: the power at a margin, the margin or the
number of people with a power of POWER, and a clause that says so. None of them uses the gain that was found, so this is
the power of a plan, not the "observed power" of a result (Hoenig and Heisey, The American Statistician 55, 2001). It
never changes an outcome.

Let ĝ be the gain and h = z·se the half width, z the normal quantile of the interval's level. The check of a margin m
passes if ĝ − h > −m. With a true gain of 0, its probability is Φ((m − h) / se) = Φ(z·(m/h − 1)). The half width is
itself an estimate from few people, so it is widened, as for the standard deviation of a pilot study (Browne, Statistics
in Medicine 14, 1995). benchmarks/simulations.py measures the power at the margins that are named.
"""

from __future__ import annotations

import math
from statistics import NormalDist

POWER = 0.8
WIDER = 1.5
"""How much a half width is widened, in 1/√people. Normal errors need 0.6 for a chance of 80 % that it is wide enough;
people with heavy tails need more. With 1.5, the simulated power at the margins that are named is at least 80 %."""
MOST_PEOPLE = 100_000
"""Larger numbers of people are not named as a need."""


def power(margin: float, half: float, people: int, confidence: float) -> float:
    """The probability that an equally good challenger passes the check of this margin."""
    half = _cautious(half, people)
    return NormalDist().cdf(_z(confidence) * (margin / half - 1)) if half > 0 else float(margin > 0)


def least_margin(half: float, people: int, confidence: float) -> float:
    """The smallest margin with a power of POWER. For a margin of 0, it is the true gain that would be shown."""
    return _cautious(half, people) * (1 + NormalDist().inv_cdf(POWER) / _z(confidence))


def people_for(margin: float, half: float, people: int, confidence: float) -> int | None:
    """About how many people this margin needs for a power of POWER, as the width of an interval falls with the square
    root of their number. None if nobody has so many."""
    if margin <= 0:
        return None
    wanted = people * math.pow(least_margin(half, people, confidence) / margin, 2)
    if wanted > MOST_PEOPLE:
        return None
    step = int(math.pow(10, max(math.floor(math.log10(max(wanted, 1))) - 1, 0)))
    return math.ceil(wanted / step) * step


def advice(margin: float, half: float, people: int, confidence: float, unit: str) -> str:
    """What the power is, and how many people or which margin would have enough."""
    least = f"{least_margin(half, people, confidence):.3f}{f' {unit}' if unit else ''}"
    if not margin:
        return f"with {people:,} people, a true gain of {least} is shown in {percent(POWER)} of cases"
    found = power(margin, half, people, confidence)
    passes = f"an equally good challenger passes in about {percent(found)} of cases"
    if found >= POWER:
        return f"{passes}, so improve this one, or add people"
    wanted = people_for(margin, half, people, confidence)
    enough = f"about {wanted:,} people, or " if wanted else ""
    return f"{passes}; {enough}a margin of {least} if you accept such a loss, would make that {percent(POWER)}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def half_width(standard_error: float, confidence: float) -> float:
    return _z(confidence) * standard_error


def _cautious(half: float, people: int) -> float:
    return half * (1 + WIDER / math.sqrt(people))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
