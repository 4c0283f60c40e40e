"""Which pairs (x_i, y_i) make batch number `step` of epoch number `epoch`: a pure function, no state to save.

An epoch visits every training image once as x. It is made of rounds; a round visits every identity once, in a new
keyed order, with the next image of the identity's own keyed order. So a batch never holds two images of one
identity (they would be false negatives in equation (1)), and any process can make any batch of any epoch: resume
state is (seed, epoch, step), and the number of processes may change between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comface.errors import ConfigurationError
from comface.pretrain.curriculum import choose_partner
from comface.seeds import derive_seed, numpy_rng


@dataclass(frozen=True)
class PairBatch:
    """N pairs: the track of each, and the indices of x and y among the track's alphas."""

    track_N: np.ndarray
    x_N: np.ndarray
    y_N: np.ndarray


class PairSampler:
    """`identity_T`: the identity of each track; `alpha_A`: the alphas that all tracks share; `usable_T2`: which of them
    each track may be learned from, as first and behind last index (None: all)."""

    def __init__(
        self,
        identity_T: Sequence[str],
        alpha_A: Sequence[float],
        pairs_per_step: int,
        seed: int,
        usable_T2: np.ndarray | None = None,
    ) -> None:
        names, owner_T = np.unique(np.asarray(identity_T), return_inverse=True)
        if len(names) < pairs_per_step:
            raise ConfigurationError(
                f"A batch of {pairs_per_step} pairs needs as many identities, but the shards hold {len(names)} for "
                "training; lower pretrain.pairs_per_step or synthesize more."
            )
        self.alpha_A = np.asarray(alpha_A, dtype=np.float64)
        self.pairs_per_step, self.seed = pairs_per_step, seed
        everything_T2 = np.tile([0, len(self.alpha_A)], (len(owner_T), 1))
        self._usable_T2 = everything_T2 if usable_T2 is None else usable_T2
        order_T = np.argsort(owner_T, kind="stable")
        self._tracks_by_owner = order_T
        images_T = (self._usable_T2[:, 1] - self._usable_T2[:, 0])[order_T]
        self._first_image_T = np.concatenate([[0], np.cumsum(images_T)])
        tracks_I = np.concatenate([[0], np.cumsum(np.bincount(owner_T))])
        self._first_image_I = self._first_image_T[tracks_I]
        self.identities = len(names)
        self.steps_per_round = self.identities // pairs_per_step
        self.images = int(images_T.sum())
        self.full_epoch_steps = max(1, self.images // pairs_per_step)

    def batch(self, epoch: int, step: int, s: float) -> PairBatch:
        """The pairs of one step; `s` is the curriculum's range S for this epoch."""
        round_, inside = divmod(step, self.steps_per_round)
        order_I = numpy_rng(self.seed, "identities", epoch, round_).permutation(self.identities)
        who_N = order_I[inside * self.pairs_per_step : (inside + 1) * self.pairs_per_step]
        images_N = self._first_image_I[who_N + 1] - self._first_image_I[who_N]
        key = derive_seed(self.seed, "images", epoch)
        image_N = keyed_permutation(np.full(len(who_N), round_) % images_N, images_N, who_N.astype(np.uint64), key)
        image_N = self._first_image_I[who_N] + image_N
        place_N = np.searchsorted(self._first_image_T, image_N, side="right") - 1
        track_N = self._tracks_by_owner[place_N]
        usable_N2 = self._usable_T2[track_N]
        x_N = usable_N2[:, 0] + image_N - self._first_image_T[place_N]
        u_N = numpy_rng(self.seed, "partners", epoch, step).random(len(who_N))
        return PairBatch(track_N, x_N, choose_partner(self.alpha_A, x_N, u_N, s, usable_N2))


def keyed_permutation(index_N: np.ndarray, size_N: np.ndarray, word_N: np.ndarray, key: int) -> np.ndarray:
    """Row n: where index_N[n] goes in a permutation of range(size_N[n]) that (key, word_N[n]) names.

    A four-round Feistel network over the next power of four, walked until inside the range (cycle walking), so it
    is a bijection without a stored permutation."""
    bits_N = np.maximum(1, -(-np.ceil(np.log2(np.maximum(size_N, 2))).astype(np.int64) // 2)).astype(np.uint64)
    mask_N = (np.uint64(1) << bits_N) - np.uint64(1)
    value_N = index_N.astype(np.uint64)
    outside_N = np.ones(len(value_N), dtype=bool)
    while outside_N.any():
        left, right = value_N >> bits_N, value_N & mask_N
        for round_ in range(4):
            mixed = _mix(right ^ _mix(word_N ^ np.uint64((key + round_) & (2**64 - 1))))
            left, right = right, left ^ (mixed & mask_N)
        value_N = np.where(outside_N, (left << bits_N) | right, value_N)
        outside_N = value_N >= size_N.astype(np.uint64)
    return value_N.astype(np.int64)


def _mix(x_N: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: 64 bits in, 64 well-mixed bits out."""
    with np.errstate(over="ignore"):
        x_N = (x_N ^ (x_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x_N = (x_N ^ (x_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x_N ^ (x_N >> np.uint64(31))
