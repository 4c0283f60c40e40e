"""Limits of agreement, error by size of change, smallest change, subgroups: against slow definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from comface.tasks.agreement import (
    SHARE,
    Scored,
    agreement,
    by_group,
    by_size,
    smallest_change,
)
from comface.tasks.intervals import resample_counts
from comface.tasks.metrics import direction_accuracy, mean_absolute_error


def people(subjects: int = 20, pairs: int = 30, noise: float = 1.0, seed: int = 0, whole: bool = False) -> Scored:
    rng = np.random.default_rng(seed)
    subject_P = np.repeat(np.arange(subjects), pairs)
    change_P = 3 * rng.normal(size=len(subject_P))
    change_P = np.round(change_P) if whole else change_P
    error_P = 0.5 * rng.normal(size=subjects)[subject_P] + noise * rng.normal(size=len(subject_P))
    return Scored(subject_P, change_P, (change_P + 0.2 + error_P)[None], resample_counts(subjects, 300, seed), 0.95)


def slow_limits(made: Scored) -> tuple[float, float, float, float]:
    """Bland and Altman 2007, section 3: one-way analysis of variance with unequal numbers of pairs, in loops."""
    difference_P = made.predicted_RP[0] - made.change_P
    by_subject = [difference_P[made.subject_P == s] for s in range(made.subjects)]
    total, count = len(difference_P), made.subjects
    mean = difference_P.mean()
    within = sum(((each - each.mean()) ** 2).sum() for each in by_subject) / (total - count)
    between = sum(len(each) * (each.mean() - mean) ** 2 for each in by_subject) / (count - 1)
    each = (total**2 - sum(len(each) ** 2 for each in by_subject)) / ((count - 1) * total)
    of_subjects = max(0.0, (between - within) / each)
    half = 1.959964 * math.sqrt(within + of_subjects)
    return mean - half, mean + half, math.sqrt(within), math.sqrt(of_subjects)


@pytest.mark.parametrize("seed", range(3))
def test_limits_of_agreement_count_repeated_measures_of_a_subject(seed):
    whole = people(seed=seed)
    kept_P = np.random.default_rng(seed).random(len(whole.change_P)) < 0.4
    made = Scored(whole.subject_P[kept_P], whole.change_P[kept_P], whole.predicted_RP[:, kept_P], whole.counts_BS, 0.95)
    found = agreement(made)
    expected = slow_limits(made)
    assert (found.lower.value, found.upper.value, found.sd_within, found.sd_between) == pytest.approx(expected)
    for each in (found.bias, found.lower, found.upper, found.half_width):
        assert each.low < each.value < each.high
    assert found.half_width.value == pytest.approx((expected[1] - expected[0]) / 2)


def test_one_pair_per_subject_gives_the_usual_limits():
    made = people(subjects=40, pairs=1)
    difference_P = made.predicted_RP[0] - made.change_P
    found = agreement(made)
    assert found.upper.value == pytest.approx(difference_P.mean() + 1.959964 * difference_P.std(ddof=1))
    assert found.sd_within == 0


def test_one_subject_has_a_bias_and_no_limits():
    found = agreement(people(subjects=1))
    assert math.isfinite(found.bias.value)
    assert math.isnan(found.lower.value)
    assert found.lower.reason


def test_bins_of_size_hold_every_pair_once_and_have_their_own_error_and_direction():
    made = people(noise=2.0)
    bins = by_size(made)
    assert len(bins) == 4
    assert sum(each.pairs for each in bins) == len(made.change_P)
    assert bins[-1].high == np.abs(made.change_P).max()
    for each in bins:
        of_P = (np.abs(made.change_P) > each.low) & (np.abs(made.change_P) <= each.high)
        change_P, predicted_P = made.change_P[of_P], made.predicted_RP[0][of_P]
        assert each.mae.value == pytest.approx(mean_absolute_error(change_P, predicted_P))
        assert each.acc.value == pytest.approx(direction_accuracy(change_P, predicted_P))
        assert each.mae.low < each.mae.value < each.mae.high
    assert bins[0].acc.value < bins[-1].acc.value


def test_a_label_of_few_sizes_has_a_bin_per_size_and_one_of_pairs_without_a_change():
    made = people(whole=True)
    kept_P = np.abs(made.change_P) <= 4
    made = Scored(made.subject_P[kept_P], made.change_P[kept_P], made.predicted_RP[:, kept_P], made.counts_BS, 0.95)
    bins = by_size(made)
    assert [(each.low, each.high) for each in bins] == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4)]
    assert sum(each.pairs for each in bins) == len(made.change_P)
    assert math.isnan(bins[0].acc.value)
    assert bins[0].acc.reason == "no pair has a change"
    assert math.isfinite(bins[0].mae.value)


def test_the_smallest_change_is_where_the_monotone_accuracy_reaches_the_share():
    made = people(subjects=30, pairs=100)
    found = smallest_change(made, agreement(made))
    size_P, right_P = np.abs(made.change_P), np.sign(made.change_P) == np.sign(made.predicted_RP[0])
    edges_G = np.unique(np.quantile(size_P, np.arange(20) / 20))
    class_P = np.searchsorted(edges_G, size_P, side="right") - 1
    share_G = np.array([right_P[class_P == g].mean() for g in range(len(edges_G))])
    weight_G = np.array([(class_P == g).sum() for g in range(len(edges_G))])
    fit_G = IsotonicRegression().fit_transform(np.arange(len(edges_G)), share_G, sample_weight=weight_G)
    assert found.by_direction.value == edges_G[np.argmax(fit_G >= SHARE)]
    assert found.by_direction.low <= found.by_direction.value <= found.by_direction.high
    assert found.by_interval == agreement(made).half_width


def test_a_method_that_cannot_tell_a_direction_has_no_smallest_change_and_says_so():
    made = people()
    guessed = Scored(made.subject_P, made.change_P, np.ones_like(made.predicted_RP), made.counts_BS, 0.95)
    found = smallest_change(guessed, agreement(guessed)).by_direction
    assert math.isnan(found.value)
    assert found.reason == "the direction is right in less than 95% of the pairs of every size"


def test_figures_of_several_seeds_are_their_means():
    first, second = people(), people(seed=1)
    both = Scored(
        first.subject_P,
        first.change_P,
        np.stack([first.predicted_RP[0], first.change_P + second.predicted_RP[0] - second.change_P]),
        first.counts_BS,
        0.95,
    )
    singles = [
        Scored(both.subject_P, both.change_P, both.predicted_RP[[row]], both.counts_BS, 0.95) for row in range(2)
    ]
    assert agreement(both).half_width.value == pytest.approx(
        np.mean([agreement(each).half_width.value for each in singles])
    )
    assert by_size(both)[0].mae.value == pytest.approx(np.mean([by_size(each)[0].mae.value for each in singles]))


def test_subgroups_have_their_own_metrics_and_unknown_values_have_none():
    made = people()
    value_S = np.array(["dark", "light", "", "dark"] * 5)
    name_S = np.array([f"Jane {number // 4}" for number in range(20)])
    columns = {"skin": value_S[made.subject_P].tolist(), "group": name_S[made.subject_P].tolist()}
    found = by_group(made, columns, ("mae", "corr"))  # a subgroup of four people is left out
    assert [(each.group, each.value, each.subjects, each.pairs) for each in found] == [
        ("skin", "dark", 10, 300),
        ("skin", "light", 5, 150),
    ]
    of_P = value_S[made.subject_P] == "dark"
    assert found[0].estimates["mae"].value == pytest.approx(
        mean_absolute_error(made.change_P[of_P], made.predicted_RP[0][of_P])
    )
    assert found[0].estimates["mae"].low < found[0].estimates["mae"].high
