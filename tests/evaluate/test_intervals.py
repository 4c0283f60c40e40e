"""Intervals over subjects: their parts equal slow definitions. tests/benchmarks measures their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from comface.tasks.intervals import estimate, interval, percentiles, resample_counts, sample, standard_error
from comface.tasks.metrics import (
    FIGURES,
    METRICS,
    direction_accuracy,
    mean_absolute_error,
    pearson,
    subject_sums,
)

SLOW = {"mae": mean_absolute_error, "corr": pearson, "acc": direction_accuracy}


def people(subjects: int = 9, pairs: int = 10, seed: int = 0):
    rng = np.random.default_rng(seed)
    subject_P = np.repeat(np.arange(subjects), pairs)
    change_P = np.round(rng.normal(size=len(subject_P)) * 2)
    predicted_P = change_P * 0.6 + rng.normal(size=subjects)[subject_P] + rng.normal(size=len(subject_P))
    return subject_P, change_P, predicted_P


def sums_of(subject_P, change_P, *predicted_RP):
    each = [subject_sums(subject_P, change_P, predicted_P, int(subject_P.max()) + 1) for predicted_P in predicted_RP]
    return {name: np.stack([sums[name] for sums in each]) for name in each[0]}


@pytest.mark.parametrize("metric", METRICS)
def test_resampling_sums_equals_resampling_whole_subjects(metric):
    subject_P, change_P, predicted_P = people()
    counts_BS = resample_counts(9, 20, seed=4)
    drawn = sample(FIGURES[metric], sums_of(subject_P, change_P, predicted_P), counts_BS)
    for b, counts_S in enumerate(counts_BS.astype(int)):
        rows = [p for s, times in enumerate(counts_S) for _ in range(times) for p in np.flatnonzero(subject_P == s)]
        assert drawn.value_B[b] == pytest.approx(SLOW[metric](change_P[rows], predicted_P[rows]))


@pytest.mark.parametrize("metric", METRICS)
def test_the_standard_error_is_that_of_leaving_out_one_subject_in_turn(metric):
    subject_P, change_P, predicted_P = people(subjects=40)
    drawn = sample(FIGURES[metric], sums_of(subject_P, change_P, predicted_P), np.ones((1, 40)))
    without_S = np.array([SLOW[metric](*(v[subject_P != s] for v in (change_P, predicted_P))) for s in range(40)])
    jackknife = math.sqrt(39 / 40 * ((without_S - without_S.mean()) ** 2).sum())
    assert standard_error(drawn.influence_S[None], np.ones((1, 40)))[0] == pytest.approx(jackknife)
    same = sample(FIGURES[metric], sums_of(subject_P, change_P, predicted_P), np.ones((1, 40))).influence_BS
    assert standard_error(same, np.ones((1, 40)))[0] == pytest.approx(jackknife, rel=0.1), "by derivatives"


def test_a_figure_over_seeds_is_the_mean_of_the_seeds():
    subject_P, change_P, first_P = people()
    _, _, second_P = people(seed=1)
    sums_RS = sums_of(subject_P, change_P, first_P, second_P)
    found = estimate(FIGURES["mae"], sums_RS, resample_counts(9, 200, 0), 0.95)
    assert found.value == pytest.approx(np.mean([mean_absolute_error(change_P, each) for each in (first_P, second_P)]))
    assert found.low < found.value < found.high


def test_intervals_shrink_with_the_number_of_subjects_and_not_with_the_number_of_pairs():
    def width(subjects: int, pairs: int) -> float:
        rng = np.random.default_rng(1)
        subject_P = np.repeat(np.arange(subjects), pairs)
        change_P = rng.normal(size=len(subject_P))
        error_P = np.exp(rng.normal(size=subjects))[subject_P] * rng.choice([-1, 1], len(subject_P))
        sums_RS = sums_of(subject_P, change_P, change_P + error_P)
        found = estimate(FIGURES["mae"], sums_RS, resample_counts(subjects, 400, 0), 0.95)
        return found.high - found.low

    assert width(20, 50) == pytest.approx(width(20, 5), rel=0.1)
    assert width(2000, 5) < width(20, 5) / 5


def test_the_mean_of_normal_errors_gets_the_interval_of_students_t_up_to_resampling():
    rng = np.random.default_rng(3)
    change_P = np.zeros(40)
    predicted_P = np.abs(rng.normal(10, 1, 40))
    found = interval(
        sample(FIGURES["mae"], sums_of(np.arange(40), change_P, predicted_P), resample_counts(40, 4000, 0)),
        resample_counts(40, 4000, 0),
        0.95,
    )
    low, high = stats.t.interval(0.95, 39, predicted_P.mean(), stats.sem(predicted_P))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_few_subjects_give_a_figure_without_an_interval_and_the_reason():
    for subjects in (1, 2, 4):
        found = estimate(FIGURES["mae"], sums_of(*people(subjects)), resample_counts(subjects, 50, 0), 0.95)
        assert math.isfinite(found.value)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert found.reason == "no interval: fewer than 5 subjects"


def test_estimates_without_an_error_have_no_interval():
    subject_P, change_P, _ = people()
    sums_RS = sums_of(subject_P, change_P, change_P)
    for metric, value in (("mae", 0.0), ("corr", 1.0)):
        found = estimate(FIGURES[metric], sums_RS, resample_counts(9, 50, 0), 0.95)
        assert found.value == pytest.approx(value)
        assert math.isnan(found.low)
        assert found.reason.startswith("no interval: the figure ")


@pytest.mark.parametrize("right", [True, False])
def test_a_direction_that_is_always_right_gets_the_exact_interval_of_as_many_trials_as_subjects(right):
    subject_P, change_P, _ = people(subjects=20)
    found = estimate(
        FIGURES["acc"], sums_of(subject_P, change_P, change_P * (1 if right else -1)), resample_counts(20, 50, 0), 0.95
    )
    exact = stats.binomtest(20 if right else 0, 20).proportion_ci(0.95, method="exact")
    assert (found.value, found.low, found.high) == pytest.approx((float(right), exact.low, exact.high))


def test_the_same_seed_draws_the_same_subjects_and_another_task_others():
    assert np.array_equal(resample_counts(9, 20, 1, "age"), resample_counts(9, 20, 1, "age"))
    assert not np.array_equal(resample_counts(9, 20, 1, "age"), resample_counts(9, 20, 1, "au6"))
    assert (resample_counts(9, 20, 1, "age").sum(axis=1) == 9).all()


def test_a_percentile_interval_has_no_end_where_the_figure_is_missing_in_too_many_resamples():
    values_B = np.concatenate([np.arange(90.0), np.full(10, np.inf)])
    found = percentiles(50.0, values_B, 0.95)
    assert 1 <= found.low <= 3
    assert math.isnan(found.high)
