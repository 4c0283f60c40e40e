"""The pair sampler: a pure function that visits every image once an epoch and never mixes identities in a batch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface.errors import ConfigurationError
from comface.pretrain.pairs import PairSampler, keyed_permutation

ALPHAS = np.round(np.arange(-5, 5.5, 1.0), 6)


def sampler(identities: int, per_identity: int = 2, pairs: int = 4, seed: int = 0) -> PairSampler:
    names = [f"p{i}" for i in range(identities) for _ in range(per_identity)]
    return PairSampler(names, ALPHAS, pairs, seed)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**63 - 1), st.integers(0, 2**40))
def test_the_keyed_permutation_is_a_bijection(size, key, word):
    index = np.arange(size)
    out = keyed_permutation(index, np.full(size, size), np.full(size, word, dtype=np.uint64), key)
    assert sorted(out) == list(range(size))


def test_an_epoch_visits_every_image_once_as_x_when_batches_divide_the_identities():
    made = sampler(identities=8, per_identity=2, pairs=4)
    seen = Counter()
    for step in range(made.full_epoch_steps):
        batch = made.batch(1, step, 10.0)
        seen.update(zip(batch.track_N.tolist(), batch.x_N.tolist(), strict=True))
    assert len(seen) == 8 * 2 * 11
    assert set(seen.values()) == {1}


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 40), st.integers(1, 3), st.integers(0, 60), st.integers(1, 5))
def test_a_batch_never_holds_two_images_of_one_identity_and_y_shares_the_track(identities, tracks, step, epoch):
    made = sampler(identities, tracks, 4)
    batch = made.batch(epoch, step, 5.0)
    owners = batch.track_N // tracks
    assert len(set(owners.tolist())) == 4
    assert (np.abs(ALPHAS[batch.x_N] - ALPHAS[batch.y_N]) <= 5).all()


def test_any_batch_can_be_made_alone_and_comes_out_the_same():
    first = [sampler(10).batch(2, step, 5.0) for step in range(20)]
    alone = sampler(10).batch(2, 13, 5.0)
    assert (first[13].track_N == alone.track_N).all()
    assert (first[13].x_N == alone.x_N).all()
    assert (first[13].y_N == alone.y_N).all()


def test_epochs_and_seeds_differ():
    batches = [sampler(10).batch(1, 0, 10.0), sampler(10).batch(2, 0, 10.0), sampler(10, seed=1).batch(1, 0, 10.0)]
    images = [tuple(zip(b.track_N.tolist(), b.x_N.tolist(), strict=True)) for b in batches]
    assert len(set(images)) == 3


def test_a_batch_larger_than_the_number_of_identities_is_refused_in_one_sentence():
    with pytest.raises(ConfigurationError, match="needs as many identities"):
        sampler(identities=3, pairs=4)


def test_pairs_stay_within_the_alphas_that_each_track_may_be_learned_from():
    usable = np.array([(0, 11), (3, 8), (5, 7), (0, 11)] * 4)
    made = PairSampler([f"p{i // 2}" for i in range(16)], ALPHAS, 4, 0, usable)
    seen = Counter()
    for step in range(made.full_epoch_steps):
        batch = made.batch(1, step, 10.0)
        for side in (batch.x_N, batch.y_N):
            assert (side >= usable[batch.track_N, 0]).all()
            assert (side < usable[batch.track_N, 1]).all()
        assert (batch.x_N != batch.y_N).all()
        seen.update(zip(batch.track_N.tolist(), batch.x_N.tolist(), strict=True))
    assert made.images == 4 * (11 + 5 + 2 + 11)
    assert set(seen) <= {(t, a) for t in range(16) for a in range(*usable[t])}
    assert len(seen) > 0.9 * made.images


def test_all_alphas_are_the_same_pairs_as_no_limits():
    names = [f"p{i // 2}" for i in range(20)]
    free = PairSampler(names, ALPHAS, 4, 7)
    limited = PairSampler(names, ALPHAS, 4, 7, np.tile([0, 11], (20, 1)))
    for step in range(40):
        one, other = free.batch(3, step, 5.0), limited.batch(3, step, 5.0)
        assert all((getattr(one, n) == getattr(other, n)).all() for n in ("track_N", "x_N", "y_N"))
