"""The end of a layer of StyleGAN and StyleGAN2 as Triton kernels: one pass over the image instead of up to eight.

In: the result of a convolution, on CUDA (or on a CPU with TRITON_INTERPRET=1), float32 or float16, in any memory
format. Out: as `epilogue.py` defines it; sums are in float32. Forward only.

A program makes a tile of BH x BW pixels and BC channels. With channels-last the channels of a tile are neighbours in
memory, otherwise its columns are: the tile's sides follow the strides.

Legend: N images, C channels, H rows, W columns, K taps per axis; P pixels of a tile.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from comface.generators.stylegan.equalized import EPS, LayerEnd

LEAK = tl.constexpr(0.2)
ADD = tl.standard._sum_combine  # tl.sum itself runs in the interpreter only if that was on when triton was imported
WARPS = 8
"""Per tile of 2,048 values: with four taps, a thread needs 64 registers (with 4 warps 104, and fewer tiles at once)."""
CHUNKS = 64
"""Maximum number of partial means per image and channel; one program merges them."""


@triton.jit
def _activated(
    x, taps, scale, bias, noise, strength, limit, row_P, column_P, channel_C, has_C,
    C, HI, WI, W, sc, sh, sw, st, K: tl.constexpr, CLAMPED: tl.constexpr,
):  # fmt: skip
    """clamp(leaky ReLU(FIR(x) scale + bias + noise strength)), (P,C) float32. `x`, `scale`: those of this image."""
    if K == 1:
        inside_P = (row_P < HI) & (column_P < WI)
        at = row_P[:, None] * sh + column_P[:, None] * sw + channel_C[None, :] * sc
        value = tl.load(x + at, mask=inside_P[:, None] & has_C[None, :], other=0.0).to(tl.float32)
    else:
        value = tl.full([row_P.shape[0], channel_C.shape[0]], 0.0, tl.float32)
        for i in range(K):  # not unrolled: all loads at once would take all registers
            for j in tl.static_range(K):
                r_P, c_P = row_P + (i - 1), column_P + (j - 1)
                inside_P = (r_P >= 0) & (r_P < HI) & (c_P >= 0) & (c_P < WI)
                at = r_P[:, None] * sh + c_P[:, None] * sw + channel_C[None, :] * sc
                found = tl.load(x + at, mask=inside_P[:, None] & has_C[None, :], other=0.0).to(tl.float32)
                tap_C = tl.load(taps + channel_C * st + (i * K + j), mask=has_C, other=0.0)
                value += found * tap_C[None, :]
    if scale is not None:
        value = value * tl.load(scale + channel_C, mask=has_C, other=0.0)[None, :]
    value += tl.load(bias + channel_C, mask=has_C, other=0.0)[None, :]
    made_P = (row_P < HI - K // 4) & (column_P < W)  # four taps make one row less
    noise_P = tl.load(noise + row_P * W + column_P, mask=made_P, other=0.0)
    value += noise_P[:, None] * tl.load(strength + channel_C, mask=has_C, other=0.0)[None, :]
    value = tl.where(value > 0, value, value * LEAK)
    if CLAMPED:
        value = tl.minimum(tl.maximum(value, -limit), limit)
    return value


@triton.jit
def _finish(
    x, y, taps, scale, bias, noise, strength, centre, gain, shift, limit,
    C, HI, WI, H, W, sxn, sxc, sxh, sxw, syn, syc, syh, syw, st,
    K: tl.constexpr, CLAMPED: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y = (activated - centre) gain + shift, each per image and channel and each optional."""
    n = tl.program_id(2).to(tl.int64)
    across = (W + BW - 1) // BW
    pixel_P, channel_C = tl.arange(0, BH * BW), tl.program_id(1) * BC + tl.arange(0, BC)
    row_P = tl.program_id(0) // across * BH + pixel_P // BW
    column_P = tl.program_id(0) % across * BW + pixel_P % BW
    has_C = channel_C < C
    of_image = scale + n * C if scale is not None else scale
    value = _activated(
        x + n * sxn, taps, of_image, bias, noise, strength, limit, row_P, column_P, channel_C, has_C,
        C, HI, WI, W, sxc, sxh, sxw, st, K, CLAMPED,
    )  # fmt: skip
    if centre is not None:
        value = value - tl.load(centre + n * C + channel_C, mask=has_C, other=0.0)[None, :]
    if gain is not None:
        value = value * tl.load(gain + n * C + channel_C, mask=has_C, other=0.0)[None, :]
    if shift is not None:
        value = value + tl.load(shift + n * C + channel_C, mask=has_C, other=0.0)[None, :]
    at = row_P[:, None] * syh + column_P[:, None] * syw + channel_C[None, :] * syc
    inside_P = (row_P < H) & (column_P < W)
    tl.store(y + n * syn + at, value.to(y.dtype.element_ty), mask=inside_P[:, None] & has_C[None, :])


