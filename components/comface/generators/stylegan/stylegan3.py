"""StyleGAN3-T and -R (Karras et al. 2021, reference 28): w or w+ -> image, alias-free.

In: w+ (N,L,D). Out: images (N,3,H,W) in about [-1, 1]. Names and shapes of the state are the published ones.
Layer 0 of w+ rotates and shifts the image (the input's affine); layers 1 … L-1 modulate the convolutions.

Legend: N images, L = layers + 2 rows of w+, D width of w, C/I/O channels, H = W side length, T 3 x 3 transforms.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from comface.generators.stylegan.equalized import EPS, SQRT2, EqualizedLinear, Mapping, laid_out, modulated, truncated
from comface.generators.stylegan.filters import radial_filter, separable_filter
from comface.generators.stylegan.resampling import Filters, filtered_leaky_relu
from comface.networks.kernels import fused

HALVES = 4
"""Octaves in float16 (`num_fp16_res` of the official training)."""
AT_ONCE_BYTES = {"cpu": 2**23, "cuda": 2**30}
"""Size of the largest intermediate result. On a CPU it is small enough that the allocator reuses its memory: new pages
from the system took half of the time per image. On a GPU it depends on the memory."""


@dataclass(frozen=True)
class StyleGan3Config:
    """The defaults are the published values; -T and -R differ in channels, kernel and radial."""

    z_width: int = 512
    w_width: int = 512
    image_size_px: int = 1024
    channel_base: int = 32768
    channel_max: int = 512
    kernel: int = 3
    radial: bool = False
    mapping_layers: int = 2
    layers: int = 14
    critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin: int = 10
    output_scale: float = 0.25
    filter_size: int = 6
    lrelu_upsampling: int = 2
    clamp: float | None = 256.0
    channels: tuple[int, ...] = field(default=())
    """Per layer, with the image's 3 last; empty: from channel_base and channel_max."""

    def facts(self) -> dict[str, Any]:
        unused = ("channel_base", "channel_max") if self.channels else ("channels",)
        return {name: value for name, value in asdict(self).items() if name not in unused}


@dataclass(frozen=True)
class Band:
    """The output of a layer: size in px; rate, cut-off and half-width in cycles per image side."""

    channels: int
    size: int
    rate: float
    cutoff: float
    half_width: float


@dataclass(frozen=True)
class LayerPlan:
    """Geometry of one layer, from the input band to the output band, with a higher rate between them."""

    name: str
    before: Band
    after: Band
    rate_between: float
    up: int
    down: int
    up_taps: int
    down_taps: int
    padding: tuple[int, int]
    radial: bool
    to_rgb: bool


def layer_plans(config: StyleGan3Config) -> list[LayerPlan]:
    """Cut-offs grow geometrically to that of the image; a layer's rate is the smallest power of two for its band."""
    count = config.layers + 1
    steps = np.minimum(np.arange(count) / (config.layers - config.critical), 1)
    last_cutoff = config.image_size_px / 2
    last_stopband = last_cutoff * config.last_stopband_rel
    cutoffs = config.first_cutoff * (last_cutoff / config.first_cutoff) ** steps
    stopbands = config.first_stopband * (last_stopband / config.first_stopband) ** steps
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, config.image_size_px))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = (rates + 2 * config.margin).astype(int)
    sizes[-2:] = config.image_size_px
    channels = np.rint(np.minimum(config.channel_base / 2 / cutoffs, config.channel_max)).astype(int)
    channels[-1] = 3
    if config.channels:
        channels = np.asarray(config.channels)
    bands = [
        Band(int(channels[i]), int(sizes[i]), float(rates[i]), float(cutoffs[i]), float(half_widths[i]))
        for i in range(count)
    ]
    return [_plan(config, i, bands[max(i - 1, 0)], bands[i]) for i in range(count)]


def _plan(config: StyleGan3Config, number: int, before: Band, after: Band) -> LayerPlan:
    to_rgb = number == config.layers
    between = max(before.rate, after.rate) * (1 if to_rgb else config.lrelu_upsampling)
    up, down = round(between / before.rate), round(between / after.rate)
    up_taps = config.filter_size * up if up > 1 and not to_rgb else 1
    down_taps = config.filter_size * down if down > 1 and not to_rgb else 1
    wanted = (after.size - 1) * down + 1 + up_taps + down_taps - 2  # the filters crop it again
    padding = wanted - (before.size + (1 if to_rgb else config.kernel) - 1) * up
    low = (padding + up) // 2
    radial = config.radial and number < config.layers - config.critical
    name = f"L{number}_{after.size}_{after.channels}"
    return LayerPlan(name, before, after, between, up, down, up_taps, down_taps, (low, padding - low), radial, to_rgb)


