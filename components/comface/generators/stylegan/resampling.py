"""Up- and downsampling with a FIR filter, in plain PyTorch: zeros between the samples, pad, convolve, keep every n-th.

The zeros are neither stored nor multiplied: each phase of an upsampled picture is a convolution of the small one with
every n-th tap. A result has the memory format of its input; on a CPU channels-last is several times as fast.

Legend: N images, C channels, H rows, W columns; a filter is (K,) for both axes in turn, or (K,K).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from comface.generators.stylegan.equalized import LEAK

FEWEST_CHANNELS = 16
"""Taken together at least: with fewer, a channels-last picture is copied in crumbs."""


def upsample(x_NCHW: Tensor, taps: Tensor, factor: int, before: int, after: int) -> Tensor:
    """Zeros between the samples (length times `factor`), padded by `before` and `after` (negative: cropped) on either
    axis, convolved with `taps`, times factor^2, so that the mean is kept."""
    skipped = taps.shape[-1] - 1 - before  # samples of the full convolution
    height, width = (length * factor + after - skipped for length in x_NCHW.shape[2:])
    if taps.ndim == 1:
        x_NCHW = _spread(x_NCHW, taps[:, None] * factor, (factor, 1), (skipped, 0), (height, x_NCHW.shape[3]))
        return _spread(x_NCHW, taps[None, :] * factor, (1, factor), (0, skipped), (height, width))
    return _spread(x_NCHW, taps * factor**2, (factor, factor), (skipped, skipped), (height, width))


def downsample(x_NCHW: Tensor, taps: Tensor, factor: int, padding: int = 0, bias_C: Tensor | None = None) -> Tensor:
    """Padded on all sides, convolved with `taps` where they overlap fully, every `factor`-th sample kept."""
    if taps.ndim == 1:
        x_NCHW = _gather(x_NCHW, taps[:, None], (factor, 1), (padding, 0))
        return _gather(x_NCHW, taps[None, :], (1, factor), (0, padding), bias_C)
    return _gather(x_NCHW, taps, (factor, factor), (padding, padding), bias_C)


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
    so that the large intermediate stays below `at_once_bytes` where that leaves FEWEST_CHANNELS of them."""
    up_taps = up_taps * gain ** (1 / 2 if up_taps.ndim == 1 else 1)  # a gain passes through a leaky ReLU
    per_channel = len(x_NCHW) * (x_NCHW.shape[2] * up) * (x_NCHW.shape[3] * up) * x_NCHW.element_size()
    at_once = max(FEWEST_CHANNELS, at_once_bytes // max(1, per_channel))
    pieces = []
    for piece_NCHW in x_NCHW.tensor_split(-(-x_NCHW.shape[1] // at_once), 1):
        piece_NCHW = piece_NCHW.contiguous(memory_format=_format(x_NCHW))
        wide_NCHW = functional.leaky_relu_(upsample(piece_NCHW, up_taps, up, *padding), LEAK)
        if clamp is not None:
            wide_NCHW.clamp_(-clamp, clamp)
        pieces.append(downsample(wide_NCHW, down_taps, down))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


def _spread(
    x_NCHW: Tensor, kernel: Tensor, factors: tuple[int, int], skipped: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """The full convolution of `kernel` with x, zeros between its samples: `size` of it, after what is skipped."""
    y_NCHW = torch.empty(
        (*x_NCHW.shape[:2], *size), dtype=x_NCHW.dtype, device=x_NCHW.device, memory_format=_format(x_NCHW)
    )
    for top in range(factors[0]):
        for left in range(factors[1]):
            part_NCHW = y_NCHW[:, :, top :: factors[0], left :: factors[1]]
            height, width = part_NCHW.shape[2:]
            row, high, y = _phase(top + skipped[0], factors[0], kernel.shape[0], x_NCHW.shape[2], height)
            column, wide, x = _phase(left + skipped[1], factors[1], kernel.shape[1], x_NCHW.shape[3], width)
            taps = kernel[row :: factors[0], column :: factors[1]]
            found_NCHW = _gather(x_NCHW, taps, (1, 1), (high, wide))
            part_NCHW.copy_(found_NCHW[:, :, y : y + height, x : x + width])
    return y_NCHW


def _phase(sample: int, factor: int, taps: int, inputs: int, outputs: int) -> tuple[int, int, int]:
    """Along one axis, for every `factor`-th sample of the full convolution from `sample` on: the first of their taps,
    the padding that `outputs` of them need, and where they begin in the padded convolution."""
    start, first_tap = divmod(sample, factor)
    reach = len(range(first_tap, taps, factor)) - 1
    padding = max(0, reach - start, start + outputs - inputs)
    return first_tap, padding, start + padding - reach


def _gather(
    x_NCHW: Tensor,
    kernel: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    bias_C: Tensor | None = None,
) -> Tensor:
    channels = x_NCHW.shape[1]
    weight = kernel.flip(0, 1)[None, None].expand(channels, 1, -1, -1)
    return functional.conv2d(x_NCHW, weight, bias_C, stride=stride, padding=padding, groups=channels)


def _format(x_NCHW: Tensor) -> torch.memory_format:
    last = x_NCHW.shape[1] > 1 and x_NCHW.stride(1) == 1
    return torch.channels_last if last else torch.contiguous_format
