"""StyleGAN3's filtered leaky ReLU as one Triton kernel: scale, bias, upsample, leaky ReLU, clamp, downsample, gain.

In: a channels-last image (N,C,H,W), float32 or float16, on CUDA (on a CPU with TRITON_INTERPRET=1). Out: the same type
and memory format. `resampling.filtered_leaky_relu` is the reference. Sums are in float32. Forward only.

**Method.** A program makes BW columns of a strip of rows, for BC channels, row by row from the top:

1. along y, multiply and add: each of the DOWN upsampled rows of a step is a sum of R input rows (polyphase: of the
   inserted zeros, nothing is read or multiplied); then scale and bias;
2. along x, a matrix product with a band matrix: (BC,BI) @ (BI,BU), which makes BU upsampled columns;
3. leaky ReLU and clamp;
4. along x, a matrix product with a second band matrix: (BC,BU) @ (BU,BO), which makes BO >= BW columns;
5. along y, the row is added to the sums of the NK output rows that it contributes to; the oldest sum is then complete.

So the upsampled image exists only in registers, one row of a tile at a time; the result of the first product is the
left operand of the second, which needs no shared memory. Channels-last: a tile's channels are neighbours in memory
(whole cache lines however narrow the tile), and cuDNN's float16 convolutions take and give this format.

A radial filter is not separable, but nearly: it is a sum of separable ones (singular value decomposition), and steps 4
and 5 are done for each. The published 12 x 12 filters need 2 to 4 of them for an error below float32's rounding, 2 or 3
below float16's (`LARGEST_REST`); all products of taps would be 6 matrix products per row.

**Cost** per output value with 12 + 12 taps, by arithmetic: 4 bytes of memory in float16, 8 in float32; 288 multiply-
adds in matrix products (radial: 384 or 480). Compiled for compute capability 9.0 (`benchmarks/filtered_relu.py
--compile 90`), a value takes 109 instructions in float16 (up 4: 72), 138 in TF32 and about 285 in exact float32;
radial filters take a third to a half more. An H200 issues about 30 T/s of them: 3.6 ps per value (up 4: 2.4), against
0.8 ps for the memory and 1 ps for the products at half of the float16 peak. So StyleGAN3-T at 1024 px (319 M values,
half of them with up 4) takes about 1 ms per image, R (636 M) 2 to 3 ms. Not measured on a GPU.

Legend: N images, C channels, H/W rows/columns of the input, HO/WO of the output; of a tile: I input, U upsampled, O
output columns; K taps, R separable terms of the down filter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.testing import do_bench

from comface.generators.stylegan.equalized import LEAK
from comface.generators.stylegan.resampling import Filters


@triton.jit(do_not_specialize=["H", "W", "HO", "WO", "groups", "first", "oldest", "strip", "blocks"])
def _filtered(
    x, y, scales, biases, gains, up_K, down_RK, up, down,
    H, W, HO, WO, groups, first, oldest, strip, blocks, limit,
    UP: tl.constexpr, DOWN: tl.constexpr, PHASE: tl.constexpr, K: tl.constexpr,
    CYCLE: tl.constexpr, ROWS: tl.constexpr, SUMS: tl.constexpr, TERMS: tl.constexpr,
    BI: tl.constexpr, BU: tl.constexpr, BU2: tl.constexpr, BO: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
    ALIGN: tl.constexpr, LAST: tl.constexpr, SLOPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    STEPS: tl.constexpr = CYCLE // DOWN  # rows of the output
    top = tl.program_id(1) * strip
    bottom = tl.minimum(top + strip, HO)
    image, block = tl.program_id(2) // blocks, tl.program_id(2) % blocks
    C = groups * ALIGN  # the compiler sees that it is a multiple, and reads ALIGN channels at a time
    channel_C = block * BC + tl.arange(0, BC)
    has_C = channel_C < C
    scale_C = tl.load(scales + image * C + channel_C, mask=has_C, other=0.0)
    gain_C = tl.load(gains + image * C + channel_C, mask=has_C, other=0.0)
    bias_C = tl.load(biases + channel_C, mask=has_C, other=0.0)
    x += image.to(tl.int64) * H * W * C
    y += image.to(tl.int64) * HO * WO * C

    column_I = first + (tl.program_id(0) * (BW * DOWN)) // UP + tl.arange(0, BI)
    inside_I = (column_I >= 0) & (column_I < W)
    if LAST:
        x_row, y_row = W * C, WO * C
        from_CI = column_I[None, :] * C + channel_C[:, None]
    else:
        x_row, y_row = W, WO
        from_CI = column_I[None, :] + channel_C[:, None] * (H * W)
    read_CI = has_C[:, None] & inside_I[None, :]
    own_O = tl.arange(0, BO)
    column_O = tl.program_id(0) * BW + own_O
    if LAST:  # noqa: SIM108 - one branch is compiled
        to_CO = column_O[None, :] * C + channel_C[:, None]
    else:
        to_CO = column_O[None, :] + channel_C[:, None] * (HO * WO)
    write_CO = has_C[:, None] & (own_O < BW)[None, :] & (column_O < WO)[None, :]
    wide: tl.constexpr = BU + BU2
    up_IU = tl.load(up + tl.arange(0, BI)[:, None] * wide + tl.arange(0, BU)[None, :])
    down_UO = down + tl.arange(0, BU)[:, None] * BO + own_O[None, :]
    if BU2 > 0:
        up2_IU = tl.load(up + tl.arange(0, BI)[:, None] * wide + (BU + tl.arange(0, BU2))[None, :])
        down2_UO = down + (BU + tl.arange(0, BU2))[:, None] * BO + own_O[None, :]

    sums = (tl.full([BC, BO], 0.0, tl.float32),) * SUMS  # of the output rows step, step - 1, …
    for cycle in range(top // STEPS, (bottom + SUMS - 1 + STEPS - 1) // STEPS):
        low = oldest + cycle * (CYCLE // UP)
        rows = ()  # newest first; all but the first are in the L1 cache, and registers are scarce
        for j in tl.static_range(ROWS):
            i = low + (ROWS - 1 - j)
            found = tl.load(x + i * x_row + from_CI, mask=(i >= 0) & (i < H) & read_CI, other=0.0)
            rows = rows + (found,)  # type: ignore[assignment]  # noqa: RUF005
        for u in tl.static_range(CYCLE):
            v_CI = tl.full([BC, BI], 0.0, tl.float32)
            share = 0.0  # of the taps that meet a row of the input: the padding has no bias
            for j in tl.static_range(ROWS):
                # Tap PHASE + u - UP (ROWS - 1 - j); a constant cannot be assigned again in a loop.
                if (PHASE + u >= UP * (ROWS - 1 - j)) and (PHASE + u < UP * (ROWS - 1 - j) + K):
                    tap = up_K[PHASE + u - UP * (ROWS - 1 - j)]
                    v_CI += tap * rows[j].to(tl.float32)
                    i = low + (ROWS - 1 - j)
                    share += tl.where((i >= 0) & (i < H), tap, 0.0)
            v_CI = v_CI * scale_C[:, None] + bias_C[:, None] * tl.where(inside_I, share, 0.0)[None, :]
            v_CI = v_CI.to(up_IU.dtype)
            a_CU = _activated(tl.dot(v_CI, up_IU, input_precision=PRECISION), SLOPE, limit).to(up_IU.dtype)
            if BU2 > 0:
                a2_CU = _activated(tl.dot(v_CI, up2_IU, input_precision=PRECISION), SLOPE, limit).to(up_IU.dtype)
            for r in tl.static_range(TERMS):
                row_CO = tl.dot(a_CU, tl.load(down_UO + r * (wide * BO)), input_precision=PRECISION)
                if BU2 > 0:
                    row_CO = tl.dot(a2_CU, tl.load(down2_UO + r * (wide * BO)), row_CO, input_precision=PRECISION)
                more = ()
                for s in tl.static_range(SUMS):
                    total = sums[s] + row_CO * down_RK[(r * SUMS + s) * DOWN + u % DOWN]
                    more = more + (total,)  # type: ignore[assignment]  # noqa: RUF005
                sums = more
            if u % DOWN == DOWN - 1:
                row = cycle * STEPS + u // DOWN - (SUMS - 1)
                value_CO = (sums[SUMS - 1] * gain_C[:, None]).to(y.dtype.element_ty)
                tl.store(y + row * y_row + to_CO, value_CO, mask=(row >= top) & (row < bottom) & write_CO)
                sums = (tl.full([BC, BO], 0.0, tl.float32),) + sums[: SUMS - 1]  # noqa: RUF005


@triton.jit
def _activated(a, SLOPE: tl.constexpr, limit):
    """The clamped leaky ReLU."""
    return tl.clamp(tl.maximum(a, a * SLOPE), -limit, limit)


@dataclass(frozen=True)
class Tile:
    """What one program makes: `columns` of the output for `channels`."""

    columns: int
    channels: int
    warps: int


TILES = (Tile(16, 64, 4), Tile(16, 32, 2))
"""The first call for a shape tries these, a few seconds of compilation each, and keeps the fastest."""
INTERPRETED = Tile(64, 64, 4)
"""In Triton's interpreter, whose time is per operation, as few programs as possible."""
EXACT = "tf32x3"
"""Each float32 factor as the sum of two TF32 numbers: three products on tensor cores, whose error (2^-21 of a product)
is that of a float32 sum. The alternative `ieee`, without tensor cores, compiles to 1.8 times as many instructions per
value, for radial filters 4.4 times."""
LARGEST_REST = {torch.float32: 3e-8, torch.float16: 1e-4}
"""Of a radial filter's norm: below the rounding errors of a result of this type."""
PROGRAMS_PER_PROCESSOR = 12
SOME_SIZES = range(16, 25)
"""The whole numbers among the kernel's arguments, for compilation, which does not depend on them."""
LEAST_STRIP = 24
"""Rows: a strip begins with taps / factor - 1 rows that it computes only for their sums."""


