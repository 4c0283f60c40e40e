"""StyleGAN (1) (Karras et al. 2019, reference 29): w or w+ -> image; the state has InterFaceGAN's names.

In: w+ (N,L,D). Out: images (N,3,H,W) in about [-1, 1] from the last resolution, with the noise in the state. Truncation
applies only to the first 8 layers, as published.

Legend: N images, L = 2 layers per resolution, D width of z and w, I/O channels in and out, H = W side length.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from comface.generators.stylegan.epilogue import separate, styled, to_rgb
from comface.generators.stylegan.equalized import EPS, SQRT2, LayerEnd, laid_out, leaky_relu, normalised, truncated

MAPPING_RATE = 0.01
TRUNCATED_LAYERS = 8


@dataclass(frozen=True)
class StyleGan1Config:
    z_width: int = 512
    w_width: int = 512
    hidden_width: int = 512
    mapping_layers: int = 8
    channels: tuple[int, ...] = (512, 512, 512, 512, 256, 128, 64, 32, 16)
    """Per resolution, from 4 px on."""
    fused: tuple[bool, ...] = (False,) * 5 + (True,) * 4
    """Per resolution: whether upsampling is fused into the first convolution."""
    truncated_layers: int = TRUNCATED_LAYERS

    @property
    def image_size_px(self) -> int:
        side_px: int = 4 * 2 ** (len(self.channels) - 1)
        return side_px

    def facts(self) -> dict[str, Any]:
        return asdict(self)


class _Weight(nn.Module):
    """A submodule with the parameter `weight`, for the published names."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))


class _Bias(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(size))


class _Dense(nn.Module):
    """State: `linear.weight` and `wscale.bias`."""

    def __init__(self, inputs: int, outputs: int, gain: float, rate: float = 1.0) -> None:
        super().__init__()
        self.linear = _Weight(outputs, inputs)
        self.wscale = _Bias(outputs)
        self.weight_gain, self.rate = gain / math.sqrt(inputs) * rate, rate

    def forward(self, x_NI: Tensor) -> Tensor:
        return torch.addmm(self.wscale.bias, x_NI, self.linear.weight.T, beta=self.rate, alpha=self.weight_gain)


class _Mapping(nn.Module):
    """Normalises z first, so that its length does not matter. No gain after the activations."""

    def __init__(self, config: StyleGan1Config) -> None:
        super().__init__()
        self.layers = config.mapping_layers
        for i in range(self.layers):
            inputs = config.z_width if i == 0 else config.hidden_width
            outputs = config.w_width if i == self.layers - 1 else config.hidden_width
            setattr(self, f"dense{i}", _Dense(inputs, outputs, SQRT2, MAPPING_RATE))

    def forward(self, z_ND: Tensor) -> Tensor:
        x_ND = normalised(z_ND)
        for i in range(self.layers):
            x_ND = leaky_relu(getattr(self, f"dense{i}")(x_ND))
        return x_ND


class _Truncation(nn.Module):
    """`truncation` (psi per layer) exists only because the published state has it; here psi is an argument."""

    w_avg: Tensor
    truncation: Tensor

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.register_buffer("w_avg", torch.empty(width))
        self.register_buffer("truncation", torch.empty(1, layers, 1))


class _Noise(nn.Module):
    noise: Tensor

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.register_buffer("noise", torch.empty(1, 1, size, size))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """In place, because x is an intermediate result."""
        return x_NCHW.addcmul_(self.noise, self.weight[None, :, None, None])


class _StyleModulation(nn.Module):
    def __init__(self, w_width: int, channels: int) -> None:
        super().__init__()
        self.dense = _Dense(w_width, 2 * channels, 1.0)

    def forward(self, x_NCHW: Tensor, w_ND: Tensor) -> Tensor:
        """Instance norm, then the style: one pass for the mean, one for the variance, one for the rest."""
        scale_NC, shift_NC = self.dense(w_ND).chunk(2, 1)
        x_NCHW = x_NCHW.sub_(x_NCHW.mean((2, 3), keepdim=True))
        variance_NC11 = x_NCHW.square().mean((2, 3), keepdim=True)
        gain_NC11 = (variance_NC11 + EPS).rsqrt() * (scale_NC + 1)[:, :, None, None]
        return x_NCHW.mul_(gain_NC11).add_(shift_NC[:, :, None, None])


