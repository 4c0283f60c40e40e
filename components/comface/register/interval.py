"""Conformal prediction intervals for an estimated change, from cross-validated residuals.

In: the subject and the residual (predicted minus true change) of every test pair. Out: the half width of the interval
that covers the true change of a pair of a *new* subject with the given probability. Subjects are exchangeable, pairs of
different subjects are not. Therefore every subject has the same weight, and the new subject counts as one more with
unknown residuals (hierarchical conformal prediction).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def half_width(subjects: Sequence[str], residual_P: NDArray[np.float64], coverage: float) -> float | None:
    """Return the half width in the task's unit from `residual_P` (one per pair). None if there are too few subjects
    (fewer than coverage / (1 - coverage)) or a residual is not finite."""
    residual_P = np.abs(residual_P)
    if not subjects or not np.isfinite(residual_P).all():
        return None
    pairs = Counter(subjects)
    weight_P = np.array([1 / ((len(pairs) + 1) * pairs[subject]) for subject in subjects])
    order_P = np.argsort(residual_P, kind="stable")
    covered_P = np.cumsum(weight_P[order_P])
    enough = np.flatnonzero(covered_P >= coverage - 1e-12)
    return float(residual_P[order_P[enough[0]]]) if len(enough) else None
