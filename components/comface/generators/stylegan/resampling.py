"""Up- and downsampling with a FIR filter, in plain PyTorch: zeros between the samples, pad, convolve, keep every n-th.

The zeros are never stored: upsampling is a transposed convolution of each channel, downsampling a strided one.

Legend: N images, C channels, H rows, W columns; a filter is (K,) for both axes in turn, or (K,K).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from comface.generators.stylegan.equalized import LEAK


def upsample(x_NCHW: Tensor, taps: Tensor, factor: int, before: int, after: int) -> Tensor:
    """Zeros between the samples (length times `factor`), padded by `before` and `after` (negative: cropped) on either
    axis, convolved with `taps`, times factor^2, so that the mean is kept."""
    kernel_size = taps.shape[-1]
    # Sample s of the full convolution is wanted from `first` on, and `short` of them less at the end.
    first, short = kernel_size - 1 - before, kernel_size - factor - after
    crop = max(0, min(first, short))
    if taps.ndim == 1:
        scaled = taps * factor
        x_NCHW = _spread(x_NCHW, scaled[None, :], (1, factor), (0, crop))
        x_NCHW = _spread(x_NCHW, scaled[:, None], (factor, 1), (crop, 0))
    else:
        x_NCHW = _spread(x_NCHW, taps * factor**2, (factor, factor), (crop, crop))
    left, right = crop - first, crop - short
    return functional.pad(x_NCHW, (left, right, left, right)) if left or right else x_NCHW


def downsample(x_NCHW: Tensor, taps: Tensor, factor: int) -> Tensor:
    """Convolved with `taps` where they overlap fully, every `factor`-th sample kept."""
    flipped = taps.flip(tuple(range(taps.ndim)))
    if taps.ndim == 1:
        x_NCHW = _gather(x_NCHW, flipped[None, :], (1, factor))
        return _gather(x_NCHW, flipped[:, None], (factor, 1))
    return _gather(x_NCHW, flipped, (factor, factor))


def filtered_leaky_relu(
    x_NCHW: Tensor,
    up_taps: Tensor,
    down_taps: Tensor,
    up: int,
    down: int,
    padding: tuple[int, int],
    gain: float,
    clamp: float | None,
    at_once_bytes: int,
) -> Tensor:
    """Upsample, leaky ReLU, downsample: StyleGAN3's non-linearity without aliases. Channels are taken a few at a time,
    so that the large intermediate stays below `at_once_bytes`."""
    per_channel = len(x_NCHW) * (x_NCHW.shape[2] * up) * (x_NCHW.shape[3] * up) * x_NCHW.element_size()
    at_once = max(1, at_once_bytes // max(1, per_channel))
    pieces = []
    for piece_NCHW in x_NCHW.split(at_once, 1):
        wide_NCHW = upsample(piece_NCHW, up_taps, up, *padding)
        wide_NCHW = functional.leaky_relu_(wide_NCHW, LEAK).mul_(gain)
        if clamp is not None:
            wide_NCHW.clamp_(-clamp, clamp)
        pieces.append(downsample(wide_NCHW, down_taps, down))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


def _spread(x_NCHW: Tensor, kernel: Tensor, stride: tuple[int, int], crop: tuple[int, int]) -> Tensor:
    channels = x_NCHW.shape[1]
    weight = kernel[None, None].expand(channels, 1, -1, -1)
    return functional.conv_transpose2d(x_NCHW, weight, stride=stride, padding=crop, groups=channels)


def _gather(x_NCHW: Tensor, kernel: Tensor, stride: tuple[int, int]) -> Tensor:
    channels = x_NCHW.shape[1]
    weight = kernel[None, None].expand(channels, 1, -1, -1)
    return functional.conv2d(x_NCHW, weight, stride=stride, groups=channels)
