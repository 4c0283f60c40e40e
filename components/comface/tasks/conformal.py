"""Prediction intervals for the change of a single pair, with measured coverage.

The shapes only; the report renders them.
"""

from __future__ import annotations

from dataclasses import dataclass

from comface.tasks.metrics import Estimate


@dataclass(frozen=True)
class Stratum:
    """A third of the pairs, by how much their photos differ."""

    name: str
    pairs: int
    coverage: Estimate
    half_width: float
    """Mean half width, in the task's unit."""


@dataclass(frozen=True)
class Coverage:
    """Coverage of prediction intervals, measured on subjects that had no part in their calibration."""

    nominal: float
    measured: Estimate
    half_width: float
    """Mean half width, in the task's unit."""
    constant_half_width: float
    """The same without local weights: one width for all pairs."""
    constant_measured: Estimate
    strata: tuple[Stratum, ...] = ()
    """Alike, medium, unlike."""
    weights: tuple[tuple[str, float], ...] = ()
    """Condition → what a difference of one standard deviation adds to the half width, in the task's unit."""
    reason: str = ""
    """Why there is no interval."""
