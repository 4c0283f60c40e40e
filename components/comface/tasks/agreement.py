"""Agreement of estimated with true change: Bland–Altman limits, error and direction by size of change, the smallest
change that can be told, and error by subgroup.

The shapes only; the report renders them. Every figure is the mean over a result's replicates (seeds) and has an
interval over subjects.
"""

from __future__ import annotations

from dataclasses import dataclass

from comface.tasks.metrics import Estimate


@dataclass(frozen=True)
class Agreement:
    """Bland–Altman: the bias (estimated minus true change) and the limits within which 95 % of the differences lie."""

    bias: Estimate
    lower: Estimate
    upper: Estimate
    sd_within: float
    """Standard deviation of the differences within a subject."""
    sd_between: float
    """Standard deviation of the subjects' mean differences, without the part that is due to `sd_within`."""


@dataclass(frozen=True)
class SizeBin:
    """Pairs whose true change has a size (absolute value) above `low` and up to `high`, in the task's unit."""

    low: float
    high: float
    pairs: int
    subjects: int
    mae: Estimate
    acc: Estimate
    """Accuracy of direction: the share of pairs whose estimate has the right sign."""


@dataclass(frozen=True)
class SmallestChange:
    """The smallest change that can be told. NaN with a `reason` if there is none."""

    by_direction: float
    """From this size on, the direction is right in at least `share` of the pairs (isotonic in the size)."""
    by_interval: float
    """Smallest detectable change: half the width of the Bland–Altman limits; a larger estimate excludes zero."""
    share: float
    reason: str = ""


@dataclass(frozen=True)
class GroupFigures:
    """The metrics of the pairs of one subgroup: `value` of the column `group` of the data set."""

    group: str
    value: str
    pairs: int
    subjects: int
    estimates: dict[str, Estimate]
