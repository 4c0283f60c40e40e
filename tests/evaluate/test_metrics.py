from __future__ import annotations

import math

import numpy as np
import pytest

from comface.tasks.metrics import (
    advantage,
    direction_accuracy,
    estimates,
    mean_absolute_error,
    metrics_of_sums,
    pearson,
    resample_counts,
    subject_sums,
)


def pairs(count: int = 200, seed: int = 0):
    rng = np.random.default_rng(seed)
    subjects = [f"s{i}" for i in rng.integers(0, 9, count)]
    change = np.round(rng.normal(size=count) * 2)
    return subjects, change, change * 0.6 + rng.normal(size=count)


def slow_pearson(a, b) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    top = sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True))
    return top / math.sqrt(sum((p - mean_a) ** 2 for p in a) * sum((q - mean_b) ** 2 for q in b))


def slow_accuracy(change, predicted) -> float:
    hits = [(p > 0) == (c > 0) and p != 0 for c, p in zip(change, predicted, strict=True) if c != 0]
    return sum(hits) / len(hits)


def test_metrics_equal_slow_loops():
    _, change, predicted = pairs()
    assert mean_absolute_error(change, predicted) == pytest.approx(
        sum(abs(p - c) for c, p in zip(change, predicted, strict=True)) / len(change)
    )
    assert pearson(change, predicted) == pytest.approx(slow_pearson(change, predicted))
    assert direction_accuracy(change, predicted) == pytest.approx(slow_accuracy(change, predicted))


def test_a_prediction_that_never_varies_has_no_correlation():
    _, change, _ = pairs()
    constant = np.full_like(change, 0.3)
    assert math.isnan(pearson(change, constant))
    sums = subject_sums(["a"] * len(change), change, constant)
    assert math.isnan(metrics_of_sums(sums.sum(axis=0, keepdims=True))["corr"][0])


def test_pairs_without_a_true_change_do_not_count_for_direction():
    assert direction_accuracy(np.array([0.0, 1.0, -1.0]), np.array([5.0, 2.0, 2.0])) == 0.5
    assert math.isnan(direction_accuracy(np.zeros(3), np.ones(3)))


def test_resampling_sums_equals_resampling_pairs_of_whole_subjects():
    subjects, change, predicted = pairs()
    sums = subject_sums(subjects, change, predicted)
    counts = resample_counts(len(sums), 20, seed=4)
    fast = metrics_of_sums(counts @ sums)
    names = sorted(set(subjects))
    for row, drawn in enumerate(counts.astype(int)):
        rows = [i for name, times in zip(names, drawn, strict=True) for _ in range(times)
                for i, subject in enumerate(subjects) if subject == name]  # fmt: skip
        assert fast["mae"][row] == pytest.approx(mean_absolute_error(change[rows], predicted[rows]))
        assert fast["corr"][row] == pytest.approx(slow_pearson(change[rows], predicted[rows]))
        assert fast["acc"][row] == pytest.approx(slow_accuracy(change[rows], predicted[rows]))


def test_intervals_hold_the_value_and_shrink_with_more_subjects():
    widths = []
    for count in (20, 2000):
        rng = np.random.default_rng(1)
        subjects = np.repeat([f"{i:04d}" for i in range(count)], 5)
        change = rng.normal(size=5 * count)
        predicted = change + np.repeat(rng.normal(size=count), 5)
        sums = subject_sums(subjects, change, predicted)
        for estimate in estimates(sums, resample_counts(count, 400, 0), 0.95).values():
            assert estimate.low <= estimate.value <= estimate.high
        corr = estimates(sums, resample_counts(count, 400, 0), 0.95)["corr"]
        widths.append(corr.high - corr.low)
    assert widths[1] < widths[0] / 4


def test_a_gain_is_positive_where_the_first_method_is_better_whatever_the_metric():
    subjects, change, predicted = pairs(2000)
    worse = predicted + np.random.default_rng(9).normal(size=len(change))
    good, bad = subject_sums(subjects, change, predicted), subject_sums(subjects, change, worse)
    gains = advantage(good, bad, resample_counts(9, 300, 0), 0.95)
    assert all(gain.low > 0 for gain in gains.values())
    assert gains["mae"].value == pytest.approx(
        mean_absolute_error(change, worse) - mean_absolute_error(change, predicted)
    )
