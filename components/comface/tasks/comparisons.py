"""Paired differences between two methods on the same pairs, with p-values corrected for all comparisons of a report.

The shapes only; the report renders them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from comface.tasks.metrics import Estimate

BETTER, WORSE, SAME, UNKNOWN = "better", "worse", "not different", "unknown"


@dataclass(frozen=True)
class Gain(Estimate):
    """Advantage of one method over another (positive: better, whatever the metric), with its interval."""

    p: float = float("nan")
    """Two-sided, of this comparison alone."""
    corrected_p: float = float("nan")
    """Corrected for all comparisons of the family (family-wise error)."""

    @property
    def word(self) -> str:
        if math.isnan(self.corrected_p):
            return UNKNOWN
        if self.corrected_p > 0.05:
            return SAME
        return BETTER if self.value > 0 else WORSE
