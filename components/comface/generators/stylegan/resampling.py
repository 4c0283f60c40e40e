"""Up- and downsampling with a FIR filter in plain PyTorch: insert zeros, pad, convolve, keep every n-th sample.

The zeros are neither stored nor multiplied: each phase of an upsampled image is a convolution of the small image with
every n-th tap. The result has the memory format of the input; on a CPU channels-last is several times as fast.

Legend: N images, C channels, H rows, W columns; a filter is (K,) for both axes one after the other, or (K,K).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from comface.generators.stylegan.equalized import leaky_relu

CHANNELS = 16
"""Channels per chunk, or a multiple: with fewer, a channels-last image is copied in very small pieces; with many more,
the filter's rows exceed the cache and take half as long again."""
FEWEST_ROWS = 16
"""Minimum rows of the result per chunk: neighbouring chunks overlap by the filter's length, which is computed twice."""


def upsample(
    x_NCHW: Tensor, taps: Tensor, factor: int, before: int, after: int, rows: tuple[int, int] | None = None
) -> Tensor:
    """Insert zeros between the samples (length times `factor`), pad by `before` and `after` on each axis (negative:
    crop), convolve with `taps`, and multiply by factor^2, which preserves the mean. `rows`: compute only these rows of
    the result."""
    skipped = taps.shape[-1] - 1 - before  # samples of the full convolution
    height, width = (length * factor + after - skipped for length in x_NCHW.shape[2:])
    top, bottom = rows or (0, height)
    # The input rows: taps.shape[-1] // factor rows of x above the first row, up to the last row.
    least = max(0, (top + skipped - taps.shape[-1]) // factor)
    x_NCHW = x_NCHW[:, :, least : max(least + 1, (bottom + skipped) // factor + 1)]
    above, height = top + skipped - least * factor, bottom - top
    if taps.ndim == 1:
        # Columns first: rows are copied in long runs, columns only in runs of the channels.
        x_NCHW = _spread(x_NCHW, taps[None, :] * factor, (1, factor), (0, skipped), (x_NCHW.shape[2], width))
        return _spread(x_NCHW, taps[:, None] * factor, (factor, 1), (above, 0), (height, width))
    return _spread(x_NCHW, taps * factor**2, (factor, factor), (above, skipped), (height, width))


def downsample(x_NCHW: Tensor, taps: Tensor, factor: int, padding: int = 0, bias_C: Tensor | None = None) -> Tensor:
    """Pad on all sides, convolve with `taps` (full overlap only), and keep every `factor`-th sample."""
    if taps.ndim == 1:
        x_NCHW = _gather(x_NCHW, taps[:, None], (factor, 1), (padding, 0))
        return _gather(x_NCHW, taps[None, :], (1, factor), (0, padding), bias_C)
    return _gather(x_NCHW, taps, (factor, factor), (padding, padding), bias_C)


@dataclass(frozen=True)
class Filters:
    """StyleGAN3's alias-free non-linearity: upsample, leaky ReLU times `gain`, clamp, downsample."""

    up_taps: Tensor
    down_taps: Tensor
    up: int
    down: int
    padding: tuple[int, int]
    """Samples before and after the upsampled image on each axis (negative: cropped)."""
    gain: float
    clamp: float | None

    def wide(self, x_NCHW: Tensor) -> tuple[int, int]:
        """Height and width of the upsampled image."""
        height, width = x_NCHW.shape[2:]
        more = sum(self.padding) - self.up_taps.shape[-1] + 1
        return height * self.up + more, width * self.up + more

    def size(self, x_NCHW: Tensor) -> tuple[int, int]:
        """Height and width of the result."""
        height, width = ((length - self.down_taps.shape[-1]) // self.down + 1 for length in self.wide(x_NCHW))
        return height, width


def filtered_leaky_relu(x_NCHW: Tensor, filters: Filters, at_once_bytes: int) -> Tensor:
    """The filters on x, a few channels and rows at a time, so that the large intermediate result has about
    `at_once_bytes`. fused_filter.py is the same in one kernel."""
    up, down, down_taps, clamp = filters.up, filters.down, filters.down_taps, filters.clamp
    # A gain commutes with a leaky ReLU; a separable filter is applied twice.
    up_taps = filters.up_taps * filters.gain ** (1 / 2 if filters.up_taps.ndim == 1 else 1)
    height, width = filters.wide(x_NCHW)
    reach, channel_bytes = down_taps.shape[-1], len(x_NCHW) * width * x_NCHW.element_size()
    y_NCHW = _empty_like(x_NCHW, filters.size(x_NCHW))
    channels = max(CHANNELS, at_once_bytes // (channel_bytes * height) // CHANNELS * CHANNELS)
    rows = max(FEWEST_ROWS, at_once_bytes // (channel_bytes * min(channels, x_NCHW.shape[1])) // down)
    for few_NCHW, into_NCHW in zip(x_NCHW.split(channels, 1), y_NCHW.split(channels, 1), strict=True):
        few_NCHW = few_NCHW.contiguous(memory_format=_format(x_NCHW))
        for top in range(0, y_NCHW.shape[2], rows):
            bottom = min(y_NCHW.shape[2], top + rows)
            window = top * down, (bottom - 1) * down + reach
            wide_NCHW = leaky_relu(upsample(few_NCHW, up_taps, up, *filters.padding, window), clamp)
            into_NCHW[:, :, top:bottom] = downsample(wide_NCHW, down_taps, down)
    return y_NCHW


def _spread(
    x_NCHW: Tensor, kernel: Tensor, factors: tuple[int, int], skipped: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """`size` samples of the full convolution of `kernel` with x and zeros between x's samples, after skipped ones."""
    y_NCHW = _empty_like(x_NCHW, size)
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
    """Along one axis, for every `factor`-th sample of the full convolution from `sample` on: (first tap, padding for
    `outputs` samples, their start in the padded convolution)."""
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


def _empty_like(x_NCHW: Tensor, size: tuple[int, ...]) -> Tensor:
    shape = (*x_NCHW.shape[:2], *size)
    return torch.empty(shape, dtype=x_NCHW.dtype, device=x_NCHW.device, memory_format=_format(x_NCHW))


def _format(x_NCHW: Tensor) -> torch.memory_format:
    last = x_NCHW.shape[1] > 1 and x_NCHW.stride(1) == 1
    return torch.channels_last if last else torch.contiguous_format
