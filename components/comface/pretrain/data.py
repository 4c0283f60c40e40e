"""Batches of pairs as pixels: what the sampler chose, read from the shards and decoded.

Legend: N pairs of this process, H = W = stored side length. Images are uint8 (N,H,W,3) until they are on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from comface.errors import DataError
from comface.pretrain.pairs import PairSampler
from comface.shard.reader import ShardReader

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""x (N,H,W,3) uint8, y (N,H,W,3) uint8, alpha_x (N,), alpha_y (N,) float32."""


class PairImages(Dataset[Batch]):
    """Item `step` is this process's share (every count-th pair from rank on) of that step's batch."""

    def __init__(self, reader: ShardReader, sampler: PairSampler, rank: int, count: int, epoch: int, s: float) -> None:
        self.reader, self.sampler, self.epoch, self.s = reader, sampler, epoch, s
        self.share = slice(rank, None, count)

    def __getitem__(self, step: int) -> Batch:
        pairs = self.sampler.batch(self.epoch, step, self.s)
        track_N, x_N, y_N = pairs.track_N[self.share], pairs.x_N[self.share], pairs.y_N[self.share]
        alpha_A = self.sampler.alpha_A.astype(np.float32)
        return (
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
            return simplejpeg.decode_jpeg(self.reader.jpeg(track, alpha), colorspace="RGB")
        except ValueError as error:
            key = self.reader.tracks[track].track.key
            raise DataError(f"Image {alpha} of track '{key}' is not a JPEG ({error}); shard again.") from None


def batches(images: PairImages, steps: range, workers: int) -> Iterator[Batch]:
    """The batches of `steps`, decoded ahead by `workers` processes (0: in this one)."""
    options: dict[str, Any] = {"prefetch_factor": 4, "multiprocessing_context": "fork"} if workers else {}
    pin = torch.cuda.is_available()
    yield from DataLoader(images, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin, **options)


def to_device(images_NHWC: Tensor, device: torch.device) -> Tensor:
    """uint8 (N,H,W,3) -> float32 (N,3,H,W) in [-1, 1] on the device, channels last."""
    x = images_NHWC.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return x.float().div_(127.5).sub_(1)
