"""How far an estimated change may be off: conformal intervals from cross-validated residuals.

In: predictions.json of a `transfer` artifact (subject, change and predicted of every test pair). Out: the half width
that covers the true change of a pair of a *new* subject with the probability asked for. The pairs of one subject are
not exchangeable with another's, subjects are: every subject weighs the same, and the new one counts as one more,
whose residuals are not known (hierarchical conformal prediction).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def half_width(predictions: Mapping[str, Sequence[Any]], coverage: float) -> float | None:
    """None where there are too few subjects to promise `coverage` (fewer than coverage / (1 - coverage))."""
    subjects = [str(subject) for subject in predictions["subject"]]
    residual_P = np.abs(np.asarray(predictions["predicted"], float) - np.asarray(predictions["change"], float))
    if not subjects or not np.isfinite(residual_P).all():
        return None
    pairs = Counter(subjects)
    weight_P = np.array([1 / ((len(pairs) + 1) * pairs[subject]) for subject in subjects])
    order_P = np.argsort(residual_P, kind="stable")
    covered_P = np.cumsum(weight_P[order_P])
    enough = np.flatnonzero(covered_P >= coverage - 1e-12)
    return float(residual_P[order_P[enough[0]]]) if len(enough) else None
