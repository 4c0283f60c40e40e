"""Determines the pairs (x_i, y_i) of a batch from (seed, epoch, step): a pure function without state.

An epoch visits every training image once as x (section 4.1: "images", not identities). No batch contains two images of
one identity, because they would be false negatives in equation (1). Identities may have different numbers of images, as
in the paper's composition. Any process can compute any batch. The state to resume is (seed, epoch, step), and the
number of processes may change in between.

Algorithm. In each epoch, the identities get a new order, and their M images are placed one identity after the other
into N rows of T = M // N positions. Each batch takes one image from every row. An identity with at most T images is in
one row, or at the end of one row and the start of the next (it straddles them). Positions with a straddling identity
are read at `place(step)`, a permutation of range(T) that all rows share. A batch never contains a straddling identity
twice, because its two pieces have different positions. For the positions in between, each row has its own permutation,
so that the combinations of identities in a batch change.

Two limits follow. The last M - N * T images of the order, fewer than a batch, are not used in this epoch. And no
identity can be x more than T times in an epoch of T batches. If an identity has more images, T is the largest number
for which the sum over identities of min(images, T) fills T batches, and each epoch uses another T images of this
identity.

Legend: N pairs of a batch, T tracks (in suffixes), I identities, A alphas.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError
from comface.pretrain.curriculum import choose_partner
from comface.seeds import derive_seed, numpy_rng

Ints = NDArray[np.int64]
Counts = NDArray[np.int32] | NDArray[np.int64]
ALL = slice(None)


@dataclass(frozen=True)
class PairBatch:
    """N pairs: the track of each, and the indices of x and y among the track's alphas."""

    track_N: Ints
    x_N: Ints
    y_N: Ints


@dataclass(frozen=True)
class Layout:
    """The order of the images of an epoch: identity `order_I[i]` has positions `start_I[i]` to `start_I[i + 1] - 1`."""

    order_I: Counts
    start_I: Counts
    head_N: Ints
    """Number of positions at the start of each row that belong to an identity from the row before."""
    tail_N: Ints
    """Number of positions at the end of each row that belong to an identity that continues in the next row."""


class PairSampler:
    """Chooses the pairs of each step. `identity_T`: identity of each track. `alpha_A`: the alphas of all tracks.
    `usable_T2`: half-open range of the indices of usable alphas for each track (None: all). `partner`: how y is drawn
    (curriculum.py)."""

    def __init__(
        self,
        identity_T: Sequence[str] | NDArray[np.integer[Any]],
        alpha_A: Sequence[float],
        pairs_per_step: int,
        seed: int,
        usable_T2: np.ndarray | None = None,
        partner: str = "images",
    ) -> None:
        """Raises ConfigurationError if a batch has more pairs than there are identities."""
        owners, owner_T = np.unique(np.asarray(identity_T), return_inverse=True)
        if len(owners) < pairs_per_step:
            raise ConfigurationError(
                f"A batch of {pairs_per_step:,} pairs needs as many identities, but the shards have only "
                f"{len(owners):,} for training; lower pretrain.pairs_per_step, or synthesize more identities."
            )
        self.alpha_A = np.asarray(alpha_A, dtype=np.float64)
        self.pairs_per_step, self.seed, self.partner = pairs_per_step, seed, partner
        self._usable_T2 = usable_T2
        order_T = np.argsort(owner_T, kind="stable")
        self._tracks_by_owner = _compact(order_T)
        whole = len(self.alpha_A)
        images_T = (
            np.full(len(order_T), whole) if usable_T2 is None else np.diff(usable_T2.astype(np.int64))[order_T, 0]
        )
        self._first_image_T = _compact(np.concatenate([[0], np.cumsum(images_T)]))
        tracks_I = np.concatenate([[0], np.cumsum(np.bincount(owner_T))])
        self._first_image_I = self._first_image_T[tracks_I]
        self._images_I = np.diff(self._first_image_I)
        self.identities, self.images = len(owners), int(images_T.sum())
        self.full_epoch_steps = steps_of(self._images_I, pairs_per_step)

    @property
    def s_max(self) -> float:
        """S_max of equation (2): the largest change within a track."""
        return float(np.ptp(self.alpha_A))

    def batch(self, epoch: int, step: int, s: float, share: slice = ALL) -> PairBatch:
        """Return the pairs of one step. `s`: the range S of the curriculum in this epoch. Steps beyond
        `full_epoch_steps` start a new pass over the images in another order. `share`: which pairs to return."""
        round_, inside = divmod(step, self.full_epoch_steps)
        layout = self._layout(epoch, round_)
        position_N = self._positions(layout, epoch, round_, inside)[share]
        place_N = _interval(layout.start_I, position_N)
        who_N = layout.order_I[place_N].astype(np.int64)
        key = derive_seed(self.seed, "images", epoch, round_)
        image_N = keyed_permutation(position_N - layout.start_I[place_N], self._images_I[who_N], who_N, key)
        image_N = self._first_image_I[who_N] + image_N
        piece_N = _interval(self._first_image_T, image_N)
        track_N = self._tracks_by_owner[piece_N].astype(np.int64)
        first_N = image_N - self._first_image_T[piece_N]
        u_N = numpy_rng(self.seed, "partners", epoch, step).random(self.pairs_per_step)[share]
        usable_N2 = None if self._usable_T2 is None else self._usable_T2[track_N].astype(np.int64)
        x_N = first_N if usable_N2 is None else usable_N2[:, 0] + first_N
        return PairBatch(track_N, x_N, choose_partner(self.alpha_A, x_N, u_N, s, usable_N2, self.partner))

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a sampler lives as long as its training)
    def _layout(self, epoch: int, round_: int) -> Layout:
        steps = self.full_epoch_steps
        order_I = numpy_rng(self.seed, "identities", epoch, round_).permutation(self.identities)
        start_I = np.concatenate([[0], np.cumsum(np.minimum(self._images_I[order_I], steps), dtype=np.int64)])
        edge_N = np.arange(1, self.pairs_per_step) * steps  # where a row ends and the next one begins
        across_N = _interval(start_I, edge_N)
        none = np.zeros(1, dtype=np.int64)
        begun_N = edge_N - start_I[across_N]
        left_N = np.where(begun_N > 0, start_I[across_N + 1] - edge_N, 0)
        return Layout(
            _compact(order_I), _compact(start_I), np.concatenate([none, left_N]), np.concatenate([begun_N, none])
        )

    def _positions(self, layout: Layout, epoch: int, round_: int, inside: int) -> Ints:
        """Return one position per row (N,)."""
        steps, row_N = self.full_epoch_steps, np.arange(self.pairs_per_step)
        key = derive_seed(self.seed, "places", epoch, round_)
        shared = keyed_permutation(np.array([inside]), np.array([steps]), np.array([self.pairs_per_step]), key)[0]
        middle_N = steps - layout.head_N - layout.tail_N
        within_N = (shared >= layout.head_N) & (shared < layout.head_N + middle_N)
        index_N = np.where(within_N, shared - layout.head_N, 0)
        own_N = layout.head_N + keyed_permutation(index_N, np.maximum(middle_N, 1), row_N, key)
        return row_N * steps + np.where(within_N, own_N, shared)


