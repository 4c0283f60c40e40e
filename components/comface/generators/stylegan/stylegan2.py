"""StyleGAN2 and StyleGAN2-ADA, config F (Karras et al. 2020, references 27 and 30): w or w+ -> image.

In: w+ (N,L,D). Out: images (N,3,H,W) in about [-1, 1]: weight demodulation, a skip generator that sums one image per
resolution, constant noise. Names and shapes of the state are those of NVIDIA's PyTorch release.

Legend: N images, L = 2 layers per resolution (the last for the image only), D width of w, I/O channels in and out.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from comface.generators.stylegan.epilogue import activated, separate, to_rgb
from comface.generators.stylegan.equalized import (
    EPS,
    SQRT2,
    EqualizedLinear,
    LayerEnd,
    Mapping,
    laid_out,
    leaky_relu,
    modulated,
    truncated,
)
from comface.generators.stylegan.resampling import downsample, upsample

HALVES = 4
"""Resolutions in float16 (`num_fp16_res` of the official training)."""


@dataclass(frozen=True)
class StyleGan2Config:
    z_width: int = 512
    w_width: int = 512
    mapping_layers: int = 8
    channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64, 32)
    """Per resolution, from 4 px on."""
    clamp: float | None = None
    """Maximum magnitude after a convolution (256 in releases that were trained in float16)."""

    @property
    def image_size_px(self) -> int:
        side_px: int = 4 * 2 ** (len(self.channels) - 1)
        return side_px

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def _convolved(x_NCHW: Tensor, weight: Tensor, bias_O: Tensor | None) -> Tensor:
    return functional.conv2d(x_NCHW, weight, bias_O, padding=1)


def _upsampled(x_NCHW: Tensor, weight: Tensor, bias_O: Tensor | None) -> Tensor:
    return functional.conv_transpose2d(x_NCHW, weight.transpose(0, 1), bias_O, stride=2)


def _half(weight: Tensor, up: bool) -> Tensor:
    """(O,I,3,3) in float16, in the memory format that the convolution reads."""
    weight = weight.half()
    if up:  # a transposed convolution reads (I,O,3,3)
        return weight.transpose(0, 1).contiguous(memory_format=torch.channels_last).transpose(0, 1)
    return weight.contiguous(memory_format=torch.channels_last)


class StyledConvolution(nn.Module):
    """3 x 3 convolution modulated by w, demodulated to unit variance; noise, bias, leaky ReLU."""

    resample_filter: Tensor
    noise_const: Tensor
    energy_OI: Tensor | None
    """A function of the weights, cached at the first image."""
    half_weight: Tensor | None
    largest_O: Tensor | None
    """The weights in float16, divided by these values; cached at the first image in float16."""

    def __init__(self, w_width: int, inputs: int, outputs: int, size: int, up: bool, clamp: float | None) -> None:
        super().__init__()
        self.up, self.clamp = up, clamp
        self.affine = EqualizedLinear(w_width, inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.empty(()))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.register_buffer("resample_filter", torch.empty(4, 4))
        self.register_buffer("noise_const", torch.empty(size, size))
        self.register_buffer("energy_OI", None, persistent=False)
        self.register_buffer("half_weight", None, persistent=False)
        self.register_buffer("largest_O", None, persistent=False)

    def forward(self, x_NCHW: Tensor, w_ND: Tensor) -> Tensor:
        styles_NI = self.affine(w_ND)
        if self.energy_OI is None:
            self.energy_OI = self.weight.square().sum((2, 3))
        scales_NO = (styles_NI.square() @ self.energy_OI.T + EPS).rsqrt() * SQRT2
        if separate(x_NCHW):
            return self._separately(x_NCHW, styles_NI, scales_NO)
        bias_O = self.bias * SQRT2
        if self.up:
            x_NCHW = modulated(x_NCHW, self.weight, styles_NI, scales_NO, None, _upsampled)
            # The transposed convolution gives size 2 H + 1; the low-pass gives 2 H, times 4 for the inserted zeros.
            x_NCHW = downsample(x_NCHW, self.resample_filter * 4, 1, 1, bias_O)
        else:
            x_NCHW = modulated(x_NCHW, self.weight, styles_NI, scales_NO, bias_O, _convolved)
        return leaky_relu(x_NCHW.add_(self.noise_const * (self.noise_strength * SQRT2)), self.clamp)

    def _separately(self, x_NCHW: Tensor, styles_NI: Tensor, scales_NO: Tensor) -> Tensor:
        """The same for any number of images in one convolution, followed by one pass for the rest of the layer. In
        float16, styles and weights are scaled to the range of the type, as in the official code, and the factors
        return to float32."""
        weight: Tensor = self.weight
        if x_NCHW.dtype == torch.float16:
            if self.half_weight is None or self.largest_O is None:
                self.largest_O = self.weight.abs().amax((1, 2, 3)) * math.sqrt(self.weight[0].numel())
                self.half_weight = _half(self.weight / self.largest_O[:, None, None, None], self.up)
            largest_N1 = styles_NI.abs().amax(1, keepdim=True)
            styles_NI, scales_NO = styles_NI / largest_N1, scales_NO * largest_N1 * self.largest_O
            weight = self.half_weight
        convolve = _upsampled if self.up else _convolved
        x_NCHW = convolve(x_NCHW * styles_NI.to(x_NCHW.dtype)[:, :, None, None], weight, None)
        taps = (self.resample_filter * 4).flip(0, 1) if self.up else None
        strength_O = (self.noise_strength * SQRT2).expand(len(self.bias)).contiguous()
        end = LayerEnd(self.bias * SQRT2, self.noise_const, strength_O, taps, scales_NO, self.clamp)
        return activated(x_NCHW, end)


class ToRgb(nn.Module):
    """1 x 1 convolution modulated by w, without demodulation."""

    def __init__(self, w_width: int, inputs: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = EqualizedLinear(w_width, inputs)
        self.weight = nn.Parameter(torch.empty(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.empty(3))

    def forward(self, x_NCHW: Tensor, w_ND: Tensor, below: Tensor | None, taps: Tensor) -> Tensor:
        """The image (N,3,H,W), float32: that of this resolution, plus the upsampled one `below`."""
        styles_NI = self.affine(w_ND) / math.sqrt(self.weight.shape[1])
        if separate(x_NCHW):
            weight_N3I = self.weight[:, :, 0, 0] * styles_NI[:, None]
            return to_rgb(x_NCHW, weight_N3I, self.bias, self.clamp, below, taps)
        scales_NO = styles_NI.new_ones(len(styles_NI), 3)
        image_NCHW = modulated(x_NCHW, self.weight, styles_NI, scales_NO, self.bias, functional.conv2d)
        if self.clamp is not None:
            image_NCHW = image_NCHW.clamp_(-self.clamp, self.clamp)
        return image_NCHW if below is None else image_NCHW.add_(upsample(below, taps, 2, 2, 1))


class Block(nn.Module):
    """One resolution. State: `conv0` (not at 4 px), `conv1`, `torgb`; `const` at 4 px."""

    resample_filter: Tensor
    float16 = False
    """Whether its images are float16."""

    def __init__(self, config: StyleGan2Config, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.first = inputs == 0
        self.register_buffer("resample_filter", torch.empty(4, 4))
        if self.first:
            self.const = nn.Parameter(torch.empty(outputs, size, size))
        else:
            self.conv0 = StyledConvolution(config.w_width, inputs, outputs, size, True, config.clamp)
        self.conv1 = StyledConvolution(config.w_width, outputs, outputs, size, False, config.clamp)
        self.torgb = ToRgb(config.w_width, outputs, config.clamp)

    def forward(self, x_NCHW: Tensor | None, image_NCHW: Tensor | None, w_NLD: Tensor) -> tuple[Tensor, Tensor]:
        """`w_NLD`: the rows of this resolution, then the next row, which modulates the image."""
        if self.first:
            x_NCHW = laid_out(self.const.expand(len(w_NLD), -1, -1, -1))
        else:
            assert x_NCHW is not None
            if self.float16:
                x_NCHW = x_NCHW.to(torch.float16, memory_format=torch.channels_last)
            x_NCHW = self.conv0(x_NCHW, w_NLD[:, 0])
        x_NCHW = self.conv1(x_NCHW, w_NLD[:, -2])
        return x_NCHW, self.torgb(x_NCHW, w_NLD[:, -1], image_NCHW, self.resample_filter)


class Synthesis(nn.Module):
    """State: `b4`, `b8`, …"""

    def __init__(self, config: StyleGan2Config) -> None:
        super().__init__()
        self.sizes = [4 * 2**i for i in range(len(config.channels))]
        for i, size in enumerate(self.sizes):
            inputs = config.channels[i - 1] if i else 0
            setattr(self, f"b{size}", Block(config, inputs, config.channels[i], size))

    def forward(self, w_NLD: Tensor) -> Tensor:
        x_NCHW: Tensor | None = None
        image_NCHW: Tensor | None = None
        first = 0
        for size in self.sizes:
            convolutions = 1 if size == 4 else 2
            rows_NLD = w_NLD[:, first : first + convolutions + 1]
            x_NCHW, image_NCHW = getattr(self, f"b{size}")(x_NCHW, image_NCHW, rows_NLD)
            first += convolutions
        assert image_NCHW is not None
        return image_NCHW


class StyleGan2(nn.Module):
    family = "stylegan2"
    computed: dict[str, Any]
    """Tensors that the weight file lacks, and how they were computed (absent.py); set by build."""

    def __init__(self, config: StyleGan2Config) -> None:
        super().__init__()
        self.config = config
        self.synthesis = Synthesis(config)
        self.mapping = Mapping(config.z_width, config.w_width, config.mapping_layers)
        self.layers = 2 * len(config.channels)

    def truncate(self, w_ND: Tensor, psi: float) -> Tensor:
        return truncated(w_ND, self.mapping.w_avg, psi)

    def use_float16(self, wanted: bool) -> bool:
        """Use float16 in the HALVES highest resolutions, or no longer. Without a clamp, values may exceed the range of
        float16, so everything remains float32. Returns whether float16 is used."""
        used = wanted and self.config.clamp is not None
        for size in self.synthesis.sizes:
            highest = size * 2**HALVES > self.config.image_size_px
            getattr(self.synthesis, f"b{size}").float16 = used and highest and size > 4
        return used

    def forward(self, w_NLD: Tensor) -> Tensor:
        image_NCHW: Tensor = self.synthesis(w_NLD)
        return image_NCHW
