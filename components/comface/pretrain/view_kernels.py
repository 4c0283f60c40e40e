"""All views of a batch in one Triton kernel: crop, interpolation, light, colours, from stored bytes to the network's
input. The same arithmetic as augment.py, which is the reference.

In: the images of x and then of y (I,H,H,3) uint8 and the table of draws.py, on CUDA (or on a CPU with
TRITON_INTERPRET=1). One program makes one view. It samples the image twice: first for the mean luminance, to which
contrast refers, then for the output; the image is in the cache by then.

Legend: I images, V views, S side length of a view, P pixels of a tile.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from comface.pretrain.draws import BRIGHTNESS, CAST, CONTRAST, GAMMA, MATRIX, SLOPE, THETA, WIDTH

ADD = tl.standard._sum_combine  # tl.sum itself runs in the interpreter only if that was on when triton was imported
TILE_PIXELS = 1024
RED, GREEN, BLUE = tl.constexpr(0.299), tl.constexpr(0.587), tl.constexpr(0.114)
"""Weights of the luminance, as in augment.py."""
_THETA, _MATRIX, _SLOPE = tl.constexpr(THETA.start), tl.constexpr(MATRIX.start), tl.constexpr(SLOPE.start)
_CAST, _GAMMA = tl.constexpr(CAST.start), tl.constexpr(GAMMA)
_CONTRAST, _BRIGHTNESS, _WIDTH = tl.constexpr(CONTRAST), tl.constexpr(BRIGHTNESS), tl.constexpr(WIDTH)


@triton.jit
def _reflected(at, H):
    """Coordinates mirrored at the edges of the border pixels, within [0, H - 1] (grid_sample: reflection)."""
    at = tl.abs(at + 0.5)
    at = at - 2 * H * tl.floor(at / (2 * H))
    at = tl.minimum(at, 2 * H - at) - 0.5
    return tl.minimum(tl.maximum(at, 0.0), H - 1.0)


@triton.jit
def _channel(image, corner_P, right_P, down_P, u_P, v_P, inside_P):
    """One channel, interpolated between four pixels, in [-1, 1]."""
    a = tl.load(image + corner_P, mask=inside_P, other=0).to(tl.float32)
    b = tl.load(image + corner_P + right_P, mask=inside_P, other=0).to(tl.float32)
    c = tl.load(image + corner_P + down_P, mask=inside_P, other=0).to(tl.float32)
    d = tl.load(image + corner_P + down_P + right_P, mask=inside_P, other=0).to(tl.float32)
    top, bottom = a + (b - a) * u_P, c + (d - c) * u_P
    return (top + (bottom - top) * v_P) / 127.5 - 1


@triton.jit
def _lit(value_P, shade_P, gamma, cast):
    unit_P = tl.minimum(tl.maximum((value_P + 1) / 2, 1e-4), 1.0)
    unit_P = tl.exp(gamma * tl.log(unit_P)) * shade_P * cast
    return tl.minimum(tl.maximum(unit_P, 0.0), 1.0) * 2 - 1


@triton.jit
def _sampled(image, row, first, H, S, LIT: tl.constexpr, P: tl.constexpr):
    """Red, green and blue of the pixels from `first` on, (P,) each, and which of them exist."""
    pixel_P = first + tl.arange(0, P)
    inside_P = pixel_P < S * S
    r_P, c_P = (pixel_P // S).to(tl.float32), (pixel_P % S).to(tl.float32)
    x_P, y_P = (2 * c_P + 1) / S - 1, (2 * r_P + 1) / S - 1
    theta = row + _THETA
    u_P = tl.load(theta) * x_P + tl.load(theta + 1) * y_P + tl.load(theta + 2)
    v_P = tl.load(theta + 3) * x_P + tl.load(theta + 4) * y_P + tl.load(theta + 5)
    u_P, v_P = _reflected(((u_P + 1) * H - 1) / 2, H), _reflected(((v_P + 1) * H - 1) / 2, H)
    left_P, top_P = tl.floor(u_P), tl.floor(v_P)
    corner_P = (top_P.to(tl.int32) * H + left_P.to(tl.int32)) * 3
    right_P, down_P = tl.where(left_P + 1 < H, 3, 0), tl.where(top_P + 1 < H, 3 * H, 0)
    u_P, v_P = u_P - left_P, v_P - top_P
    red_P = _channel(image, corner_P, right_P, down_P, u_P, v_P, inside_P)
    green_P = _channel(image + 1, corner_P, right_P, down_P, u_P, v_P, inside_P)
    blue_P = _channel(image + 2, corner_P, right_P, down_P, u_P, v_P, inside_P)
    if LIT:
        across_P, along_P = 2 * c_P / (S - 1) - 1, 2 * r_P / (S - 1) - 1
        shade_P = 1 + tl.load(row + _SLOPE) * across_P + tl.load(row + _SLOPE + 1) * along_P
        shade_P, gamma = tl.maximum(shade_P, 0.1), tl.load(row + _GAMMA)
        red_P = _lit(red_P, shade_P, gamma, tl.load(row + _CAST))
        green_P = _lit(green_P, shade_P, gamma, tl.load(row + _CAST + 1))
        blue_P = _lit(blue_P, shade_P, gamma, tl.load(row + _CAST + 2))
    return red_P, green_P, blue_P, inside_P


@triton.jit
def _coloured(matrix, red_P, green_P, blue_P, mean, gain, pivot):
    """One channel after the colour matrix, contrast around the mean luminance and brightness."""
    value_P = tl.load(matrix) * (red_P - mean) + tl.load(matrix + 1) * (green_P - mean)
    value_P = (value_P + tl.load(matrix + 2) * (blue_P - mean)) * gain + mean
    return tl.minimum(tl.maximum((value_P + 1) * pivot - 1, -1.0), 1.0)


@triton.jit
def _view(images, source_V, table, out, H, S, LIT: tl.constexpr, P: tl.constexpr):
    view = tl.program_id(0).to(tl.int64)
    image = images + tl.load(source_V + view) * H * H * 3
    row, out = table + view * _WIDTH, out + view * S * S * 3
    sum_P = tl.full([P], 0.0, tl.float32)
    for first in range(0, S * S, P):
        red_P, green_P, blue_P, inside_P = _sampled(image, row, first, H, S, LIT, P)
        sum_P += tl.where(inside_P, RED * red_P + GREEN * green_P + BLUE * blue_P, 0.0)
    mean = tl.reduce(sum_P, 0, ADD) / (S * S)
    gain, pivot, matrix = tl.load(row + _CONTRAST), tl.load(row + _BRIGHTNESS), row + _MATRIX
    for first in range(0, S * S, P):
        red_P, green_P, blue_P, inside_P = _sampled(image, row, first, H, S, LIT, P)
        at_P = out + (first + tl.arange(0, P)) * 3
        red_P, green_P, blue_P = (
            _coloured(matrix, red_P, green_P, blue_P, mean, gain, pivot),
            _coloured(matrix + 3, red_P, green_P, blue_P, mean, gain, pivot),
            _coloured(matrix + 6, red_P, green_P, blue_P, mean, gain, pivot),
        )
        tl.store(at_P, red_P.to(out.dtype.element_ty), mask=inside_P)
        tl.store(at_P + 1, green_P.to(out.dtype.element_ty), mask=inside_P)
        tl.store(at_P + 2, blue_P.to(out.dtype.element_ty), mask=inside_P)


def all_views(
    images_IHWC: Tensor, source_V: Tensor, table_VC: Tensor, size_px: int, lit: bool, dtype: torch.dtype
) -> Tensor:
    """Return the views (V,3,S,S), channels last, in `dtype`. `source_V`: int64, the image of each view; all tensors are
    on one device."""
    count, side = table_VC.shape[0], images_IHWC.shape[1]
    out_VHWC = torch.empty(count, size_px, size_px, 3, dtype=dtype, device=images_IHWC.device)
    _view[(count,)](
        images_IHWC.contiguous(), source_V, table_VC.contiguous(), out_VHWC, side, size_px, lit, TILE_PIXELS
    )
    return out_VHWC.permute(0, 3, 1, 2)