@triton.jit
def _moments(
    x, counts, means, squares, taps, bias, noise, strength,
    C, HI, WI, H, W, sxn, sxc, sxh, sxw, st, tiles,
    K: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Count, mean and sum of squared deviations of the activated values, per image, chunk of `tiles` tiles and channel.
    Tiles are merged as Chan et al. (1979) merge samples, because a sum of squares would lose the variance."""
    n, chunk = tl.program_id(2).to(tl.int64), tl.program_id(0)
    across, every = (W + BW - 1) // BW, (W + BW - 1) // BW * ((H + BH - 1) // BH)
    pixel_P, channel_C = tl.arange(0, BH * BW), tl.program_id(1) * BC + tl.arange(0, BC)
    has_C = channel_C < C
    count = 0.0
    mean_C, square_C = tl.full([BC], 0.0, tl.float32), tl.full([BC], 0.0, tl.float32)
    for tile in range(chunk * tiles, tl.minimum(chunk * tiles + tiles, every)):
        row_P = tile // across * BH + pixel_P // BW
        column_P = tile % across * BW + pixel_P % BW
        inside = ((row_P < H) & (column_P < W))[:, None]
        value = _activated(
            x + n * sxn, taps, None, bias, noise, strength, 0.0, row_P, column_P, channel_C, has_C,
            C, HI, WI, W, sxc, sxh, sxw, st, K, False,
        )  # fmt: skip
        more = tl.reduce(inside.to(tl.float32), None, ADD)
        own_C = tl.reduce(tl.where(inside, value, 0.0), 0, ADD) / more
        apart = tl.where(inside, value - own_C[None, :], 0.0)
        change_C = own_C - mean_C
        mean_C += change_C * (more / (count + more))
        square_C += tl.reduce(apart * apart, 0, ADD) + change_C * change_C * (count * more / (count + more))
        count += more
    at = (n * tl.num_programs(0) + chunk) * C + channel_C
    tl.store(counts + at, tl.full([BC], 0.0, tl.float32) + count, mask=has_C)
    tl.store(means + at, mean_C, mask=has_C)
    tl.store(squares + at, square_C, mask=has_C)


@triton.jit
def _normalisation(
    counts, means, squares, style, centre, gain, C, pixels, chunks, EPS: tl.constexpr, MOST: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """Merge the chunks: centre = mean, gain = (style + 1) / sqrt(variance + EPS), per image and channel."""
    n = tl.program_id(1).to(tl.int64)
    channel_C, chunk = tl.program_id(0) * BC + tl.arange(0, BC), tl.arange(0, MOST)
    has_C = channel_C < C
    at = (n * chunks + chunk[:, None]) * C + channel_C[None, :]
    there = (chunk < chunks)[:, None] & has_C[None, :]
    count = tl.load(counts + at, mask=there, other=0.0)
    mean = tl.load(means + at, mask=there, other=0.0)
    mean_C = tl.reduce(count * mean, 0, ADD) / pixels
    apart = mean - mean_C[None, :]
    square_C = tl.reduce(tl.load(squares + at, mask=there, other=0.0) + count * apart * apart, 0, ADD)
    style_C = tl.load(style + n * C + channel_C, mask=has_C, other=0.0)
    tl.store(centre + n * C + channel_C, mean_C, mask=has_C)
    tl.store(gain + n * C + channel_C, (style_C + 1) / tl.sqrt_rn(square_C / pixels + EPS), mask=has_C)


@triton.jit
def _to_rgb(
    x, weight, bias, below, taps, y, limit, C, H, W, sxn, sxc, sxh, sxw,
    CLAMPED: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y (N,3,H,W) = clamp(x . weight (N,3,C) + bias) + `below` (N,3,H/2,W/2), upsampled with 4 x 4 `taps`."""
    n = tl.program_id(1).to(tl.int64)
    pixel_P, across = tl.arange(0, BH * BW), (W + BW - 1) // BW
    row_P = tl.program_id(0) // across * BH + pixel_P // BW
    column_P = tl.program_id(0) % across * BW + pixel_P % BW
    inside_P = (row_P < H) & (column_P < W)
    red_P, green_P = tl.full([BH * BW], 0.0, tl.float32), tl.full([BH * BW], 0.0, tl.float32)
    blue_P = tl.full([BH * BW], 0.0, tl.float32)
    at_P = row_P * sxh + column_P * sxw
    for first in range(0, C, BC):
        channel_C = first + tl.arange(0, BC)
        has_C = channel_C < C
        at = at_P[:, None] + channel_C[None, :] * sxc
        value = tl.load(x + n * sxn + at, mask=inside_P[:, None] & has_C[None, :], other=0.0).to(tl.float32)
        own = weight + n * 3 * C + channel_C
        red_P += tl.reduce(value * tl.load(own, mask=has_C, other=0.0)[None, :], 1, ADD)
        green_P += tl.reduce(value * tl.load(own + C, mask=has_C, other=0.0)[None, :], 1, ADD)
        blue_P += tl.reduce(value * tl.load(own + 2 * C, mask=has_C, other=0.0)[None, :], 1, ADD)
    red_P, green_P, blue_P = red_P + tl.load(bias), green_P + tl.load(bias + 1), blue_P + tl.load(bias + 2)
    if CLAMPED:
        red_P = tl.minimum(tl.maximum(red_P, -limit), limit)
        green_P = tl.minimum(tl.maximum(green_P, -limit), limit)
        blue_P = tl.minimum(tl.maximum(blue_P, -limit), limit)
    if below is not None:
        # Of the 4 x 4 taps, 2 x 2 meet samples; the others meet inserted zeros.
        height, width = H // 2, W // 2
        for i in tl.static_range(2):
            for j in tl.static_range(2):
                down_P, right_P = row_P % 2 + 2 * i, column_P % 2 + 2 * j
                r_P, c_P = (row_P + down_P) // 2 - 1, (column_P + right_P) // 2 - 1
                ok_P = inside_P & (r_P >= 0) & (r_P < height) & (c_P >= 0) & (c_P < width)
                tap_P = 4.0 * tl.load(taps + (3 - down_P) * 4 + (3 - right_P))
                from_P = below + n * 3 * height * width + r_P * width + c_P
                red_P += tap_P * tl.load(from_P, mask=ok_P, other=0.0)
                green_P += tap_P * tl.load(from_P + height * width, mask=ok_P, other=0.0)
                blue_P += tap_P * tl.load(from_P + 2 * height * width, mask=ok_P, other=0.0)
    into_P = y + n * 3 * H * W + row_P * W + column_P
    tl.store(into_P, red_P, mask=inside_P)
    tl.store(into_P + H * W, green_P, mask=inside_P)
    tl.store(into_P + 2 * H * W, blue_P, mask=inside_P)


def activated(x_NCHW: Tensor, end: LayerEnd) -> Tensor:
    """The end of a layer of StyleGAN2."""
    return _finished(x_NCHW, end, None, None, None)


def styled(x_NCHW: Tensor, end: LayerEnd, scale_NC: Tensor, shift_NC: Tensor) -> Tensor:
    """The end of a layer of StyleGAN. One pass reads x for mean and variance, another computes the activations again
    and writes them normalised: three transfers instead of the four of storing them between."""
    size, taps = _size(x_NCHW, end), _taps(end)
    high, wide, channels = _tile(x_NCHW)
    images, count = x_NCHW.shape[:2]
    tiles = triton.cdiv(size[0], high) * triton.cdiv(size[1], wide)
    each = triton.cdiv(tiles, CHUNKS)
    chunks = triton.cdiv(tiles, each)
    parts = x_NCHW.new_empty((3, images, chunks, count), dtype=torch.float32)
    centre_NC, gain_NC = x_NCHW.new_empty((2, images, count), dtype=torch.float32)
    _moments[chunks, triton.cdiv(count, channels), images](
        x_NCHW, *parts, end.taps, end.bias_C, end.noise_HW, end.strength_C,
        count, *x_NCHW.shape[2:], *size, *x_NCHW.stride(), taps[1], each,
        K=taps[0], BH=high, BW=wide, BC=channels, num_warps=WARPS,
    )  # fmt: skip
    _normalisation[triton.cdiv(count, 32), images](
        *parts, scale_NC.contiguous(), centre_NC, gain_NC, count, size[0] * size[1], chunks,
        EPS=EPS, MOST=CHUNKS, BC=32,
    )  # fmt: skip
    return _finished(x_NCHW, end, centre_NC, gain_NC, shift_NC.contiguous())


def to_rgb(
    x_NCHW: Tensor, weight_N3C: Tensor, bias_3: Tensor, clamp: float | None, below: Tensor | None, taps: Tensor
) -> Tensor:
    """The image of a layer, and the upsampled one of the resolution below: (N,3,H,W) float32."""
    images, count, height, width = x_NCHW.shape
    high, wide, channels = (4, 8, 32) if x_NCHW.stride(1) == 1 else (4, 32, 4)
    y_N3HW = x_NCHW.new_empty((images, 3, height, width), dtype=torch.float32)
    _to_rgb[triton.cdiv(height, high) * triton.cdiv(width, wide), images](
        x_NCHW, weight_N3C.contiguous(), bias_3, below, taps.contiguous(), y_N3HW, clamp or 0.0,
        count, height, width, *x_NCHW.stride(),
        CLAMPED=clamp is not None, BH=high, BW=wide, BC=channels,
    )  # fmt: skip
    return y_N3HW


def _finished(
    x_NCHW: Tensor, end: LayerEnd, centre_NC: Tensor | None, gain_NC: Tensor | None, shift_NC: Tensor | None
) -> Tensor:
    size, taps = _size(x_NCHW, end), _taps(end)
    high, wide, channels = _tile(x_NCHW)
    images, count = x_NCHW.shape[:2]
    last = torch.channels_last if x_NCHW.stride(1) == 1 else torch.contiguous_format
    y_NCHW = torch.empty((images, count, *size), dtype=x_NCHW.dtype, device=x_NCHW.device, memory_format=last)
    grid = triton.cdiv(size[0], high) * triton.cdiv(size[1], wide), triton.cdiv(count, channels), images
    _finish[grid](
        x_NCHW, y_NCHW, end.taps, end.scales_NC, end.bias_C, end.noise_HW, end.strength_C,
        centre_NC, gain_NC, shift_NC, end.clamp or 0.0,
        count, *x_NCHW.shape[2:], *size, *x_NCHW.stride(), *y_NCHW.stride(), taps[1],
        K=taps[0], CLAMPED=end.clamp is not None, BH=high, BW=wide, BC=channels, num_warps=WARPS,
    )  # fmt: skip
    return y_NCHW


def _size(x_NCHW: Tensor, end: LayerEnd) -> tuple[int, int]:
    lost = 0 if end.taps is None else end.taps.shape[-1] - 3
    return x_NCHW.shape[2] - lost, x_NCHW.shape[3] - lost


def _taps(end: LayerEnd) -> tuple[int, int]:
    """Taps per axis, and the distance of one channel's taps from the next one's."""
    if end.taps is None:
        return 1, 0
    return end.taps.shape[-1], end.taps.stride(0) if end.taps.ndim == 3 else 0


def _tile(x_NCHW: Tensor) -> tuple[int, int, int]:
    """Rows, columns and channels of a tile: 2,048 values."""
    if x_NCHW.stride(1) != 1:
        return 8, 256, 1
    channels = min(32, triton.next_power_of_2(x_NCHW.shape[1]))
    return 256 // channels, 8, channels
