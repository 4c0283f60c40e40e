"""Equation (2): the range of changes, and that no sampled change leaves it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface.pretrain.config import PretrainConfig
from comface.pretrain.curriculum import change_range, choose_partner

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
