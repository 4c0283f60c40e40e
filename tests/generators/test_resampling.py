"""Resampling with a FIR filter against the definition: zeros between samples, padding, convolution, every n-th kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from comface.generators.stylegan.equalized import modulated
from comface.generators.stylegan.resampling import Filters, downsample, filtered_leaky_relu, upsample

FORMATS = (torch.contiguous_format, torch.channels_last)
CASES = [(1, 4, 1, 1), (2, 12, 9, 8), (4, 24, 21, 19), (2, 4, 2, 1), (2, 6, 9, 7), (4, 12, -2, 3), (2, 2, 0, 0)]
"""Factor, taps, padding before and after (negative: cropped)."""


def drawn(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.PCG64(5)).standard_normal(shape)).float()


def slow_upsample(x_HW: np.ndarray, taps: np.ndarray, factor: int, before: int, after: int) -> np.ndarray:
    wide = np.zeros([factor * length for length in x_HW.shape])
    wide[::factor, ::factor] = x_HW
    wide = np.pad(wide, [(max(before, 0), max(after, 0))] * 2)
    low, high = max(-before, 0), max(-after, 0)
    wide = wide[low : wide.shape[0] - high, low : wide.shape[1] - high]
    kernel = np.outer(taps, taps) if taps.ndim == 1 else taps
    return convolve2d(wide, kernel, "valid") * factor**2


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(("factor", "taps", "before", "after"), CASES)
def test_upsampling_is_zeros_padding_and_convolution(
    factor: int, taps: int, before: int, after: int, axes: int, memory_format: torch.memory_format
) -> None:
    x_NCHW, kernel = drawn(2, 3, 9, 11), drawn(*[taps] * axes)
    found = upsample(x_NCHW.contiguous(memory_format=memory_format), kernel, factor, before, after)
    wanted = [[slow_upsample(x.numpy(), kernel.numpy(), factor, before, after) for x in image] for image in x_NCHW]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5 * np.abs(wanted).max())
    assert found.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(("factor", "padding"), [(1, 1), (2, 0), (3, 2)])
def test_downsampling_keeps_every_nth_sample_of_a_convolution(
    factor: int, padding: int, axes: int, memory_format: torch.memory_format
) -> None:
    x_NCHW, kernel, bias_C = drawn(2, 3, 17, 19), drawn(*[6] * axes), drawn(3)
    found = downsample(x_NCHW.contiguous(memory_format=memory_format), kernel, factor, padding, bias_C)
    taps = np.outer(kernel, kernel) if axes == 1 else kernel.numpy()
    wanted = np.array(
        [
            [
                convolve2d(np.pad(x, padding), taps, "valid")[::factor, ::factor] + b
                for x, b in zip(image, bias_C.numpy(), strict=True)
            ]
            for image in x_NCHW.numpy()
        ]
    )
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_few_rows_at_a_time_give_what_all_of_them_give() -> None:
    x_NCHW, taps = drawn(1, 37, 12, 12).contiguous(memory_format=torch.channels_last), drawn(12)
    filters = Filters(taps, taps, 2, 2, (9, 8), 1.4, 5.0)
    whole, pieces = (filtered_leaky_relu(x_NCHW, filters, most) for most in (2**40, 1))
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-4)


def test_one_large_picture_and_a_batch_are_modulated_alike() -> None:
    """Factors in the weights on the one side, on the pictures on the other."""
    x_NCHW, weight, styles_NI, scales_NO, bias_O = (
        drawn(2, 4, 20, 20),
        drawn(5, 4, 3, 3),
        drawn(2, 4),
        drawn(2, 5),
        drawn(5),
    )
    together = modulated(x_NCHW, weight, styles_NI, scales_NO, bias_O, torch.nn.functional.conv2d)
    for n in range(2):
        row = slice(n, n + 1)
        alone = modulated(x_NCHW[row], weight, styles_NI[row], scales_NO[row], bias_O, torch.nn.functional.conv2d)
        torch.testing.assert_close(alone[0], together[n], rtol=0, atol=1e-4)
