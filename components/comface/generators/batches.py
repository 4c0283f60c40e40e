"""How many images a network renders at once: one on a CPU, the fastest measured number on a GPU.

In: a function that renders latents, and latents. Out: their images. On a GPU, at the first track of at least 32 images,
batches of 1, 2, 4, … images are measured; the result is remembered in the cache folder per device, network and
precision. On a CPU, a batch gains at most some percent (docs/performance.md), and one image needs the least memory. If
the memory of the GPU is exhausted, the batch is halved. An image depends on its batch only by rounding.

Legend: N latents or images, L rows of W+, D latent width, H = W side length.
"""

from __future__ import annotations

import contextlib
import json
import logging
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from comface.errors import ComfaceError, TryAgain
from comface.files import read_facts, write_file
from comface.runtime.folders import cache_folder

logger = logging.getLogger(__name__)

Render = Callable[[Tensor], Tensor]
"""Latents (N,L,D) -> images (N,3,H,W)."""
CANDIDATES = (1, 2, 4, 8, 16, 32)
ENOUGH = 1.03
"""A larger batch is taken if it is at least this much faster: it needs more memory."""
HOPELESS = 0.7
"""No larger batch is tried after one with less than this share of the best rate."""
UNMEASURED = 4
"""On a GPU, for fewer latents than CANDIDATES need, as in a contact sheet."""
EXHAUSTED = ("CUDA out of memory", "CUDA error: out of memory", "[CUDA]: out of memory", "_STATUS_ALLOC_FAILED")
NO_ENGINE = "unable to find an engine"
"""What PyTorch says if no algorithm of cuDNN gets its working space."""
MEASURED = "batches.json"
TIMED = 3


class Batches:
    """The batch of one network on one device. `gpu`: the name of the GPU, empty for a CPU. The names of network, GPU
    and precision identify the batch in the cache folder."""

    def __init__(
        self,
        network: str,
        precision: str,
        gpu: str,
        folder: Callable[[], Path] = cache_folder,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.network, self.precision, self.gpu, self._folder, self._clock = network, precision, gpu, folder, clock
        self._size: int | None = None if gpu else 1

    def render(self, render: Render, w_NLD: Tensor) -> Tensor:
        """The images (N,3,H,W) of all latents; at least one. The batches differ by at most one image, because a small
        last one would be slow. Raises TryAgain if the device has no memory for a single image."""
        size = self._size_for(render, w_NLD)
        while (images_NCHW := rendered(render, w_NLD, size)) is None:
            if size == 1:
                raise TryAgain(
                    f"The GPU {self.gpu} has no free memory for one image of {self.network}; end other programs that "
                    "use it, or use a GPU with more memory."
                )
            size = self._size = size // 2
            torch.cuda.empty_cache()
            logger.warning(f"the memory of the GPU {self.gpu} is exhausted: {self.network} now renders {size} at once")
        return images_NCHW

    def _size_for(self, render: Render, w_NLD: Tensor) -> int:
        if self._size is None:
            self._size = self._remembered()
        if self._size is None and len(w_NLD) >= CANDIDATES[-1]:
            self._size = fastest(lambda size: self._seconds(render, w_NLD[:size]))
            torch.cuda.empty_cache()
            self._remember(self._size)
        return self._size or UNMEASURED

    def _seconds(self, render: Render, w_NLD: Tensor) -> float | None:
        """Seconds for one batch; None if the memory does not suffice."""
        spent = []
        for _ in range(1 + TIMED):
            _synchronize()
            started = self._clock()
            if rendered(render, w_NLD, len(w_NLD)) is None:
                return None
            _synchronize()
            spent.append(self._clock() - started)
        return statistics.median(spent[1:])  # the first one compiles kernels

    def _key(self) -> str:
        try:
            compiler = f"triton {metadata.version('triton')}"
        except metadata.PackageNotFoundError:
            compiler = "no triton"
        return ", ".join([self.gpu, self.network, self.precision, f"torch {torch.__version__}", compiler])

    def _remembered(self) -> int | None:
        size = read_facts(self._folder() / MEASURED).get(self._key())
        return size if size in CANDIDATES else None

    def _remember(self, size: int) -> None:
        path = self._folder() / MEASURED
        known = read_facts(path) | {self._key(): size}
        with contextlib.suppress(ComfaceError):  # it is then measured again, which takes seconds
            write_file(path, (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())
        logger.info(f"{self._key()}: {size} images at once are the fastest")


def rendered(render: Render, w_NLD: Tensor, size: int) -> Tensor | None:
    """The images of all latents in batches of at most `size`, as equal as possible; None if memory is exhausted, also
    if cuDNN has none for its working space (for a single image, that error may have other causes)."""
    try:
        pieces = [render(piece) for piece in w_NLD.tensor_split(-(-len(w_NLD) // size))]
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]
    except RuntimeError as error:
        if exhausted(error) or (size > 1 and NO_ENGINE in str(error)):
            return None  # not retried here: the exception keeps the tensors of its frames alive
        raise


def exhausted(error: RuntimeError) -> bool:
    """Whether the memory of the GPU does not suffice: for a tensor, or (Triton, cuDNN, cuBLAS) for something else."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in EXHAUSTED)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def fastest(seconds_of: Callable[[int], float | None]) -> int:
    """The batch with the highest rate. `seconds_of(size)`: seconds of one batch, None if the memory does not
    suffice."""
    best, best_rate = 1, 0.0
    for size in CANDIDATES:
        seconds = seconds_of(size)
        if seconds is None or size / seconds < HOPELESS * best_rate:
            break
        if size / seconds > ENOUGH * best_rate:
            best, best_rate = size, size / seconds
    return best