@dataclass(frozen=True)
class Bands:
    """The filters along x as the kernel reads them, for one width of a tile."""

    across_up_IU: Tensor
    across_down_RUO: Tensor
    first: int
    """First input column of the first tile."""
    sizes: dict[str, int]


class FusedFilter:
    """The filtered leaky ReLU of one layer for tensors of one device and type."""

    def __init__(self, filters: Filters, device: torch.device, dtype: torch.dtype, tile: Tile | None = None) -> None:
        """`tile`: always this one."""
        self.filters, self.device, self.dtype = filters, device, dtype
        up, down = filters.up, filters.down
        self.up_K = filters.up_taps.double().cpu().numpy() * up * filters.gain**0.5
        assert self.up_K.ndim == 1  # all published up filters are separable
        down_RK, across_RK = _terms(filters.down_taps.double().cpu().numpy(), LARGEST_REST[dtype])
        sums = -(-down_RK.shape[1] // down)
        short = (0, 0), (0, sums * down - down_RK.shape[1])
        self.down_RK, self.across_RK = (np.pad(np.flip(part, 1), short) for part in (down_RK, across_RK))

        # Upsampled row m gets tap m + skipped - up i of input row i; a cycle is the fewest rows with the same taps.
        self.skipped = len(self.up_K) - 1 - filters.padding[0]
        cycle, phase, least = math.lcm(up, down), self.skipped % up, -((len(self.up_K) - 1 - self.skipped % up) // up)
        self.oldest = self.skipped // up + least
        self.steps = cycle // down
        self.sizes = {
            "UP": up, "DOWN": down, "PHASE": phase - least * up, "K": len(self.up_K), "CYCLE": cycle,
            "ROWS": (cycle - 1 + phase) // up - least + 1, "SUMS": sums, "TERMS": len(down_RK), "SLOPE": LEAK,
        }  # fmt: skip
        cuda = device.type == "cuda"
        self.processors = torch.cuda.get_device_properties(device).multi_processor_count if cuda else 1
        self.tile = tile or (None if cuda else INTERPRETED)
        self.bands: dict[int, Bands] = {}
        self.fastest: dict[tuple[object, ...], Tile] = {}

    def __call__(
        self,
        x_NCHW: Tensor,
        scales_NC: Tensor,
        bias_C: Tensor,
        gains_NC: Tensor,
        dtype: torch.dtype | None = None,
        tf32: bool = False,
    ) -> Tensor:
        """gains * filtered leaky ReLU(x * scales + bias), as `dtype` (default: that of x), in the memory format
        of x. scales, bias, gains: float32, contiguous. `tf32`: products of float32 in TF32."""
        last = x_NCHW.stride(1) == 1
        memory_format = torch.channels_last if last else torch.contiguous_format
        x_NCHW = x_NCHW.contiguous(memory_format=memory_format)
        shape = (*x_NCHW.shape[:2], *self.filters.size(x_NCHW))
        y_NCHW = torch.empty(shape, dtype=dtype or x_NCHW.dtype, device=self.device, memory_format=memory_format)

        def launch(tile: Tile) -> None:
            self._launch(tile, x_NCHW, y_NCHW, (scales_NC, bias_C, gains_NC), tf32)

        with torch.cuda.device_of(x_NCHW):  # Triton launches on the current device
            launch(self.tile or self._fastest((*x_NCHW.shape[1:], last, y_NCHW.dtype, tf32), launch))
        return y_NCHW

    def compile(self, channels: int, last: bool, dtype: torch.dtype, tf32: bool) -> None:
        """Compile what a call would, for results of type `dtype`. Within `triton.AsyncCompileMode`, several kernels are
        compiled at the same time."""
        for tile in TILES:
            factors, constants = (
                [torch.float32] * 3,
                self._constants(tile, self._band(tile.columns), channels, last, tf32),
            )
            _filtered.warmup(
                self.dtype, dtype, *factors, *self._taps(), self.dtype, self.dtype, *SOME_SIZES, 1.0,
                **constants, grid=(1,),
            )  # fmt: skip

    def _fastest(self, shape: tuple[object, ...], launch: Callable[[Tile], None]) -> Tile:
        if shape not in self.fastest:
            if torch.cuda.is_current_stream_capturing():  # a CUDA graph records what runs, and measures nothing
                return TILES[0]
            self.fastest[shape] = min(TILES, key=lambda tile: do_bench(lambda: launch(tile), warmup=2, rep=10))
        return self.fastest[shape]

    def _launch(
        self, tile: Tile, x_NCHW: Tensor, y_NCHW: Tensor, factors: tuple[Tensor, Tensor, Tensor], tf32: bool
    ) -> None:
        bands = self._band(tile.columns)
        images, channels, height, width = x_NCHW.shape
        rows, columns = y_NCHW.shape[2:]
        across, blocks = -(-columns // tile.columns), -(-channels // tile.channels)
        strips = -(-PROGRAMS_PER_PROCESSOR * self.processors // (across * blocks * images))
        strip = -(-max(LEAST_STRIP, -(-rows // strips)) // self.steps) * self.steps
        constants = self._constants(tile, bands, channels, x_NCHW.stride(1) == 1, tf32)
        _filtered[(across, -(-rows // strip), images * blocks)](
            x_NCHW, y_NCHW, *factors, *self._taps(), bands.across_up_IU, bands.across_down_RUO,
            height, width, rows, columns, channels // constants["ALIGN"], bands.first, self.oldest, strip, blocks,
            math.inf if self.filters.clamp is None else self.filters.clamp, **constants,
        )  # fmt: skip

    def _taps(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Along y, as numbers: the kernel's arguments are operands of its instructions, and take no registers."""
        return tuple(self.up_K.tolist()), tuple(self.down_RK.ravel().tolist())

    def _constants(self, tile: Tile, bands: Bands, channels: int, last: bool, tf32: bool) -> dict[str, Any]:
        return {
            **self.sizes,
            **bands.sizes,
            "BC": tile.channels,
            "LAST": last,
            "ALIGN": math.gcd(channels, 8) if last else 1,
            "PRECISION": "tf32" if tf32 else EXACT,
            "num_warps": tile.warps,
            "num_stages": 1,
        }

    def _band(self, columns: int) -> Bands:
        return self.bands.get(columns) or self.bands.setdefault(columns, self._bands(columns))

    def _bands(self, columns: int) -> Bands:
        up, down, taps, reach = self.filters.up, self.filters.down, len(self.up_K), self.down_RK.shape[1]
        assert columns * down % up == 0  # each tile begins at the same phase
        first = -(-(self.skipped - taps + 1) // up)
        phase, wide = self.skipped - first * up, (columns - 1) * down + reach
        half = max(16, 1 << int(math.log2(wide)))
        rest = _block(wide - half) if wide > half else 0
        inputs, outputs = _block((phase + wide - 1) // up + 1), _block(columns)
        tap_IU = phase + np.arange(half + rest)[None, :] - up * np.arange(inputs)[:, None]
        across_up_IU = np.where((tap_IU >= 0) & (tap_IU < taps), self.up_K[tap_IU.clip(0, taps - 1)], 0)
        tap_UO = np.arange(half + rest)[:, None] - down * np.arange(outputs)[None, :]
        across_down_RUO = np.where((tap_UO >= 0) & (tap_UO < reach), self.across_RK[:, tap_UO.clip(0, reach - 1)], 0)
        across_up, across_down = (
            torch.from_numpy(np.ascontiguousarray(part)).to(self.device, self.dtype)
            for part in (across_up_IU, across_down_RUO)
        )
        return Bands(
            across_up, across_down, first, {"BI": inputs, "BU": half, "BU2": rest, "BO": outputs, "BW": columns}
        )


def _terms(taps: np.ndarray, largest_rest: float) -> tuple[np.ndarray, np.ndarray]:
    """Filters (R,K) along y and along x whose products sum to `taps`, except for `largest_rest` of its norm."""
    if taps.ndim == 1:
        return taps[None], taps[None]
    down_KR, weights_R, across_RK = np.linalg.svd(taps)
    rest_R = np.sqrt(np.cumsum(weights_R[::-1] ** 2))[::-1] / np.linalg.norm(taps)
    rank = max(1, int((rest_R > largest_rest).sum()))
    return (down_KR[:, :rank] * weights_R[:rank]).T, across_RK[:rank]


def _block(length: int) -> int:
    """A power of two, at least 16: what tensor cores multiply."""
    return max(16, 1 << math.ceil(math.log2(length)))
