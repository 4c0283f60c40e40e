"""Corrected p-values of paired differences. tests/benchmarks measures the family-wise error."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from comface.tasks.comparisons import BETTER, SAME, UNKNOWN, WORSE, Difference, Gain, corrected, step_down
from comface.tasks.intervals import interval, resample_counts, sample
from comface.tasks.metrics import FIGURES, METRICS, SMALLER_IS_BETTER, Estimate, subject_sums


def sums_of(subject_P, change_P, predicted_P):
    sums = subject_sums(subject_P, change_P, predicted_P, int(subject_P.max()) + 1)
    return {name: each[None] for name, each in sums.items()}


def family(noise: dict[str, float], subjects: int = 20, seed: int = 0, dataset: str = "disfa") -> list[Difference]:
    """Comparisons of ComFace (noise 1) with methods of the given noise, in every metric."""
    rng = np.random.default_rng(seed)
    subject_P = np.repeat(np.arange(subjects), 10)
    change_P, common_P = rng.normal(size=len(subject_P)), rng.normal(size=len(subject_P))
    made = [
        sums_of(subject_P, change_P, change_P + size * (common_P + rng.normal(size=len(subject_P))))
        for size in (1.0, *noise.values())
    ]
    counts_BS = resample_counts(subjects, 300, 0)
    found = []
    for (name, other), metric in itertools.product(zip(noise, made[1:], strict=True), METRICS):
        drawn = [sample(FIGURES[metric], each, counts_BS) for each in (made[0], other)]
        better, worse = drawn[::-1] if metric in SMALLER_IS_BETTER else drawn
        gain = interval(better.minus(worse), counts_BS, 0.95)
        found.append(Difference(name, dataset, gain, FIGURES[metric], made[0], other))
    return found


def test_a_clear_advantage_is_better_a_clear_disadvantage_worse_and_equals_are_not_different():
    gains = corrected(family({"far worse": 4.0, "far better": 0.2, "equal": 1.0}), seed=0)
    assert [gain.word for gain in gains] == [BETTER] * 3 + [WORSE] * 3 + [SAME] * 3
    assert all((gain.value > 0) == (gain.low > 0) for gain in gains[:6])


def test_the_same_estimates_have_a_p_value_of_one():
    (gain, *_) = corrected(family({"same": 1.0})[:1], seed=0)
    same = family({"same": 1.0})[0]
    same = Difference(same.other, same.dataset, Estimate(0.0), same.figure, same.ours_RS, same.ours_RS)
    assert corrected([same], seed=0)[0].p == 1.0
    assert gain.p < 1.0


def test_a_p_value_equals_that_of_all_swaps_of_whole_subjects():
    """MAE with equal numbers of pairs: swapping two methods flips the sign of the subject's difference."""
    subjects = 9
    each = family({"other": 1.4}, subjects)[0]
    difference_S = (each.other_RS["error"] - each.ours_RS["error"])[0]
    flipped = np.array(list(itertools.product((1, -1), repeat=subjects))) * difference_S
    t = np.abs(flipped.mean(axis=1)) / np.sqrt(flipped.var(axis=1, ddof=1) / subjects)
    expected = np.mean(t >= np.abs(stats.ttest_1samp(difference_S, 0).statistic) * (1 - 1e-9))
    assert corrected([each], seed=0, swaps=19_999)[0].p == pytest.approx(expected, abs=0.01)


def slow_step_down(p_FH: np.ndarray) -> list[float]:
    """Westfall and Young, algorithm 2.8, in loops."""
    order = sorted(range(p_FH.shape[1]), key=lambda h: p_FH[0, h])
    found, largest = {}, 0.0
    for place, h in enumerate(order):
        remaining = order[place:]
        share = sum(min(row[k] for k in remaining) <= p_FH[0, h] for row in p_FH) / len(p_FH)
        found[h] = largest = max(largest, share)
    return [found[h] for h in range(p_FH.shape[1])]


def test_the_correction_equals_a_slow_loop_and_lies_between_one_test_and_bonferroni():
    rng = np.random.default_rng(0)
    p_FH = rng.random((200, 7)) ** 2
    p_FH[0, :3] = (0.0001, 0.002, 0.01)
    found_H = step_down(p_FH)
    assert found_H == pytest.approx(slow_step_down(p_FH))
    alone_H = (p_FH <= p_FH[0]).mean(axis=0)
    assert (found_H >= alone_H - 1e-12).all()
    assert (found_H <= np.minimum(1, 7 * alone_H) + 1e-12).all()


def test_more_comparisons_make_the_correction_stricter():
    noise = {"worse": 1.35}
    alone = corrected(family(noise), seed=0)
    among = corrected(family(noise | {f"equal {i}": 1.0 for i in range(8)}), seed=0)
    for few, many in zip(alone, among, strict=False):
        assert many.p == few.p
        assert many.corrected_p >= few.corrected_p


def test_the_p_values_of_one_method_are_corrected_together_and_multiplied_by_the_number_of_methods():
    alone = corrected(family({"worse": 1.35}), seed=0)
    among = corrected(family({"worse": 1.35, "equal": 1.0, "other": 1.0}), seed=0)
    for one, of_three in zip(alone, among, strict=False):
        assert of_three.corrected_p == pytest.approx(min(1.0, 3 * one.corrected_p))


def test_an_undefined_difference_has_no_p_value_and_leaves_the_family():
    known = family({"worse": 2.0})
    undefined = Difference(
        "worse", "disfa", Estimate(float("nan"), reason="all estimates are equal"), *vars_of(known[1])
    )
    gains = corrected([known[0], undefined, *known[1:]], seed=0)
    assert gains[1].word == UNKNOWN
    assert math.isnan(gains[1].p)
    assert gains[1].reason == "all estimates are equal"
    assert [gains[0], *gains[2:]] == corrected(known, seed=0)
    assert corrected([undefined], seed=0)[0].word == UNKNOWN
    assert corrected([], seed=0) == []


def vars_of(each: Difference):
    return each.figure, each.ours_RS, each.other_RS


def test_a_method_of_several_seeds_is_compared_with_one_that_has_no_seed():
    each = family({"worse": 3.0})[0]
    seeds = {name: np.concatenate([sums, sums, sums]) for name, sums in each.ours_RS.items()}
    several = Difference(each.other, each.dataset, each.gain, each.figure, seeds, each.other_RS)
    assert corrected([several], seed=0)[0].p == pytest.approx(corrected([each], seed=0)[0].p)


def test_words_follow_the_corrected_p_value():
    assert Gain(1.0, 0.5, 1.5, p=0.001, corrected_p=0.2).word == SAME
    assert Gain(1.0, 0.5, 1.5, p=0.001, corrected_p=0.05).word == BETTER
    assert Gain(-1.0, p=0.001, corrected_p=0.01).word == WORSE
    assert Gain(1.0).word == UNKNOWN