class _Epilogue(nn.Module):
    """Noise, leaky ReLU, instance norm, style; the preceding layer has added the bias."""

    def __init__(self, w_width: int, channels: int, size: int) -> None:
        super().__init__()
        self.apply_noise = _Noise(channels, size)
        self.bias = nn.Parameter(torch.empty(channels))
        self.style_mod = _StyleModulation(w_width, channels)

    def forward(self, x_NCHW: Tensor, w_ND: Tensor) -> Tensor:
        styled_NCHW: Tensor = self.style_mod(leaky_relu(self.apply_noise(x_NCHW)), w_ND)
        return styled_NCHW

    def whole(self, x_NCHW: Tensor, w_ND: Tensor, taps: Tensor | None) -> Tensor:
        """The same in kernels, with the bias and, where there are `taps` (C,3,3), the blur."""
        scale_NC, shift_NC = self.style_mod.dense(w_ND).chunk(2, 1)
        end = LayerEnd(self.bias, self.apply_noise.noise[0, 0], self.apply_noise.weight, taps)
        return styled(x_NCHW, end, scale_NC, shift_NC)


class _Blur(nn.Module):
    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.empty(channels, 1, 3, 3))

    def forward(self, x_NCHW: Tensor, bias_C: Tensor) -> Tensor:
        return functional.conv2d(x_NCHW, self.kernel, bias_C, padding=1, groups=x_NCHW.shape[1])


class _FirstLayer(nn.Module):
    def __init__(self, w_width: int, channels: int) -> None:
        super().__init__()
        self.first_layer = nn.Parameter(torch.empty(1, channels, 4, 4))
        self.epilogue = _Epilogue(w_width, channels, 4)

    def forward(self, x: Tensor | None, w_ND: Tensor) -> Tensor:
        if separate(self.first_layer):
            return self.epilogue.whole(laid_out(self.first_layer.expand(len(w_ND), -1, -1, -1)), w_ND, None)
        x_NCHW = (self.first_layer + self.epilogue.bias[:, None, None]).expand(len(w_ND), -1, -1, -1)
        styled_NCHW: Tensor = self.epilogue(laid_out(x_NCHW).clone(), w_ND)
        return styled_NCHW


class _Layer(nn.Module):
    """`up` None: same size; "plain" and "fused": upsampled (nearest), convolved, blurred. The published network does
    the first two in one transposed convolution ("fused") or one after the other ("plain"); this one always fuses them,
    which takes 16 instead of 36 multiplications."""

    kernel: Tensor | None
    """The kernel of the fused convolution, cached because computing it takes as long as convolving a small image."""

    def __init__(self, w_width: int, inputs: int, outputs: int, size: int, up: str | None) -> None:
        super().__init__()
        self.up = up
        self.gain = SQRT2 / math.sqrt(9 * inputs)
        self.register_buffer("kernel", None, persistent=False)
        if up == "fused":
            self.weight = nn.Parameter(torch.empty(3, 3, inputs, outputs))
        else:
            self.conv = _Weight(outputs, inputs, 3, 3)
        if up is not None:
            self.blur = _Blur(outputs)
        self.epilogue = _Epilogue(w_width, outputs, size)

    def forward(self, x_NCHW: Tensor | None, w_ND: Tensor) -> Tensor:
        assert x_NCHW is not None
        if self.kernel is None:
            self.kernel = laid_out(self._kernel())
        if separate(x_NCHW):
            return self._separately(x_NCHW, w_ND)
        bias_C = self.epilogue.bias
        if self.up is None:
            x_NCHW = functional.conv2d(x_NCHW, self.kernel, bias_C, padding=1)
        else:
            x_NCHW = functional.conv_transpose2d(x_NCHW, self.kernel, stride=2, padding=1)
            x_NCHW = self.blur(x_NCHW, bias_C)
        x_NCHW = self.epilogue(x_NCHW, w_ND)
        return x_NCHW

    def _separately(self, x_NCHW: Tensor, w_ND: Tensor) -> Tensor:
        """The convolution, then blur, bias and epilogue in kernels."""
        assert self.kernel is not None
        if self.up is None:
            return self.epilogue.whole(functional.conv2d(x_NCHW, self.kernel, padding=1), w_ND, None)
        x_NCHW = functional.conv_transpose2d(x_NCHW, self.kernel, stride=2, padding=1)
        return self.epilogue.whole(x_NCHW, w_ND, self.blur.kernel[:, 0])

    def _kernel(self) -> Tensor:
        """(O,I,3,3), or (I,O,4,4): nearest upsampling combined with the 3 x 3 kernel (the sum of its four shifts)."""
        if self.up is None:
            return self.conv.weight * self.gain
        # A transposed convolution flips kernels; those of the published fused layers are stored flipped.
        fused = self.up == "fused"
        weight = self.weight.permute(2, 3, 0, 1) if fused else self.conv.weight.transpose(0, 1).flip(2, 3)
        wide = functional.pad(weight * self.gain, (1, 1, 1, 1))
        return wide[..., 1:, 1:] + wide[..., :-1, 1:] + wide[..., 1:, :-1] + wide[..., :-1, :-1]


