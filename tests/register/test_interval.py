"""Intervals hold what they promise for a new subject, against a slow reference and in simulation."""

from __future__ import annotations

import numpy as np
import pytest

from comface.register.interval import half_width


def slow_half_width(residuals_by_subject: list[list[float]], coverage: float) -> float | None:
    """The smallest residual r such that the subjects' mean share of residuals up to r, with the new subject counted
    as one whose residuals are all larger, reaches the coverage."""
    for r in sorted(residual for residuals in residuals_by_subject for residual in residuals):
        shares = [sum(residual <= r for residual in residuals) / len(residuals) for residuals in residuals_by_subject]
        if sum(shares) / (len(shares) + 1) >= coverage - 1e-12:
            return r
    return None


def columns(residuals_by_subject: list[list[float]]) -> tuple[list[str], np.ndarray]:
    rows = [(f"s{i}", r) for i, residuals in enumerate(residuals_by_subject) for r in residuals]
    return [subject for subject, _ in rows], np.array([(-1) ** i * r for i, (_, r) in enumerate(rows)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9])
def test_the_half_width_equals_the_slow_definition(seed: int, coverage: float) -> None:
    rng = np.random.default_rng(seed)
    residuals = [list(rng.exponential(rng.uniform(0.5, 3), rng.integers(1, 12))) for _ in range(12)]
    assert half_width(*columns(residuals), coverage) == pytest.approx(slow_half_width(residuals, coverage))


def test_too_few_subjects_give_no_interval() -> None:
    assert half_width(*columns([[1.0, 2.0]] * 8), 0.9) is None
    assert half_width(*columns([[1.0, 2.0]] * 9), 0.9) == pytest.approx(2.0)
    assert half_width([], np.empty(0), 0.9) is None


def test_a_subject_with_many_pairs_counts_as_one() -> None:
    residuals = [[10.0] * 1000, *[[1.0]] * 19]
    assert half_width(*columns(residuals), 0.9) == pytest.approx(1.0)


def test_the_true_change_of_new_subjects_is_covered_as_often_as_promised() -> None:
    """Subjects differ in how well they are estimated; 400 repetitions, standard error .008."""
    rng = np.random.default_rng(0)

    def subject() -> list[float]:
        return list(np.abs(rng.normal(size=6)) * rng.uniform(0.3, 3))

    covered = []
    for _ in range(400):
        width = half_width(*columns([subject() for _ in range(40)]), 0.9)
        assert width is not None
        covered.append(np.mean(np.array(subject()) <= width))
    assert 0.88 <= np.mean(covered) <= 0.94