class FourierInput(nn.Module):
    """Waves of fixed frequency, rotated and shifted by w and by `transform`, then mixed: (N,C,H,W)."""

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, w_width: int, channels: int, size: int, rate: float, bandwidth: float) -> None:
        super().__init__()
        self.size, self.rate, self.bandwidth = size, rate, bandwidth
        self.weight = nn.Parameter(torch.empty(channels, channels))
        self.register_buffer("transform", torch.empty(3, 3))
        self.register_buffer("freqs", torch.empty(channels, 2))
        self.register_buffer("phases", torch.empty(channels))
        self.affine = EqualizedLinear(w_width, 4)

    def forward(self, w_ND: Tensor) -> Tensor:
        frame_NTT = self._frame(w_ND) @ self.transform
        waves_1C2 = self.freqs[None]
        phases_NC = self.phases + (waves_1C2 @ frame_NTT[:, :2, 2:]).squeeze(2)
        waves_NC2 = waves_1C2 @ frame_NTT[:, :2, :2]
        # Attenuate waves whose frequency exceeds the grid's after the transform.
        excess_NC = (waves_NC2.norm(dim=2) - self.bandwidth) / (self.rate / 2 - self.bandwidth)
        amplitudes_NC = (1 - excess_NC).clamp(0, 1)
        half = 0.5 * self.size / self.rate
        ticks_H = (torch.arange(self.size, device=w_ND.device, dtype=torch.float32) * 2 + 1) / self.size - 1
        x_NWC = half * ticks_H[None, :, None] * waves_NC2[:, None, :, 0]
        y_NHC = half * ticks_H[None, :, None] * waves_NC2[:, None, :, 1]
        turns_NHWC = y_NHC[:, :, None] + x_NWC[:, None] + phases_NC[:, None, None]
        waves_NHWC = torch.sin(turns_NHWC * (2 * math.pi)) * amplitudes_NC[:, None, None]
        mixed_NHWC = waves_NHWC @ (self.weight / math.sqrt(len(self.weight))).T
        return laid_out(mixed_NHWC.permute(0, 3, 1, 2))

    def _frame(self, w_ND: Tensor) -> Tensor:
        """(N,3,3): the rotation and shift given by w."""
        t_N4 = self.affine(w_ND)
        t_N4 = t_N4 / t_N4[:, :2].norm(dim=1, keepdim=True)
        cosine, sine, x, y = t_N4.unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        turn = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], 1).reshape(-1, 3, 3)
        shift = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], 1).reshape(-1, 3, 3)
        return turn @ shift


def _widened(x_NCHW: Tensor, weight: Tensor, bias_O: Tensor | None) -> Tensor:
    """A convolution with full padding; the filters crop the result."""
    return functional.conv2d(x_NCHW, weight, bias_O, padding=weight.shape[-1] - 1)


