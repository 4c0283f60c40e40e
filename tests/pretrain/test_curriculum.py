"""Equation (2): the range of changes, and that no sampled change leaves it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface.pretrain.config import PretrainConfig
from comface.pretrain.curriculum import MEAN_CHANGE, change_range, choose_partner

PAPER_ENDS = PretrainConfig().curriculum_ends


def test_the_papers_curriculum_divides_ten_by_one_two_three_four():
    ranges = [change_range(epoch, 10.0, PAPER_ENDS) for epoch in range(1, 13)]
    assert ranges == [10.0] * 3 + [5.0] * 3 + [10 / 3] * 3 + [2.5] * 3


@pytest.mark.parametrize("epoch", [0, 13])
def test_an_epoch_outside_the_curriculum_is_refused(epoch):
    with pytest.raises(ValueError, match="outside the curriculum"):
        change_range(epoch, 10.0, PAPER_ENDS)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0.1, 0.5, 1.0]), st.sampled_from([10.0, 5.0, 10 / 3, 2.5]), st.integers(0, 2**31))
def test_no_sampled_change_is_zero_or_leaves_the_range(step, s, seed):
    alpha = np.round(np.arange(-5, 5 + step / 2, step), 6)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, len(alpha), 200)
    y = choose_partner(alpha, x, rng.random(200), s)
    change = np.abs(alpha[y] - alpha[x])
    assert (change > 0).all()
    assert (change <= s + 1e-9).all()


def test_every_allowed_change_is_drawn_about_equally_often():
    alpha = np.arange(-5.0, 5.5, 1.0)
    x = np.full(22_000, 3)
    y = choose_partner(alpha, x, np.random.default_rng(0).random(len(x)), 5.0)
    counts = np.bincount(y, minlength=11)
    allowed = [i for i in range(11) if 0 < abs(alpha[i] - alpha[3]) <= 5]
    assert set(np.flatnonzero(counts)) == set(allowed)
    assert counts[allowed].min() > 0.9 * len(x) / len(allowed)


def test_on_a_grid_coarser_than_the_range_the_neighbours_are_taken():
    alpha = np.array([-5.0, 0.0, 5.0])
    assert list(choose_partner(alpha, np.array([0, 2]), np.array([0.9, 0.1]), 2.5)) == [1, 1]


def test_a_linear_curriculum_falls_evenly_from_the_first_range_to_the_last():
    ranges = [change_range(epoch, 10.0, PAPER_ENDS, "linear") for epoch in range(1, 13)]
    assert (ranges[0], ranges[-1]) == (10.0, 2.5)
    assert np.diff(ranges) == pytest.approx([-7.5 / 11] * 11)


def shares_of_changes(how: str, at: int, s: float) -> dict[float, float]:
    """|Δalpha| -> its share among 40,000 partners of one x."""
    alpha = np.arange(-5.0, 5.5, 1.0)
    x = np.full(40_000, at)
    y = choose_partner(alpha, x, np.random.default_rng(0).random(len(x)), s, how=how)
    changes, counts = np.unique(np.abs(alpha[y] - alpha[x]), return_counts=True)
    return dict(zip(changes.tolist(), (counts / len(x)).tolist(), strict=True))


def test_y_can_be_drawn_so_that_each_change_is_as_likely_as_any_other():
    """x = -3 has two images at the distances 1 and 2, and one at 3 … 5."""
    images, changes = (shares_of_changes(how, 2, 5.0) for how in ("images", "changes"))
    assert images == pytest.approx({1: 2 / 7, 2: 2 / 7, 3: 1 / 7, 4: 1 / 7, 5: 1 / 7}, abs=0.01)
    assert changes == pytest.approx(dict.fromkeys((1, 2, 3, 4, 5), 0.2), abs=0.01)


def test_y_can_be_drawn_with_the_largest_change_in_the_range_on_either_side():
    assert shares_of_changes("largest", 2, 3.0) == {3: 1}
    assert shares_of_changes("largest", 2, 10.0) == {8: 1}
    alpha = np.arange(-5.0, 5.5, 1.0)
    y = choose_partner(alpha, np.full(4_000, 5), np.random.default_rng(0).random(4_000), 4.0, how="largest")
    assert np.bincount(y)[[1, 9]] == pytest.approx([2_000, 2_000], rel=0.1)


@pytest.mark.parametrize("how", ["changes", "largest"])
def test_a_partner_stays_among_the_usable_images(how: str):
    alpha = np.arange(-5.0, 5.5, 1.0)
    x, usable = np.tile([3, 4, 5], 100), np.tile([3, 6], (300, 1))
    y = choose_partner(alpha, x, np.random.default_rng(0).random(300), 10.0, usable, how)
    assert set(y) == ({3, 4, 5} if how == "changes" else {3, 5})
    assert (y != x).all()


@pytest.mark.parametrize("how", ["images", "changes", "largest"])
def test_the_expected_change_of_each_way_to_draw_y_is_the_one_that_l_starts_at(how: str):
    alpha = np.round(np.arange(-5, 5.05, 0.1), 6)
    rng = np.random.default_rng(0)
    x = rng.integers(0, len(alpha), 50_000)
    y = choose_partner(alpha, x, rng.random(len(x)), 10.0, how=how)
    assert np.abs(alpha[y] - alpha[x]).mean() == pytest.approx(10 * MEAN_CHANGE[how], rel=0.02)
