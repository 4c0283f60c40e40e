"""Prediction intervals hold what they promise for a new subject, against a slow reference and in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from comface.tasks.conformal import Errors, Width, calibrate, measure, quantile_of_subjects


def slow_quantile(scores_by_subject: list[list[float]], coverage: float) -> float | None:
    """The smallest score r such that the subjects' mean share of scores up to r, with the new subject counted as one
    whose scores are all larger, reaches the coverage."""
    for r in sorted(score for scores in scores_by_subject for score in scores):
        shares = [sum(score <= r for score in scores) / len(scores) for scores in scores_by_subject]
        if sum(shares) / (len(shares) + 1) >= coverage - 1e-12:
            return r
    return None


def columns(scores_by_subject: list[list[float]]) -> tuple[list[str], np.ndarray]:
    rows = [(f"s{i:03d}", r) for i, scores in enumerate(scores_by_subject) for r in scores]
    return [subject for subject, _ in rows], np.array([(-1) ** i * r for i, (_, r) in enumerate(rows)])


def half_width(scores_by_subject: list[list[float]], coverage: float) -> float | None:
    """Of errors without conditions."""
    width = calibrate(Errors.of(*columns(scores_by_subject)), coverage)
    return None if width is None else width.constant


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9])
def test_the_quantile_of_subjects_equals_the_slow_definition(seed: int, coverage: float) -> None:
    rng = np.random.default_rng(seed)
    scores = [list(rng.exponential(rng.uniform(0.5, 3), rng.integers(1, 12))) for _ in range(12)]
    subjects, score_P = columns(scores)
    subject_P = np.unique(subjects, return_inverse=True)[1]
    assert quantile_of_subjects(subject_P, np.abs(score_P), coverage) == pytest.approx(slow_quantile(scores, coverage))


def test_too_few_subjects_give_no_interval_and_the_reason() -> None:
    assert half_width([[1.0, 2.0]] * 8, 0.9) is None
    assert half_width([[1.0, 2.0]] * 9, 0.9) == pytest.approx(2.0)
    assert calibrate(Errors.of([], np.empty(0)), 0.9) is None
    found = measure(Errors.of(*columns([[1.0, 2.0]] * 8)), 0.9)
    assert found.reason == "8 subjects are too few for intervals of 90 %"
    assert math.isnan(found.measured.value)


def test_a_subject_with_many_pairs_counts_as_one() -> None:
    assert half_width([[10.0] * 1000, *[[1.0]] * 39], 0.9) == pytest.approx(1.0, rel=0.3)


def test_errors_that_are_all_zero_give_an_interval_of_no_width() -> None:
    assert half_width([[0.0] * 3] * 20, 0.9) == 0.0


def made(subjects: int, rng: np.random.Generator, pairs: int = 20, local: bool = True) -> Errors:
    """Errors that grow with the difference in light, not with that in sharpness, and differ by person."""
    light_P, sharpness_P = np.abs(rng.normal(size=(2, subjects * pairs)))
    size_P = np.repeat(rng.lognormal(0, 0.4, subjects), pairs) * (0.3 + 0.9 * light_P if local else 1.0)
    names = [f"s{i:03d}" for i in np.repeat(np.arange(subjects), pairs)]
    differences = [{"light": a, "sharpness": b} for a, b in zip(light_P, sharpness_P, strict=True)]
    return Errors.of(names, rng.normal(size=len(size_P)) * size_P, differences)


def test_new_subjects_are_covered_as_often_as_promised_where_photos_are_alike_and_where_not() -> None:
    """80 repetitions with 40 known and 20 new people; standard error of each share about .01."""
    rng, covered, even = np.random.default_rng(0), [], []
    for _ in range(80):
        known, new = made(40, rng), made(20, rng)
        width, constant = calibrate(known, 0.9), calibrate(known.alike(), 0.9)
        assert width is not None
        assert constant is not None
        assert not constant.weights
        half_P = width.constant + new.difference_PC @ [width.weights.get(name, 0.0) for name in new.names]
        third_P = np.searchsorted(np.quantile(new.difference_PC[:, 0], (1 / 3, 2 / 3)), new.difference_PC[:, 0])
        covered.append([np.mean((new.error_P <= half_P)[third_P == third]) for third in range(3)])
        even.append([np.mean((new.error_P <= constant.constant)[third_P == third]) for third in range(3)])
    assert np.mean(covered, axis=0) == pytest.approx([0.915] * 3, abs=0.02)
    assert np.mean(even, axis=0)[0] > 0.97, "one width is too wide for photos that are alike"
    assert np.mean(even, axis=0)[2] < 0.85, "and too narrow for others"


def test_measured_coverage_strata_and_weights_tell_what_the_intervals_do() -> None:
    found = measure(made(60, np.random.default_rng(1)), 0.9)
    assert found.measured.low < 0.9 < found.measured.high
    assert found.half_width < found.constant_half_width
    assert [each.name for each in found.strata] == ["alike", "medium", "unlike"]
    assert found.strata[0].half_width < found.strata[1].half_width < found.strata[2].half_width
    assert all(each.coverage.value == pytest.approx(0.91, abs=0.05) for each in found.strata)
    assert found.strata[2].constant_coverage.value < 0.85
    assert found.weights is not None
    assert found.weights["light"] > 10 * found.weights["sharpness"]


def test_errors_that_do_not_depend_on_the_photos_get_nearly_one_width() -> None:
    found = measure(made(60, np.random.default_rng(2), local=False), 0.9)
    assert found.half_width == pytest.approx(found.constant_half_width, rel=0.05)
    assert found.measured.low < 0.92 < found.measured.high + 0.02


def test_the_width_grows_with_every_difference_and_never_vanishes() -> None:
    width = calibrate(made(40, np.random.default_rng(3)), 0.9)
    assert width is not None
    assert width.constant > 0
    assert all(weight > 0 for weight in width.weights.values())
    assert width.of({}) == width.constant
    assert width.of({"light": 2.0}) == pytest.approx(width.constant + 2 * width.weights["light"])
    assert Width(1.0, {"light": 0.5}).of({"turn": 9.0}) == 1.0


def test_only_conditions_that_all_pairs_have_are_used() -> None:
    differences = [{"light": 1.0, "turn": 2.0}, {"light": 0.5}]
    errors = Errors.of(["a", "b"], np.array([1.0, -2.0]), differences)
    assert errors.names == ("light",)
    assert errors.difference_PC.tolist() == [[1.0], [0.5]]
    assert errors.error_P.tolist() == [1.0, 2.0]
    assert Errors.of(["a", "b"], np.array([1.0, 2.0]), [{}, {}]).names == ()
