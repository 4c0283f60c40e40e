"""Reads and decodes the images of the pairs that the sampler chose for a step.

Legend: N pairs of this process, E epochs, H = W = stored side length. Images are uint8 (N,H,W,3) until they are on the
device.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch import Tensor

from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError, DataError
from comface.pretrain.config import PretrainConfig
from comface.pretrain.curriculum import change_range
from comface.pretrain.draft import batch_bytes
from comface.pretrain.draws import Y
from comface.pretrain.network import VIEWS
from comface.pretrain.pairs import PairBatch, PairSampler
from comface.pretrain.processes import Processes
from comface.seeds import derive_seed
from comface.tracks.shard_reader import ShardReader

logger = logging.getLogger(__name__)

VALIDATION_STEPS = 8
"""Maximum number of batches of held-out pairs: 8,192 pairs with the paper's 1,024 pairs per step."""


class Batch(NamedTuple):
    """The pairs of this process in one step. Images are uint8; alphas are float32. The tensors of a loader
    (loaders.py) are valid until the next batch is taken; `pairs` always is."""

    x_NHWC: Tensor
    y_NHWC: Tensor
    alpha_x_N: Tensor
    alpha_y_N: Tensor
    pairs: PairBatch | None = None
    """Which images these are: the track, and the indices of x and y."""


class PairImages:
    """Item i is this process's share of the batch of step `i % steps_per_epoch` in epoch `i // steps_per_epoch + 1`.
    `range_E`: the range S of the curriculum in each epoch. `encoded`: give the bytes of the JPEGs, not their pixels.
    `sides`: 1 if only the images of x are used; those of y are then not read, and stay black."""

    def __init__(
        self,
        reader: ShardReader,
        sampler: PairSampler,
        processes: Processes,
        steps_per_epoch: int,
        range_E: Sequence[float],
        encoded: bool = False,
        sides: int = 2,
    ) -> None:
        self.reader, self.sampler, self.encoded, self.sides = reader, sampler, encoded, sides
        self.steps_per_epoch, self.range_E = steps_per_epoch, tuple(range_E)
        self.share = processes.share
        self.count = len(range(sampler.pairs_per_step)[self.share])
        """Pairs of a batch of this process."""
        self.image_shape = (reader.image_size_px, reader.image_size_px, 3)

    def within(self, s: float) -> range:
        """Indices of the items of the first epoch whose range is `s`."""
        first = self.range_E.index(s) * self.steps_per_epoch
        return range(first, first + self.steps_per_epoch)

    def __getitem__(self, item: int) -> Batch:
        arrays = BatchArrays.new(self.count, self.image_shape)
        self.fill(arrays, item, slice(0, self.count))
        return arrays.batch()

    def fill(self, arrays: BatchArrays, item: int, rows: slice) -> None:
        """Write the pairs `rows` of an item. Raises DataError if an image is damaged, TryAgain if the store fails."""
        epoch, step = divmod(item, self.steps_per_epoch)
        share = range(self.sampler.pairs_per_step)[self.share][rows]
        pairs = self.sampler.batch(epoch + 1, step, self.range_E[epoch], slice(share.start, share.stop, share.step))
        arrays.pairs_3N[:, rows] = pairs.track_N, pairs.x_N, pairs.y_N
        arrays.alphas_2N[:, rows] = self.sampler.alpha_A[np.stack([pairs.x_N, pairs.y_N])]
        for side, alpha_N in enumerate((pairs.x_N, pairs.y_N)[: self.sides]):
            jpegs = self.reader.jpegs(pairs.track_N, alpha_N)
            for row, jpeg in enumerate(jpegs, rows.start):
                self._store(jpeg, arrays, side, row)

    def _store(self, jpeg: bytes, arrays: BatchArrays, side: int, row: int) -> None:
        image_HWC = arrays.images_2NHWC[side, row]
        try:
            if self.encoded:
                image_HWC.reshape(-1)[: len(jpeg)] = np.frombuffer(jpeg, np.uint8)
                arrays.jpeg_bytes_2N[side, row] = len(jpeg)
            elif simplejpeg.decode_jpeg(jpeg, colorspace="RGB", buffer=image_HWC).shape != self.image_shape:
                raise ValueError(f"its size is not {self.image_shape[0]} px")
        except ValueError as error:
            track, alpha = int(arrays.pairs_3N[0, row]), int(arrays.pairs_3N[1 + side, row])
            raise DataError(
                f"Image {alpha} of track '{self.reader.tracks[track].track.key}' cannot be decoded ({error}); delete "
                "the shards and run shard again."
            ) from None


