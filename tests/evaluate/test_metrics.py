"""Metrics equal those of scipy and scikit-learn; what is undefined is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score
from sklearn.metrics import mean_absolute_error as sklearn_mae

from comface.tasks.intervals import replicates
from comface.tasks.metrics import (
    FIGURES,
    direction_accuracy,
    mean_absolute_error,
    pearson,
    subject_sums,
    undefined,
)
from comface.tasks.predictions import metrics_of


def pairs(count: int = 200, seed: int = 0):
    """Whole-number changes, a fifth of them zero, and estimates, some of them exactly zero."""
    rng = np.random.default_rng(seed)
    subject_P = rng.integers(0, 9, count)
    change_P = np.round(rng.normal(size=count) * 2)
    predicted_P = change_P * 0.6 + rng.normal(size=count) + 100.0
    predicted_P = np.where(rng.random(count) < 0.1, 0.0, predicted_P - 100.0)
    return subject_P, change_P, predicted_P


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_scipy_and_scikit_learn(seed):
    _, change_P, predicted_P = pairs(seed=seed)
    changed_P = change_P != 0
    assert mean_absolute_error(change_P, predicted_P) == pytest.approx(sklearn_mae(change_P, predicted_P), rel=1e-12)
    assert pearson(change_P, predicted_P) == pytest.approx(stats.pearsonr(change_P, predicted_P)[0], rel=1e-12)
    expected = accuracy_score(np.sign(change_P[changed_P]), np.sign(predicted_P[changed_P]))
    assert direction_accuracy(change_P, predicted_P) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_metrics_of_sums_equal_those_of_pairs(offset):
    subject_P, change_P, predicted_P = pairs()
    change_P, predicted_P = change_P + offset, predicted_P + offset
    sums_RS = {k: v[None] for k, v in subject_sums(subject_P, change_P, predicted_P, 9).items()}
    direct = {"mae": mean_absolute_error, "corr": pearson, "acc": direction_accuracy}
    for name, metric in direct.items():
        assert replicates(FIGURES[name], sums_RS)[0] == pytest.approx(metric(change_P, predicted_P), rel=1e-9)


def test_an_estimate_of_no_change_is_wrong_and_pairs_without_a_change_do_not_count_for_direction():
    assert direction_accuracy(np.array([0.0, 1.0, -1.0]), np.array([5.0, 2.0, 2.0])) == 0.5
    assert direction_accuracy(np.array([1.0, 1.0]), np.array([0.0, 2.0])) == 0.5
    assert math.isnan(direction_accuracy(np.zeros(3), np.ones(3)))


@pytest.mark.parametrize("constant", [0.0, 0.3, 0.1 + 0.2, 1e9])
def test_equal_estimates_have_no_correlation_and_say_so(constant):
    subject_P, change_P, _ = pairs()
    predicted_P = np.full_like(change_P, constant)
    assert math.isnan(pearson(change_P, predicted_P))
    sums_RS = {k: v[None] for k, v in subject_sums(subject_P, change_P, predicted_P, 9).items()}
    assert math.isnan(replicates(FIGURES["corr"], sums_RS)[0])
    assert undefined("corr", change_P, predicted_P) == "all estimates are equal"
    assert undefined("corr", predicted_P, change_P) == "all true changes are equal"
    assert metrics_of(change_P, predicted_P, True)["corr"] is None


def test_other_undefined_metrics_have_a_reason_and_defined_ones_have_none():
    _, change_P, predicted_P = pairs()
    assert undefined("acc", np.zeros(3), np.ones(3)) == "no pair has a change"
    assert undefined("mae", np.zeros(0), np.zeros(0)) == "there are no pairs"
    assert not any(undefined(metric, change_P, predicted_P) for metric in FIGURES)


def test_correlation_stays_within_its_bounds_where_rounding_would_leave_them():
    values_P = np.array([0.1, 0.2, 0.3, 0.7])
    assert pearson(values_P, 3 * values_P) == pytest.approx(1.0, abs=1e-15)
    assert pearson(values_P, 3 * values_P) <= 1
