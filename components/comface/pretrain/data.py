"""Reads and decodes the images of the pairs that the sampler chose for a step.

Legend: N pairs of this process, E epochs, H = W = stored side length. Images are uint8 (N,H,W,3) until they are on the
device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.utils.data import Dataset

from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.pretrain.config import PretrainConfig
from comface.pretrain.curriculum import change_range
from comface.pretrain.pairs import PairSampler
from comface.pretrain.processes import Processes
from comface.seeds import derive_seed
from comface.tracks.shard_reader import ShardReader

VALIDATION_STEPS = 8
"""Maximum number of batches of held-out pairs: 8,192 pairs with the paper's 1,024 pairs per step."""


class Batch(NamedTuple):
    """The pairs of this process in one step. Images are uint8; alphas are float32."""

    x_NHWC: Tensor
    y_NHWC: Tensor
    alpha_x_N: Tensor
    alpha_y_N: Tensor


class PairImages(Dataset[Batch]):
    """Item i is this process's share of the batch of step `i % steps_per_epoch` in epoch `i // steps_per_epoch + 1`.
    `range_E`: the range S of the curriculum in each epoch."""

    def __init__(
        self,
        reader: ShardReader,
        sampler: PairSampler,
        processes: Processes,
        steps_per_epoch: int,
        range_E: Sequence[float],
    ) -> None:
        self.reader, self.sampler = reader, sampler
        self.steps_per_epoch, self.range_E = steps_per_epoch, tuple(range_E)
        self.share = processes.share

    def within(self, s: float) -> range:
        """Indices of the items of the first epoch whose range is `s`."""
        first = self.range_E.index(s) * self.steps_per_epoch
        return range(first, first + self.steps_per_epoch)

    def __getitem__(self, item: int) -> Batch:
        epoch, step = divmod(item, self.steps_per_epoch)
        pairs = self.sampler.batch(epoch + 1, step, self.range_E[epoch])
        track_N, x_N, y_N = pairs.track_N[self.share], pairs.x_N[self.share], pairs.y_N[self.share]
        alpha_A = self.sampler.alpha_A.astype(np.float32)
        return Batch(
            self._images(track_N, x_N),
            self._images(track_N, y_N),
            torch.from_numpy(alpha_A[x_N]),
            torch.from_numpy(alpha_A[y_N]),
        )

    def _images(self, track_N: np.ndarray, alpha_N: np.ndarray) -> Tensor:
        images = [self._decode(int(t), int(a)) for t, a in zip(track_N, alpha_N, strict=True)]
        return torch.from_numpy(np.stack(images))

    def _decode(self, track: int, alpha: int) -> np.ndarray:
        try:
            image_HW3: np.ndarray = simplejpeg.decode_jpeg(self.reader.jpeg(track, alpha), colorspace="RGB")
            return image_HW3
        except ValueError as error:
            key = self.reader.tracks[track].track.key
            raise DataError(
                f"Image {alpha} of track '{key}' is not a JPEG ({error}); delete the shards and run shard again."
            ) from None


def training_pairs(shards: Artifact, config: PretrainConfig, cache: Path, processes: Processes) -> PairImages:
    """Return the training pairs of all epochs. Their range of changes follows the curriculum."""
    reader = ShardReader(shards, "train", cache)
    if config.identities is not None:
        reader.keep(first_identities((item.track.identity for item in reader.tracks), config.identities))
    sampler = _sampler(reader, config.pairs_per_step, config.seed, config.partner)
    range_E = [
        change_range(epoch, sampler.s_max, config.curriculum_ends, config.curriculum_form)
        if config.curriculum
        else sampler.s_max
        for epoch in range(1, config.epochs + 1)
    ]
    return PairImages(reader, sampler, processes, config.steps_per_epoch or sampler.full_epoch_steps, range_E)


def first_identities(identities: Iterable[str], count: int) -> frozenset[str]:
    """The first `count` identities in an order that mixes all generators and depends on nothing but the names. So a
    smaller number always gives a subset, and every seed trains on the same people (figure 3)."""
    ranked = sorted(set(identities), key=lambda identity: (derive_seed(0, "scale", identity), identity))
    return frozenset(ranked[:count])


def held_out_pairs(shards: Artifact, config: PretrainConfig, cache: Path, range_E: Sequence[float]) -> PairImages:
    """Return the validation pairs: one set over the whole range of changes, and one per range S of the curriculum
    (`range_E`), so that a loss on held-out identities has the S of the training loss beside it."""
    reader = ShardReader(shards, "validation", cache)
    people = len({item.track.identity for item in reader.tracks})
    seed = derive_seed(config.seed, "validation")
    sampler = _sampler(reader, min(config.pairs_per_step, people), seed, config.partner)
    steps = min(VALIDATION_STEPS, sampler.full_epoch_steps)
    ranges = list(dict.fromkeys((sampler.s_max, *range_E)))
    return PairImages(reader, sampler, Processes(0, 1, torch.device("cpu")), steps, ranges)


def _sampler(reader: ShardReader, pairs_per_step: int, seed: int, partner: str) -> PairSampler:
    identities = [item.track.identity for item in reader.tracks]
    return PairSampler(identities, reader.tracks[0].track.alphas, pairs_per_step, seed, reader.usable(), partner)
