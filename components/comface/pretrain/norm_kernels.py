"""BatchNorm with the addition and the ReLU that follow it, as Triton kernels for channels-last images in training.

In: an image tensor on CUDA (or on a CPU with TRITON_INTERPRET=1), float32 or bfloat16, channels last, seen as a matrix
of M = N * H * W rows and C channels. Sums are in float32. PyTorch needs a pass over the image for each of statistics,
normalisation, addition and ReLU; here the forward pass reads it twice and writes it once.

Legend: M rows, C channels, K chunks of rows, B rows of a tile; xhat = (x - mean) / std.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

ADD = tl.standard._sum_combine  # tl.sum itself runs in the interpreter only if that was on when triton was imported
TILE_ROWS, TILE_CHANNELS = 64, 64
PROGRAMS = 1024
"""Programs over which rows are divided: several for each of the 108 to 132 multiprocessors of an A100 or H100."""
MERGED_CHUNKS, MERGED_CHANNELS = 128, 16


class Saved(NamedTuple):
    """What the backward pass needs besides the images."""

    mean_C: Tensor
    scale_C: Tensor
    """1 / std"""


@triton.jit
def _moments(x, mean_KC, square_KC, M, C, rows, B: tl.constexpr, BC: tl.constexpr):
    """Mean and sum of squared deviations of each chunk of `rows` rows. Tiles are merged as Chan et al. (1979) merge
    samples, because a sum of squares would lose the variance."""
    chunk, channel_C = tl.program_id(0), tl.program_id(1) * BC + tl.arange(0, BC)
    has_C = channel_C < C
    begin, end = chunk * rows, tl.minimum(chunk * rows + rows, M)
    mean_C, square_C = tl.full([BC], 0.0, tl.float32), tl.full([BC], 0.0, tl.float32)
    for first in range(begin, end, B):
        row_B = first + tl.arange(0, B)
        inside = (row_B < end)[:, None] & has_C[None, :]
        value = tl.load(x + row_B[:, None].to(tl.int64) * C + channel_C[None, :], mask=inside, other=0.0)
        value = value.to(tl.float32)
        count, more = (first - begin).to(tl.float32), (tl.minimum(first + B, end) - first).to(tl.float32)
        own_C = tl.reduce(value, 0, ADD) / more
        apart = tl.where(inside, value - own_C[None, :], 0.0)
        change_C = own_C - mean_C
        mean_C += change_C * (more / (count + more))
        square_C += tl.reduce(apart * apart, 0, ADD) + change_C * change_C * (count * more / (count + more))
    tl.store(mean_KC + chunk * C + channel_C, mean_C, mask=has_C)
    tl.store(square_KC + chunk * C + channel_C, square_C, mask=has_C)


@triton.jit
def _merge_moments(
    mean_KC, square_KC, mean, scale, running_mean, running_var, M, C, K, rows, eps, momentum,
    BK: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Mean and 1 / std of all rows; update the running statistics (the variance unbiased)."""
    channel_C = tl.program_id(0) * BC + tl.arange(0, BC)
    has_C = channel_C < C
    total_C, square_C = tl.full([BC], 0.0, tl.float32), tl.full([BC], 0.0, tl.float32)
    for first in range(0, K, BK):
        chunk_K = first + tl.arange(0, BK)
        inside = (chunk_K < K)[:, None] & has_C[None, :]
        count_K = (tl.minimum(chunk_K * rows + rows, M) - chunk_K * rows).to(tl.float32)
        at = chunk_K[:, None] * C + channel_C[None, :]
        total_C += tl.reduce(
            tl.where(inside, tl.load(mean_KC + at, mask=inside, other=0.0) * count_K[:, None], 0.0), 0, ADD
        )
    mean_C = total_C / M
    for first in range(0, K, BK):
        chunk_K = first + tl.arange(0, BK)
        inside = (chunk_K < K)[:, None] & has_C[None, :]
        count_K = (tl.minimum(chunk_K * rows + rows, M) - chunk_K * rows).to(tl.float32)
        at = chunk_K[:, None] * C + channel_C[None, :]
        apart = tl.load(mean_KC + at, mask=inside, other=0.0) - mean_C[None, :]
        inner = tl.load(square_KC + at, mask=inside, other=0.0)
        square_C += tl.reduce(tl.where(inside, inner + apart * apart * count_K[:, None], 0.0), 0, ADD)
    tl.store(mean + channel_C, mean_C, mask=has_C)
    tl.store(scale + channel_C, 1 / tl.sqrt(square_C / M + eps), mask=has_C)
    old_C = tl.load(running_mean + channel_C, mask=has_C, other=0.0)
    tl.store(running_mean + channel_C, old_C + (mean_C - old_C) * momentum, mask=has_C)
    old_C = tl.load(running_var + channel_C, mask=has_C, other=0.0)
    tl.store(running_var + channel_C, old_C + (square_C / (M - 1) - old_C) * momentum, mask=has_C)