class _Output(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _Weight(3, channels, 1, 1)
        self.bias = nn.Parameter(torch.empty(3))
        self.gain = 1 / math.sqrt(channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        weight = self.conv.weight * self.gain
        if separate(x_NCHW):
            return to_rgb(x_NCHW, weight[:, :, 0, 0].expand(len(x_NCHW), -1, -1), self.bias, None, None, weight)
        return functional.conv2d(x_NCHW, weight, self.bias)


class _Synthesis(nn.Module):
    lod: Tensor

    def __init__(self, config: StyleGan1Config) -> None:
        super().__init__()
        self.register_buffer("lod", torch.empty(()))
        self.layers, self.last = 2 * len(config.channels), len(config.channels) - 1
        for i, channels in enumerate(config.channels):
            size = 4 * 2**i
            if i == 0:
                first: nn.Module = _FirstLayer(config.w_width, channels)
            else:
                up = "fused" if config.fused[i] else "plain"
                first = _Layer(config.w_width, config.channels[i - 1], channels, size, up)
            setattr(self, f"layer{2 * i}", first)
            setattr(self, f"layer{2 * i + 1}", _Layer(config.w_width, channels, channels, size, None))
            setattr(self, f"output{i}", _Output(channels))

    def forward(self, w_NLD: Tensor) -> Tensor:
        x_NCHW: Tensor | None = None
        for i in range(self.layers):
            x_NCHW = getattr(self, f"layer{i}")(x_NCHW, w_NLD[:, i])
        image_NCHW: Tensor = getattr(self, f"output{self.last}")(x_NCHW)
        return image_NCHW


class StyleGan1(nn.Module):
    family = "stylegan"
    computed: dict[str, Any]
    """Tensors that the weight file lacks, and how they were computed (absent.py); set by build."""

    def __init__(self, config: StyleGan1Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = _Mapping(config)
        self.layers = 2 * len(config.channels)
        self.truncation = _Truncation(config.w_width, self.layers)
        self.synthesis = _Synthesis(config)

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """W+ (N,L,D) from w (N,D) or (N,L,D), with the first 8 layers truncated."""
        w_NLD = (w[:, None].expand(-1, self.layers, -1) if w.ndim == 2 else w).clone()
        reached = slice(0, self.config.truncated_layers)
        w_NLD[:, reached] = truncated(w_NLD[:, reached], self.truncation.w_avg, psi)
        return w_NLD

    def use_float16(self, wanted: bool) -> bool:
        """False: the published network has no clamp, so its values may exceed the range of float16."""
        return False

    def forward(self, w_NLD: Tensor) -> Tensor:
        image_NCHW: Tensor = self.synthesis(w_NLD)
        return image_NCHW