class StyledLayer(nn.Module):
    """Modulated convolution, then the filtered leaky ReLU (the last layer: neither demodulation nor filters)."""

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor
    energy_OI: Tensor | None
    """A function of the weights, cached at the first image."""
    float16 = False
    """Whether the layer is in float16."""

    def __init__(self, plan: LayerPlan, kernel: int, w_width: int, clamp: float | None) -> None:
        super().__init__()
        self.plan, self.clamp = plan, clamp
        kernel = 1 if plan.to_rgb else kernel
        self.affine = EqualizedLinear(w_width, plan.before.channels)
        self.weight = nn.Parameter(torch.empty(plan.after.channels, plan.before.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(plan.after.channels))
        self.register_buffer("magnitude_ema", torch.empty(()))
        self.register_buffer("energy_OI", None, persistent=False)
        if not plan.to_rgb:
            up = separable_filter(plan.up_taps, plan.before.cutoff, plan.before.half_width, plan.rate_between)
            design = radial_filter if plan.radial else separable_filter
            down = design(plan.down_taps, plan.after.cutoff, plan.after.half_width, plan.rate_between)
            self.register_buffer("up_filter", torch.as_tensor(up.astype(np.float32)))
            self.register_buffer("down_filter", torch.as_tensor(down.astype(np.float32)))

    def forward(self, x_NCHW: Tensor, w_ND: Tensor) -> Tensor:
        styles_NI = self.affine(w_ND)
        gain = self.magnitude_ema.rsqrt()
        if self.plan.to_rgb:
            scales_NO = (gain / math.sqrt(self.weight[0].numel())).expand(len(styles_NI), len(self.weight))
            image_NCHW = modulated(x_NCHW, self.weight, styles_NI, scales_NO, self.bias, functional.conv2d)
            return image_NCHW if self.clamp is None else image_NCHW.clamp_(-self.clamp, self.clamp)
        # Weights have mean square 1 per output (applied as a factor), styles mean square 1 per image.
        if self.energy_OI is None:
            self.energy_OI = self.weight.square().sum((2, 3))
        normal_O = (self.energy_OI.sum(1) / self.weight[0].numel()).rsqrt()
        styles_NI = styles_NI * styles_NI.square().mean(1, keepdim=True).rsqrt()
        demodulation_NO = ((styles_NI.square() @ self.energy_OI.T) * normal_O.square() + EPS).rsqrt()
        x_NCHW = modulated(x_NCHW, self.weight, styles_NI, demodulation_NO * (normal_O * gain), self.bias, _widened)
        at_once_bytes = AT_ONCE_BYTES.get(x_NCHW.device.type, AT_ONCE_BYTES["cuda"])
        return filtered_leaky_relu(x_NCHW, self.filters(), at_once_bytes)

    def filters(self) -> Filters:
        plan = self.plan
        return Filters(self.up_filter, self.down_filter, plan.up, plan.down, plan.padding, SQRT2, self.clamp)


class Synthesis(nn.Module):
    """State: `input`, `L0_36_512`, …"""

    def __init__(self, config: StyleGan3Config) -> None:
        super().__init__()
        plans = layer_plans(config)
        first = plans[0].before
        self.input = FourierInput(config.w_width, first.channels, first.size, first.rate, first.cutoff)
        self.output_scale = config.output_scale
        self.names = [plan.name for plan in plans]
        for plan in plans:
            setattr(self, plan.name, StyledLayer(plan, config.kernel, config.w_width, config.clamp))
        self.fused: dict[tuple[Any, ...], Any] = {}
        """What the kernels read, cached at the first image (fused_stylegan3.py)."""

    def layers(self) -> list[StyledLayer]:
        return [getattr(self, name) for name in self.names]

    def forward(self, w_NLD: Tensor) -> Tensor:
        if fused(w_NLD):
            return self._with_kernels(w_NLD).mul_(self.output_scale)
        x_NCHW = self.input(w_NLD[:, 0])
        for i, layer in enumerate(self.layers()):
            x_NCHW = layer(x_NCHW, w_NLD[:, i + 1])
        image_NCHW: Tensor = x_NCHW * self.output_scale
        return image_NCHW

    def _with_kernels(self, w_NLD: Tensor) -> Tensor:
        from comface.generators.stylegan.fused_stylegan3 import FusedLayer, compiled, rendered

        plain = self.layers()
        last = torch.backends.cudnn.allow_tf32 or any(layer.float16 for layer in plain)
        key = w_NLD.device, torch.backends.cudnn.allow_tf32, *(layer.float16 for layer in plain)
        if key not in self.fused:
            layers = [
                FusedLayer(
                    layer.weight.detach(),
                    layer.bias.detach(),
                    None if layer.plan.to_rgb else layer.filters(),
                    layer.clamp,
                    torch.float16 if layer.float16 else torch.float32,
                    last,
                )
                for layer in plain
            ]
            self.fused[key] = compiled(layers) if w_NLD.device.type == "cuda" else layers
        factors = [
            own.factors(layer.affine(w_NLD[:, i + 1]), layer.magnitude_ema.rsqrt())
            for i, (own, layer) in enumerate(zip(self.fused[key], plain, strict=True))
        ]
        return rendered(self.fused[key], self.input(w_NLD[:, 0]), factors)


class StyleGan3(nn.Module):
    family = "stylegan3"
    computed: dict[str, Any]
    """Tensors that the weight file lacks, and how they were computed (absent.py); set by build."""

    def __init__(self, config: StyleGan3Config) -> None:
        super().__init__()
        self.config = config
        self.synthesis = Synthesis(config)
        self.mapping = Mapping(config.z_width, config.w_width, config.mapping_layers)
        self.layers = config.layers + 2

    def truncate(self, w_ND: Tensor, psi: float) -> Tensor:
        return truncated(w_ND, self.mapping.w_avg, psi)

    def use_float16(self, wanted: bool) -> bool:
        """Use float16 where it is used in training: in layers whose rate is more than 1/16 of the image's, if there is
        a clamp (`StyledLayer.float16`). Returns whether float16 is used."""
        used = wanted and self.config.clamp is not None
        for layer in self.synthesis.layers():
            layer.float16 = used and layer.plan.after.rate * 2**HALVES > self.config.image_size_px
        return used

    def forward(self, w_NLD: Tensor) -> Tensor:
        image_NCHW: Tensor = self.synthesis(w_NLD)
        return image_NCHW


def user_transform(rotate_deg: float, translate_x: float, translate_y: float) -> Tensor:
    """The 3 x 3 matrix for `synthesis.input.transform` that rotates and shifts the image (sides of length 1)."""
    angle = math.radians(rotate_deg)
    cosine, sine = math.cos(angle), math.sin(angle)
    forward = torch.tensor(
        [[cosine, sine, translate_x], [-sine, cosine, translate_y], [0.0, 0.0, 1.0]], dtype=torch.float64
    )
    inverse: Tensor = torch.linalg.inv(forward).float()
    return inverse