@triton.jit
def _normalise(
    x, residual, y, mean, scale, weight, bias, M, C, RELU: tl.constexpr, B: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """y = ReLU(xhat * weight + bias + residual), the residual and the ReLU each optional."""
    row_B, channel_C = tl.program_id(0) * B + tl.arange(0, B), tl.program_id(1) * BC + tl.arange(0, BC)
    has_C = channel_C < C
    inside = (row_B < M)[:, None] & has_C[None, :]
    at = row_B[:, None].to(tl.int64) * C + channel_C[None, :]
    mean_C = tl.load(mean + channel_C, mask=has_C, other=0.0)
    gain_C = tl.load(scale + channel_C, mask=has_C, other=0.0) * tl.load(weight + channel_C, mask=has_C, other=0.0)
    value = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - mean_C[None, :]) * gain_C[None, :]
    value += tl.load(bias + channel_C, mask=has_C, other=0.0)[None, :]
    if residual is not None:
        value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    if RELU:
        value = tl.where(value < 0, 0.0, value)  # NaN stays NaN, so the training notices it
    tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _gradient_sums(
    grad, x, y, mean, scale, sum_KC, dot_KC, M, C, rows, RELU: tl.constexpr, B: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Sums over each chunk of the gradient g behind the ReLU, and of g * xhat."""
    chunk, channel_C = tl.program_id(0), tl.program_id(1) * BC + tl.arange(0, BC)
    has_C = channel_C < C
    begin, end = chunk * rows, tl.minimum(chunk * rows + rows, M)
    mean_C = tl.load(mean + channel_C, mask=has_C, other=0.0)
    scale_C = tl.load(scale + channel_C, mask=has_C, other=0.0)
    sum_C, dot_C = tl.full([BC], 0.0, tl.float32), tl.full([BC], 0.0, tl.float32)
    for first in range(begin, end, B):
        row_B = first + tl.arange(0, B)
        inside = (row_B < end)[:, None] & has_C[None, :]
        at = row_B[:, None].to(tl.int64) * C + channel_C[None, :]
        g = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        if RELU:
            g = tl.where(tl.load(y + at, mask=inside, other=0.0) <= 0, 0.0, g)
        unit = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - mean_C[None, :]) * scale_C[None, :]
        sum_C += tl.reduce(g, 0, ADD)
        dot_C += tl.reduce(g * unit, 0, ADD)
    tl.store(sum_KC + chunk * C + channel_C, sum_C, mask=has_C)
    tl.store(dot_KC + chunk * C + channel_C, dot_C, mask=has_C)


@triton.jit
def _merge_sums(sum_KC, dot_KC, grad_bias, grad_weight, C, K, BK: tl.constexpr, BC: tl.constexpr):
    channel_C = tl.program_id(0) * BC + tl.arange(0, BC)
    has_C = channel_C < C
    sum_C, dot_C = tl.full([BC], 0.0, tl.float32), tl.full([BC], 0.0, tl.float32)
    for first in range(0, K, BK):
        chunk_K = first + tl.arange(0, BK)
        inside = (chunk_K < K)[:, None] & has_C[None, :]
        at = chunk_K[:, None] * C + channel_C[None, :]
        sum_C += tl.reduce(tl.load(sum_KC + at, mask=inside, other=0.0), 0, ADD)
        dot_C += tl.reduce(tl.load(dot_KC + at, mask=inside, other=0.0), 0, ADD)
    tl.store(grad_bias + channel_C, sum_C, mask=has_C)
    tl.store(grad_weight + channel_C, dot_C, mask=has_C)


@triton.jit
def _gradient(
    grad, x, y, mean, scale, weight, grad_bias, grad_weight, grad_x, grad_residual, M, C,
    RELU: tl.constexpr, B: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """grad_x = weight / std * (g - mean(g) - xhat * mean(g * xhat)); grad_residual = g."""
    row_B, channel_C = tl.program_id(0) * B + tl.arange(0, B), tl.program_id(1) * BC + tl.arange(0, BC)
    has_C = channel_C < C
    inside = (row_B < M)[:, None] & has_C[None, :]
    at = row_B[:, None].to(tl.int64) * C + channel_C[None, :]
    g = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    if RELU:
        g = tl.where(tl.load(y + at, mask=inside, other=0.0) <= 0, 0.0, g)
    if grad_residual is not None:
        tl.store(grad_residual + at, g.to(grad_residual.dtype.element_ty), mask=inside)
    scale_C = tl.load(scale + channel_C, mask=has_C, other=0.0)
    unit = (
        tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        - tl.load(mean + channel_C, mask=has_C, other=0.0)[None, :]
    )
    unit = unit * scale_C[None, :]
    along_C = tl.load(grad_bias + channel_C, mask=has_C, other=0.0) / M
    turned_C = tl.load(grad_weight + channel_C, mask=has_C, other=0.0) / M
    gain_C = tl.load(weight + channel_C, mask=has_C, other=0.0) * scale_C
    value = gain_C[None, :] * (g - along_C[None, :] - unit * turned_C[None, :])
    tl.store(grad_x + at, value.to(grad_x.dtype.element_ty), mask=inside)


class NormReLU(torch.autograd.Function):
    """ReLU(BatchNorm(x) + residual) in training mode; updates the running statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        x_NCHW: Tensor,
        residual_NCHW: Tensor | None,
        weight_C: Tensor,
        bias_C: Tensor,
        running: tuple[Tensor, Tensor],
        factors: tuple[float, float],
        relu: bool,
    ) -> Tensor:
        """`running`: mean and variance (C,), changed in place. `factors`: momentum and eps of the BatchNorm."""
        x_NCHW = _channels_last(x_NCHW)
        residual_NCHW = None if residual_NCHW is None else _channels_last(residual_NCHW)
        saved = _statistics(x_NCHW, running, factors)
        y_NCHW = torch.empty_like(x_NCHW)
        M, C = _matrix(x_NCHW)
        _normalise[_tiles(M, C)](
            x_NCHW, residual_NCHW, y_NCHW, *saved, weight_C, bias_C, M, C, relu, TILE_ROWS, TILE_CHANNELS
        )
        ctx.save_for_backward(x_NCHW, y_NCHW if relu else None, weight_C, *saved)
        ctx.relu, ctx.added = relu, residual_NCHW is not None
        return y_NCHW

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        x_NCHW, y_NCHW, weight_C, mean_C, scale_C = ctx.saved_tensors
        grad_NCHW = _channels_last(gradients[0])
        M, C = _matrix(x_NCHW)
        rows, K = _chunks(M, C)
        sum_KC, dot_KC = (torch.empty(K, C, device=x_NCHW.device) for _ in range(2))
        grad_bias_C, grad_weight_C = (torch.empty(C, device=x_NCHW.device) for _ in range(2))
        _gradient_sums[K, triton.cdiv(C, TILE_CHANNELS)](
            grad_NCHW, x_NCHW, y_NCHW, mean_C, scale_C, sum_KC, dot_KC, M, C, rows, ctx.relu, TILE_ROWS, TILE_CHANNELS
        )
        _merge_sums[(triton.cdiv(C, MERGED_CHANNELS),)](
            sum_KC, dot_KC, grad_bias_C, grad_weight_C, C, K, MERGED_CHUNKS, MERGED_CHANNELS
        )
        grad_x_NCHW = torch.empty_like(x_NCHW)
        grad_residual_NCHW = torch.empty_like(x_NCHW) if ctx.added else None
        _gradient[_tiles(M, C)](
            grad_NCHW, x_NCHW, y_NCHW, mean_C, scale_C, weight_C, grad_bias_C, grad_weight_C, grad_x_NCHW,
            grad_residual_NCHW, M, C, ctx.relu, TILE_ROWS, TILE_CHANNELS,
        )  # fmt: skip
        return grad_x_NCHW, grad_residual_NCHW, grad_weight_C, grad_bias_C, None, None, None


