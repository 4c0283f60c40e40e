"""Prediction intervals for the change of a single pair of photos: conformal by subject, wider where the photos differ.

In: the subject and the error of every test pair, and by how much its photos differ in each condition
(faces/conditions.py). Out: a `Width`, which gives the half width of any pair, and its `Coverage`, measured on subjects
that had no part in it.

A subject is one exchangeable unit: every subject has the same weight, and the new one counts as one more with unknown
errors (Lee, Barber and Willett, Distribution-free inference with hierarchical data, 2023; Dunn, Wasserman and Ramdas,
Distribution-free prediction sets for two-layer hierarchical models, JASA 118, 2023). The half width is a multiple of
the expected error, as in locally weighted conformal prediction (Lei et al., Distribution-free predictive inference for
regression, JASA 113, 2018, section 5.2). The expected error is a constant plus a sum over the conditions, with weights
that are never negative: the more two photos differ, the wider the interval. The weights of the pairs that give the
multiple are fitted on other subjects.

Legend: P pairs, S subjects, C conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.tasks.intervals import estimate, resample_counts
from comface.tasks.metrics import LOGIT, NAN, Estimate, Figure, Floats, ratio
from comface.tasks.predictions import Predictions

NOMINAL = 0.9
GROUPS = 10
"""Groups of subjects that are left out in turn."""
FLOOR = 0.25
"""The constant is at least this share of the mean error, so that no interval vanishes for photos that are alike."""
STRATA = ("alike", "medium", "unlike")
RESAMPLES = 1000
SHARE = Figure(("pairs", "covered"), ratio, LOGIT, is_share=True)


@dataclass(frozen=True)
class Width:
    """The half width of an interval, in the task's unit: `constant`, plus `weights` times the differences."""

    constant: float
    weights: Mapping[str, float]

    def of(self, differences: Mapping[str, float]) -> float:
        """The half width for a pair. A condition that is not known counts as no difference."""
        return self.constant + sum(weight * differences.get(name, 0.0) for name, weight in self.weights.items())


@dataclass(frozen=True)
class Stratum:
    """A third of the pairs, by how much their photos differ."""

    name: str
    pairs: int
    coverage: Estimate
    half_width: float
    """Mean half width, in the task's unit."""
    constant_coverage: Estimate
    """Coverage of intervals that have the same width for all pairs."""


@dataclass(frozen=True)
class Coverage:
    """Coverage of prediction intervals, measured on subjects that had no part in their calibration."""

    nominal: float
    measured: Estimate
    half_width: float
    """Mean half width, in the task's unit."""
    constant_measured: Estimate
    """The same for intervals that have one width for all pairs."""
    constant_half_width: float
    strata: tuple[Stratum, ...] = ()
    """Alike, medium, unlike; empty if the width does not depend on the photos."""
    weights: Mapping[str, float] | None = None
    """Condition → what its mean difference between two photos adds to the half width, in the task's unit."""
    reason: str = ""
    """Why there is no interval."""


