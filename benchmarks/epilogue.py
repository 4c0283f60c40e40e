"""Checks and times the Triton kernels of StyleGAN and StyleGAN2 against the same in PyTorch, for each layer's shape.

    python benchmarks/epilogue.py [--size 1024] [--batch 8] [--rounds 5] [--convolutions]

On a GPU: every layer of the published networks at full size, exact (float32) and fast (float16, or TF32 and
channels-last), equal within rounding; the milliseconds of kernel and PyTorch, medians of alternating rounds, and the
share of the memory's rate that the kernel reaches. On a CPU with TRITON_INTERPRET=1: the same shapes with at most
6 rows and 3 channels, without times.

`--convolutions` times each convolution in both memory formats instead, because their choice depends on cuDNN.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from device_time import medians, memory_rate, milliseconds
from torch import Tensor
from torch.nn import functional

from comface.generators.stylegan import epilogue
from comface.generators.stylegan.equalized import LayerEnd
from comface.generators.stylegan.generator import tf32
from comface.generators.stylegan.stylegan1 import StyleGan1Config
from comface.generators.stylegan.stylegan2 import HALVES, StyleGan2Config
from comface.networks.kernels import plain

CUDA = torch.cuda.is_available()
ROUNDED = {torch.float32: 5e-6, torch.float16: 1e-3}


@dataclass(frozen=True)
class Shape:
    """The end of one layer: `kind` is activated (StyleGAN2), styled (StyleGAN) or to_rgb."""

    network: str
    kind: str
    size: int
    channels: int
    taps: int
    dtype: torch.dtype
    last: bool

    @property
    def bytes(self) -> int:
        """Memory that must be read and written, per image."""
        values = self.size**2 * self.channels * self.dtype.itemsize
        return values if self.kind == "to_rgb" else values * (3 if self.kind == "styled" else 2)

    def __str__(self) -> str:
        form = "channels-last" if self.last else "contiguous"
        return f"{self.network} {self.size} px {self.kind} taps {self.taps} x{self.channels} {self.dtype} {form}"


def shapes(largest: int) -> Iterator[Shape]:
    """Exact: float32, contiguous. Fast: channels-last, StyleGAN2's highest resolutions in float16."""
    for i, channels in enumerate(StyleGan2Config().channels):
        size = 4 * 2**i
        half = size * 2**HALVES > StyleGan2Config().image_size_px
        if size <= largest:
            for dtype, last in ((torch.float32, False), (torch.float16 if half else torch.float32, True)):
                for taps in (4, 1) if i else (1,):
                    yield Shape("stylegan2", "activated", size, channels, taps, dtype, last)
                yield Shape("stylegan2", "to_rgb", size, channels, 4, dtype, last)
    for i, channels in enumerate(StyleGan1Config().channels):
        if 4 * 2**i <= largest:
            for last in (False, True):
                for taps in (3, 1) if i else (1,):
                    yield Shape("stylegan", "styled", 4 * 2**i, channels, taps, torch.float32, last)


def work(shape: Shape, batch: int) -> Callable[[], Tensor]:
    device, count, size = "cuda" if CUDA else "cpu", shape.channels, shape.size
    if not CUDA:
        count, size = min(count, 3), min(size, 6)

    def drawn(*sides: int) -> Tensor:
        return torch.randn(sides, device=device)

    x_NCHW = drawn(batch, count, *[size + (shape.taps == 4 and shape.kind == "activated")] * 2).to(shape.dtype)
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last if shape.last else torch.contiguous_format)
    if shape.kind == "to_rgb":
        weight_N3C, bias_3, taps = drawn(batch, 3, count) / count**0.5, drawn(3), drawn(4, 4)
        below = drawn(batch, 3, size // 2, size // 2) if size > 4 else None
        return lambda: epilogue.to_rgb(x_NCHW, weight_N3C, bias_3, 256.0, below, taps)
    kernel = {1: None, 3: drawn(count, 3, 3), 4: drawn(4, 4)}[shape.taps]
    end = LayerEnd(drawn(count), drawn(size, size), drawn(count), kernel)
    if shape.kind == "styled":
        scale_NC, shift_NC = drawn(batch, count), drawn(batch, count)
        return lambda: epilogue.styled(x_NCHW, end, scale_NC, shift_NC)
    end = LayerEnd(end.bias_C, end.noise_HW, end.strength_C, kernel, drawn(batch, count), 256.0)
    return lambda: epilogue.activated(x_NCHW, end)


def in_pytorch(run: Callable[[], Tensor]) -> Tensor:
    with plain():
        return run()


def check(shape: Shape, batch: int, rounds: int, rate: float) -> bool:
    run = work(shape, batch)
    wanted, found = in_pytorch(run).float(), run().float()
    apart = ((found - wanted).abs().max() / wanted.abs().max()).item()
    good = apart <= ROUNDED[shape.dtype]
    row = f"| {shape} | {apart:.0e}{'' if good else ' TOO LARGE'} |"
    if not CUDA:
        print(row, flush=True)
        return good
    del wanted, found
    own, reference = medians(rounds, run, lambda: in_pytorch(run))
    share = shape.bytes * batch / (own / 1e3) / rate
    print(f"{row} {own:.3f} | {reference:.3f} | {reference / own:.1f} | {share:.0%} |", flush=True)
    return good


def convolutions(largest: int, batch: int, rounds: int) -> None:
    """The milliseconds of each convolution of StyleGAN2, contiguous and channels-last."""
    device = "cuda" if CUDA else "cpu"
    print("| px | up | type | contiguous, ms | channels-last, ms |\n|---|---|---|---|---|")
    channels = StyleGan2Config().channels
    for i, count in enumerate(channels):
        size = 4 * 2**i
        for up in (True, False) if i else (False,):
            for name in ("float32", "TF32", "float16"):
                row = []
                for form in (torch.contiguous_format, torch.channels_last):
                    dtype = torch.float16 if name == "float16" else torch.float32
                    inputs = channels[i - 1] if up else count
                    side = size // 2 if up else size
                    x = torch.randn(batch, inputs, side, side, device=device, dtype=dtype).to(memory_format=form)
                    shape = (inputs, count, 3, 3) if up else (count, inputs, 3, 3)
                    weight = torch.randn(shape, device=device, dtype=dtype).to(memory_format=form)
                    with tf32(name == "TF32"):
                        run = lambda x=x, w=weight, up=up: (  # noqa: E731
                            functional.conv_transpose2d(x, w, stride=2) if up else functional.conv2d(x, w, padding=1)
                        )
                        row.append(statistics.median([milliseconds(run) for _ in range(rounds + 1)][1:]))
                print(f"| {size} | {up} | {name} | {row[0]:.3f} | {row[1]:.3f} |", flush=True)
        if size >= largest:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="largest resolution")
    parser.add_argument("--batch", type=int, default=8 if CUDA else 1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--convolutions", action="store_true", help="time the convolutions in both memory formats")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False  # for the blur of the reference
    with torch.inference_mode():
        if options.convolutions:
            if not CUDA:
                raise SystemExit("The times of convolutions need a GPU.")
            convolutions(options.size, options.batch, options.rounds)
            return
        rate = memory_rate() if CUDA else 0.0
        print(
            "| layer | largest difference / largest value | kernel, ms | PyTorch, ms | ratio | of the memory's rate |"
        )
        print("|---|---|---|---|---|---|")
        good = [check(shape, options.batch, options.rounds, rate) for shape in shapes(options.size)]
    print(f"{sum(good)} of {len(good)} layers equal PyTorch's result")
    if not all(good):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