def _statistics(x_NCHW: Tensor, running: tuple[Tensor, Tensor], factors: tuple[float, float]) -> Saved:
    M, C = _matrix(x_NCHW)
    rows, K = _chunks(M, C)
    mean_KC, square_KC = (torch.empty(K, C, device=x_NCHW.device) for _ in range(2))
    saved = Saved(*(torch.empty(C, device=x_NCHW.device) for _ in range(2)))
    _moments[K, triton.cdiv(C, TILE_CHANNELS)](x_NCHW, mean_KC, square_KC, M, C, rows, TILE_ROWS, TILE_CHANNELS)
    momentum, eps = factors
    _merge_moments[(triton.cdiv(C, MERGED_CHANNELS),)](
        mean_KC, square_KC, *saved, *running, M, C, K, rows, eps, momentum, MERGED_CHUNKS, MERGED_CHANNELS
    )
    return saved


def _channels_last(x_NCHW: Tensor) -> Tensor:
    return x_NCHW.contiguous(memory_format=torch.channels_last)


def _matrix(x_NCHW: Tensor) -> tuple[int, int]:
    return x_NCHW.numel() // x_NCHW.shape[1], x_NCHW.shape[1]


def _tiles(M: int, C: int) -> tuple[int, int]:
    return triton.cdiv(M, TILE_ROWS), triton.cdiv(C, TILE_CHANNELS)


def _chunks(M: int, C: int) -> tuple[int, int]:
    """Return the rows of a chunk, a multiple of a tile's, and the number of chunks."""
    tiles, chunks = triton.cdiv(M, TILE_ROWS), max(1, PROGRAMS // triton.cdiv(C, TILE_CHANNELS))
    rows = triton.cdiv(tiles, chunks) * TILE_ROWS
    return rows, triton.cdiv(M, rows)
