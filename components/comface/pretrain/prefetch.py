"""Copies batches to the device ahead of the training.

In: a loader's slots. Out: batches on the device. On a CPU a batch stays where it is. On a GPU, a slot is copied on a
stream of its own, straight from the memory that the loader processes wrote (registered with CUDA: no other copy and no
thread that pins), while the training's kernels run. The slot is given back when its copy has ended, which is asked
without waiting.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator

import torch
from torch import Tensor

from comface.errors import DataError, TryAgain
from comface.pretrain.data import Batch, BatchArrays, PairImages
from comface.pretrain.loaders import Loader, Stream

AHEAD = 2
"""Batches on the device that are copied or being copied and not in use."""


def on_device(
    loader: Loader, images: PairImages, items: Iterable[int], device: torch.device
) -> Generator[Batch, None, None]:
    """Yield the batches `items` on `device`. On a CPU a batch is valid until the next one is taken. Raises the errors
    of `Loader.batches`."""
    if device.type == "cpu":
        yield from loader.batches(images, items)
        return
    with contextlib.closing(loader.stream(images, items)) as stream:
        yield from _copied(stream, loader, images.encoded, device)


def _copied(stream: Stream, loader: Loader, encoded: bool, device: torch.device) -> Iterator[Batch]:
    register(loader)
    copying = torch.cuda.Stream(device)
    ahead = deque[tuple[Batch, torch.cuda.Event]]()
    taken = deque[tuple[int, torch.cuda.Event]]()
    ended = False
    try:
        while True:
            while taken and taken[0][1].query():
                stream.give_back(taken.popleft()[0])
            while not ended and len(ahead) < AHEAD and (not ahead or stream.is_ready()):
                if not ahead and taken:  # the next batch may need the slot of a copy that has not ended
                    taken[0][1].synchronize()
                    stream.give_back(taken.popleft()[0])
                if (number := stream.take()) is None:
                    ended = True
                    break
                with torch.cuda.stream(copying):
                    batch = moved(stream.arrays(number), encoded, device)
                    event = copying.record_event()
                ahead.append((batch, event))
                taken.append((number, event))
            if not ahead:
                return
            batch, event = ahead.popleft()
            training = torch.cuda.current_stream(device)
            training.wait_event(event)
            for tensor in batch[:4]:
                tensor.record_stream(training)  # allocated on the other stream
            yield batch
    finally:
        copying.synchronize()  # the loader may write to the slots from now on


def moved(arrays: BatchArrays, encoded: bool, device: torch.device) -> Batch:
    """Return a batch on `device`, copied (asynchronously, on a GPU) or decoded there."""
    if encoded:
        images_2NHWC = decoded(arrays, device)
    else:
        images_2NHWC = torch.from_numpy(arrays.images_2NHWC).to(device, non_blocking=True)
    alphas_2N = torch.from_numpy(arrays.alphas_2N).to(device, non_blocking=True)
    return Batch(images_2NHWC[0], images_2NHWC[1], alphas_2N[0], alphas_2N[1], arrays.pairs)


def decoded(arrays: BatchArrays, device: torch.device) -> Tensor:
    """Decode the JPEGs of a batch on `device` (on a GPU with nvJPEG). Returns x and y, uint8 (2,N,H,W,3). Raises
    DataError if one cannot be decoded or has another size."""
    from torchvision.io import ImageReadMode, decode_jpeg

    flat_2NB = torch.from_numpy(arrays.images_2NHWC).flatten(2)
    sizes_2N = arrays.jpeg_bytes_2N
    jpegs = [flat_2NB[side, row, : sizes_2N[side, row]] for side in (0, 1) for row in range(sizes_2N.shape[1])]
    try:
        images = decode_jpeg(jpegs, mode=ImageReadMode.RGB, device=device)
        images_2NHWC: Tensor = torch.stack(images).permute(0, 2, 3, 1).unflatten(0, (2, -1))
        if images_2NHWC.shape != arrays.images_2NHWC.shape:
            raise RuntimeError("an image has another size")
    except RuntimeError as error:
        raise DataError(
            f"The JPEGs of a batch cannot be decoded on the GPU ({str(error).splitlines()[0]}); set "
            "pretrain.decode=cpu to learn which image is damaged."
        ) from None
    return images_2NHWC


def register(loader: Loader) -> None:
    """Register the loader's memory with CUDA, so that copies from it are asynchronous, until the loader ends. Raises
    TryAgain if the memory cannot be locked."""
    address, size_bytes = loader.address()
    if torch.frombuffer(loader.memory, dtype=torch.uint8).is_pinned():
        return
    code = torch.cuda.cudart().cudaHostRegister(address, size_bytes, 0)
    if int(code) != 0:
        raise TryAgain(
            f"CUDA could not lock the {size_bytes / 1e6:,.0f} MB of batches in memory (error {int(code)}); raise the "
            "limit of locked memory, or lower pretrain.loader_workers, then run again."
        )
    loader.at_end.callback(torch.cuda.cudart().cudaHostUnregister, address)