@dataclass(frozen=True)
class BatchArrays:
    """The memory of a batch of N pairs. Side 0 is x, side 1 is y."""

    images_2NHWC: NDArray[np.uint8]
    """Pixels; or in each image's place the bytes of its JPEG."""
    jpeg_bytes_2N: NDArray[np.int32]
    """Sizes of the JPEGs."""
    alphas_2N: NDArray[np.float32]
    pairs_3N: NDArray[np.int64]
    """Track, index of x and index of y."""

    @classmethod
    def new(cls, pairs: int, image_shape: tuple[int, ...]) -> BatchArrays:
        return cls.within(memoryview(bytearray(batch_bytes(pairs, image_shape[0]))), pairs, image_shape)

    @classmethod
    def within(cls, memory: memoryview, pairs: int, image_shape: tuple[int, ...]) -> BatchArrays:
        """The arrays of a batch in `memory`, which has `batch_bytes` bytes."""
        found, at = list[NDArray[Any]](), 0
        shapes = (((2, pairs, *image_shape), np.uint8), ((3, pairs), np.int64), ((2, pairs), np.float32),
                  ((2, pairs), np.int32))  # fmt: skip
        for shape, dtype in shapes:
            size = math.prod(shape)
            found.append(np.frombuffer(memory, dtype, size, at).reshape(shape))
            at += -(-size * np.dtype(dtype).itemsize // 8) * 8
        images_2NHWC, pairs_3N, alphas_2N, jpeg_bytes_2N = found
        return cls(images_2NHWC, jpeg_bytes_2N, alphas_2N, pairs_3N)

    def batch(self) -> Batch:
        """These arrays as tensors, without a copy."""
        images, alphas = torch.from_numpy(self.images_2NHWC), torch.from_numpy(self.alphas_2N)
        return Batch(images[0], images[1], alphas[0], alphas[1], self.pairs)

    @property
    def pairs(self) -> PairBatch:
        return PairBatch(*self.pairs_3N.copy())


def training_pairs(shards: Artifact, config: PretrainConfig, cache: Path, processes: Processes) -> PairImages:
    """Return the training pairs of all epochs. Their range of changes follows the curriculum. Raises
    ConfigurationError if a GPU must decode the images and there is none."""
    if config.decode == "gpu" and processes.device.type != "cuda":
        raise ConfigurationError(
            "pretrain.decode is 'gpu', but the training has no GPU; set pretrain.decode=cpu, or train on a GPU."
        )
    reader = ShardReader(shards, "train", cache, config.cache_gib)
    if config.identities is not None:
        reader.keep(first_identities(reader.tracks.identities(), config.identities))
    sampler = _sampler(reader, config.pairs_per_step, config.seed, config.partner)
    range_E = [
        change_range(epoch, sampler.s_max, config.curriculum_ends, config.curriculum_form)
        if config.curriculum
        else sampler.s_max
        for epoch in range(1, config.epochs + 1)
    ]
    if processes.local_rank == 0 and not reader.copies.in_place:
        logger.info(reader.copies.sentence())
    steps = config.steps_per_epoch or sampler.full_epoch_steps
    return PairImages(reader, sampler, processes, steps, range_E, config.decode == "gpu", sides_of(config))


def sides_of(config: PretrainConfig) -> int:
    """How many images of a pair the training reads: x, and y if a loss uses it. A GPU decodes both."""
    return 2 if config.decode == "gpu" or Y in VIEWS[config.learning] else 1


def first_identities(identities: Iterable[str], count: int) -> frozenset[str]:
    """The first `count` identities in an order that mixes all generators and depends on nothing but the names. So a
    smaller number always gives a subset, and every seed trains on the same people (figure 3)."""
    ranked = sorted(set(identities), key=lambda identity: (derive_seed(0, "scale", identity), identity))
    return frozenset(ranked[:count])


def held_out_pairs(shards: Artifact, config: PretrainConfig, cache: Path, range_E: Sequence[float]) -> PairImages:
    """Return the validation pairs: one set over the whole range of changes, and one per range S of the curriculum
    (`range_E`), so that a loss on held-out identities has the S of the training loss beside it."""
    reader = ShardReader(shards, "validation", cache, config.cache_gib)
    people = len(reader.tracks.identities())
    seed = derive_seed(config.seed, "validation")
    sampler = _sampler(reader, min(config.pairs_per_step, people), seed, config.partner)
    steps = min(VALIDATION_STEPS, sampler.full_epoch_steps)
    ranges = list(dict.fromkeys((sampler.s_max, *range_E)))
    return PairImages(reader, sampler, Processes(0, 1, torch.device("cpu")), steps, ranges, config.decode == "gpu")


def _sampler(reader: ShardReader, pairs_per_step: int, seed: int, partner: str) -> PairSampler:
    return PairSampler(reader.identity_T, reader.alphas, pairs_per_step, seed, reader.usable(), partner)
