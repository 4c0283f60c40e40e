"""The split by identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface.errors import DataError
from comface.shard.split import validation_identities

names = st.lists(st.from_regex(r"dcgan-\d{7}", fullmatch=True), min_size=2, max_size=60, unique=True)


@given(names, st.floats(0.01, 0.49), st.integers(0, 9), st.randoms())
def test_the_side_is_a_function_of_the_set_and_the_seed_and_the_count_is_exact(identities, fraction, seed, random):
    chosen = validation_identities(identities, fraction, seed)
    assert chosen <= set(identities)
    assert len(chosen) == min(max(1, round(fraction * len(identities))), len(identities) - 1)
    shuffled = identities * 2
    random.shuffle(shuffled)
    assert validation_identities(shuffled, fraction, seed) == chosen


@given(names, st.integers(0, 9))
def test_a_larger_share_keeps_those_of_a_smaller_one(identities, seed):
    assert validation_identities(identities, 0.1, seed) <= validation_identities(identities, 0.3, seed)


def test_another_seed_chooses_others() -> None:
    identities = [f"dcgan-{n:07d}" for n in range(1000)]
    one, two = (validation_identities(identities, 0.1, seed) for seed in (0, 1))
    assert len(one) == len(two) == 100
    assert 0 < len(one & two) < 30


def test_one_identity_cannot_be_split() -> None:
    with pytest.raises(DataError, match="two identities"):
        validation_identities(["dcgan-0000000"], 0.1, 0)
