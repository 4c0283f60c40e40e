"""The pair sampler: a pure function that visits every image once an epoch and never mixes identities in a batch."""

import itertools
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


def epoch_of(made: PairSampler, owners: list[str], epoch: int = 1) -> Counter:
    """How often each image is x in an epoch; every batch is seen to hold as many identities as pairs."""
    seen = Counter()
    for step in range(made.full_epoch_steps):
        batch = made.batch(epoch, step, 10.0)
        assert len({owners[track] for track in batch.track_N}) == made.pairs_per_step
        seen.update(zip(batch.track_N.tolist(), batch.x_N.tolist(), strict=True))
    return seen


def test_an_epoch_of_identities_with_unequal_numbers_of_tracks_visits_every_image_once_as_x():
    """The paper's composition in small: 1 identity of 5 has three tracks, the others one."""
    owners = [f"p{i:02d}" for i in range(40) for _ in range(3 if i % 5 == 0 else 1)]
    made = PairSampler(owners, ALPHAS, 8, 0)
    seen = epoch_of(made, owners)
    assert len(owners) * len(ALPHAS) % 8 == 0
    assert seen == Counter({(track, alpha): 1 for track in range(len(owners)) for alpha in range(len(ALPHAS))})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=40), st.integers(1, 9), st.integers(0, 99), st.data())
def test_whatever_the_identities_no_image_is_x_twice_and_fewer_than_a_batch_wait(tracks, pairs, seed, data):
    pairs = min(pairs, len(tracks))
    owners = [f"p{i}" for i, count in enumerate(tracks) for _ in range(count)]
    ends = [data.draw(st.integers(2, 11)) for _ in owners]
    usable = np.array([(0, end) for end in ends])
    made = PairSampler(owners, ALPHAS, pairs, seed, usable)
    seen = epoch_of(made, owners)
    assert set(seen.values()) == {1}
    assert all(alpha < ends[track] for track, alpha in seen)
    images = Counter()
    for owner, end in zip(owners, ends, strict=True):
        images[owner] += end
    steps = made.full_epoch_steps
    visited = Counter(owners[track] for track, _ in seen)
    if max(images.values()) <= sum(ends) // pairs:  # else some would come twice in a batch
        assert sum(ends) - len(seen) < pairs
    else:
        assert sum(min(count, steps + 1) for count in images.values()) < (steps + 1) * pairs, "no longer epoch is full"
        assert sum(min(images[owner], steps) - visited[owner] for owner in images) < steps + pairs


def test_an_identity_with_more_images_than_batches_gives_others_in_the_next_epoch():
    owners = ["much"] * 9 + ["p1", "p2", "p3"]
    made = PairSampler(owners, ALPHAS, 4, 0)
    epochs = [{image for image in epoch_of(made, owners, epoch) if owners[image[0]] == "much"} for epoch in (1, 2)]
    assert [len(images) for images in epochs] == [made.full_epoch_steps] * 2 == [11, 11]
    assert epochs[0] != epochs[1]


def test_batches_after_a_full_epoch_begin_the_images_anew_in_another_order():
    owners = [f"p{i}" for i in range(12) for _ in range(1 + i % 2)]
    made = PairSampler(owners, ALPHAS, 4, 0)
    rounds = [
        [made.batch(1, made.full_epoch_steps * r + step, 10.0) for step in range(made.full_epoch_steps)] for r in (0, 1)
    ]
    orders = [[tuple(zip(b.track_N.tolist(), b.x_N.tolist(), strict=True)) for b in batches] for batches in rounds]
    assert orders[0] != orders[1]
    assert len({image for batch in orders[1] for image in batch}) == 4 * made.full_epoch_steps


def test_identities_meet_in_ever_new_batches():
    """Each of 40 identities has 11 images; over an epoch it meets nearly all of the others."""
    owners = [f"p{i:02d}" for i in range(40)]
    made = PairSampler(owners, ALPHAS, 8, 0)
    met = set()
    for step in range(made.full_epoch_steps):
        tracks = made.batch(1, step, 10.0).track_N.tolist()
        met.update(itertools.permutations(tracks, 2))
    assert len(met) > 0.75 * 40 * 39


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