def differences(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How much two photos differ in each condition that both have (faces/conditions.py)."""
    return {name: abs(before[name] - after[name]) for name in before if name in after}


@dataclass(frozen=True)
class Errors:
    """The absolute errors of the test pairs, and the differences (P,C) between their photos."""

    subject_P: NDArray[np.int64]
    error_P: Floats
    difference_PC: Floats
    names: tuple[str, ...]

    @classmethod
    def of(
        cls, subjects: Sequence[str], residual_P: Floats, differences: Sequence[Mapping[str, float]] | None = None
    ) -> Errors:
        """`differences`: per pair, condition → difference. Only conditions that all pairs have are used."""
        _, subject_P = np.unique(np.asarray(subjects), return_inverse=True)
        known = set.intersection(*(set(each) for each in differences)) if differences else set()
        names = tuple(sorted(known))
        rows = [[each[name] for name in names] for each in differences] if names and differences else []
        difference_PC = np.array(rows, dtype=np.float64).reshape(len(residual_P), len(names))
        return cls(subject_P, np.abs(residual_P), difference_PC, names)

    @classmethod
    def of_photos(cls, read: Predictions, photos: Sequence[Mapping[str, Any]]) -> Errors:
        """The errors of what `compare` would estimate for the test pairs. `photos`: the rows of photos.json of its
        faces."""
        conditions = [row.get("conditions", {}) for row in photos]
        pairs = zip(read.x_P.tolist(), read.y_P.tolist(), strict=True)
        between = [differences(conditions[x], conditions[y]) for x, y in pairs] if conditions else None
        return cls.of(read.subjects, read.used_P - read.change_P, between)

    @property
    def subjects(self) -> int:
        return int(self.subject_P.max(initial=-1)) + 1

    def some(self, of_P: NDArray[np.bool_]) -> Errors:
        _, subject_P = np.unique(self.subject_P[of_P], return_inverse=True)
        return Errors(subject_P, self.error_P[of_P], self.difference_PC[of_P], self.names)

    def alike(self) -> Errors:
        """The same without the differences."""
        return Errors(self.subject_P, self.error_P, self.difference_PC[:, :0], ())


def calibrate(errors: Errors, coverage: float) -> Width | None:
    """The width for pairs of a new subject. None if there are too few subjects (fewer than coverage / (1 - coverage))
    or an error is not finite."""
    if not len(errors.error_P) or not np.isfinite(errors.error_P).all():
        return None
    score_P = np.empty(len(errors.error_P))
    for out_P in _left_out(errors.subject_P):
        score_P[out_P] = errors.error_P[out_P] / _expected(errors.some(~out_P), errors.difference_PC[out_P])
    multiple = quantile_of_subjects(errors.subject_P, score_P, coverage)
    if multiple is None:
        return None
    expected_C = multiple * _fitted(errors)
    return Width(float(expected_C[0]), {n: float(w) for n, w in zip(errors.names, expected_C[1:], strict=True) if w})


def measure(errors: Errors, coverage: float, seed: int = 0) -> Coverage:
    """Calibrate without one group of subjects in turn, and count how often its true changes are covered."""
    width = calibrate(errors, coverage)
    found = _held_out(errors, coverage) if width is not None else None
    even = _held_out(errors.alike(), coverage) if width is not None else None
    if width is None or found is None or even is None:
        few = f"{errors.subjects} subjects are too few for intervals of {100 * coverage:g} %"
        return Coverage(coverage, Estimate(NAN, reason=few), NAN, Estimate(NAN, reason=few), NAN, reason=few)

    def covered(half_P: Floats, of_P: NDArray[np.bool_]) -> Estimate:
        return _covered(errors, half_P, of_P, coverage, seed)

    everything_P = np.ones(len(errors.error_P), bool)
    mean_C = _equal(errors.subject_P) @ errors.difference_PC
    differ = bool(width.weights)
    thirds_P = np.searchsorted(np.quantile(found, (1 / 3, 2 / 3)), found, side="left")
    return Coverage(
        coverage,
        covered(found, everything_P),
        float(_equal(errors.subject_P) @ found),
        covered(even, everything_P),
        float(_equal(errors.subject_P) @ even),
        tuple(
            Stratum(
                name,
                int(of_P.sum()),
                covered(found, of_P),
                float(_equal(errors.subject_P[of_P]) @ found[of_P]),
                covered(even, of_P),
            )
            for name, of_P in ((name, thirds_P == third) for third, name in enumerate(STRATA))
            if differ and of_P.any()
        ),
        {name: width.weights.get(name, 0.0) * float(mean) for name, mean in zip(errors.names, mean_C, strict=True)},
    )


def quantile_of_subjects(subject_P: NDArray[np.int64], score_P: Floats, coverage: float) -> float | None:
    """The smallest score up to which the subjects' mean share of scores, with the new subject counted as one whose
    scores are all larger, reaches the coverage. None if there are too few subjects."""
    subjects = len(np.unique(subject_P))
    weight_P = _equal(subject_P) * subjects / (subjects + 1)
    order_P = np.argsort(score_P, kind="stable")
    enough = np.flatnonzero(np.cumsum(weight_P[order_P]) >= coverage - 1e-12)
    return float(score_P[order_P[enough[0]]]) if len(enough) else None


def _held_out(errors: Errors, coverage: float) -> Floats | None:
    """(P,) the half width of every pair, calibrated on other subjects."""
    half_P = np.empty(len(errors.error_P))
    for out_P in _left_out(errors.subject_P):
        width = calibrate(errors.some(~out_P), coverage)
        if width is None:
            return None
        weight_C = np.array([width.weights.get(name, 0.0) for name in errors.names])
        half_P[out_P] = width.constant + errors.difference_PC[out_P] @ weight_C
    return half_P


def _covered(errors: Errors, half_P: Floats, of_P: NDArray[np.bool_], confidence: float, seed: int) -> Estimate:
    """The subjects' mean share of covered pairs, with its 95 % interval."""
    weight_P: Floats = np.where(of_P, 1 / np.maximum(np.bincount(errors.subject_P, of_P)[errors.subject_P], 1), 0.0)
    covered_P = weight_P * (errors.error_P <= half_P * (1 + 1e-12))
    sums: dict[str, Floats] = {"pairs": weight_P, "covered": covered_P}
    sums = {name: np.bincount(errors.subject_P, each_P).astype(np.float64) for name, each_P in sums.items()}
    return estimate(SHARE, sums, resample_counts(errors.subjects, RESAMPLES, seed, "coverage"), 0.95)


def _left_out(subject_P: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """The pairs of each group of subjects."""
    names = np.unique(subject_P)
    groups = min(GROUPS, len(names))
    return [np.isin(subject_P, names[group::groups]) for group in range(groups)]


def _equal(subject_P: NDArray[np.int64]) -> Floats:
    """Weights of the pairs that give every subject the same weight; their sum is 1."""
    _, place_P, count_S = np.unique(subject_P, return_inverse=True, return_counts=True)
    return np.asarray(1 / (count_S[place_P] * len(count_S)), dtype=np.float64)


def _fitted(errors: Errors) -> Floats:
    """The expected absolute error: a constant and one weight per condition, none negative, by least squares."""
    from scipy.optimize import nnls  # 0.3 s, and the configuration imports this module

    weight_P = _equal(errors.subject_P)
    mean = float(weight_P @ errors.error_P)
    scale_C = weight_P @ errors.difference_PC
    scale_C = np.where(scale_C > 0, scale_C, 1.0)
    design = np.column_stack([np.ones(len(weight_P)), errors.difference_PC / scale_C]) * np.sqrt(weight_P)[:, None]
    q, r = np.linalg.qr(design)
    target = q.T @ ((errors.error_P - FLOOR * mean) * np.sqrt(weight_P))
    weights, _ = nnls(r, target)
    constant = FLOOR * mean + weights[0]
    return np.concatenate([[constant if constant > 0 else 1.0], weights[1:] / scale_C])


def _expected(errors: Errors, difference_PC: Floats) -> Floats:
    if not len(errors.error_P):
        return np.ones(len(difference_PC))
    expected_C = _fitted(errors)
    return np.asarray(expected_C[0] + difference_PC @ expected_C[1:], dtype=np.float64)