def _compact(values: Ints) -> Counts:
    """`values` in 4 bytes each if they fit: a sampler of the paper's 350,000 tracks takes 10 MB."""
    return values.astype(np.int32) if values.max(initial=0) < 2**31 else values


def _interval(start: Counts, position_N: Ints) -> Ints:
    """Return the number of the interval that each position is in. `start`: first position of each interval, and the
    end of the last. The positions get the type of `start`: NumPy would otherwise copy all of `start`."""
    return np.searchsorted(start, position_N.astype(start.dtype), side="right") - 1


def steps_of(images_I: Counts, pairs_per_step: int) -> int:
    """Return the number of batches in an epoch: the largest T with sum(min(images, T)) >= T * N, at least 1. It is M //
    N if no identity has more than M // N images."""
    low, high = 1, max(1, int(images_I.sum(dtype=np.int64)) // pairs_per_step)
    while low < high:
        middle = (low + high + 1) // 2
        enough = int(np.minimum(images_I, middle).sum(dtype=np.int64)) >= middle * pairs_per_step
        low, high = (middle, high) if enough else (low, middle - 1)
    return low


def keyed_permutation(index_N: np.ndarray, size_N: np.ndarray, word_N: np.ndarray, key: int) -> Ints:
    """Return for each row n the image of index_N[n] under a permutation of range(size_N[n]) that (key, word_N[n])
    selects.

    It is a four-round Feistel network over the next power of four, repeated until the value is inside the range (cycle
    walking). This is a bijection that needs no stored permutation."""
    bits_N = np.maximum(1, -(-np.ceil(np.log2(np.maximum(size_N, 2))).astype(np.int64) // 2)).astype(np.uint64)
    mask_N = (np.uint64(1) << bits_N) - np.uint64(1)
    value_N, word_N = index_N.astype(np.uint64), word_N.astype(np.uint64)
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
    """The finaliser of SplitMix64, a bijection that mixes 64 bits."""
    with np.errstate(over="ignore"):
        x_N = (x_N ^ (x_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x_N = (x_N ^ (x_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed_N: np.ndarray = x_N ^ (x_N >> np.uint64(31))
        return mixed_N
