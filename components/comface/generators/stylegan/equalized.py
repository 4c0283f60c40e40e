"""Code that the StyleGANs share: linear layers with a run-time gain, normalised latents, truncation, memory formats.

Legend: N rows or images, D = width of z or w, I/O = inputs/outputs (channels) of a layer, C channels, H rows,
W columns, K taps per axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SQRT2 = math.sqrt(2)
LEAK = 0.2
EPS = 1e-8


@dataclass(frozen=True)
class LayerEnd:
    """y = clamp(leaky ReLU(correlation(x, taps) scales + bias + strength noise)). All tensors are float32, contiguous
    and on the device of x."""

    bias_C: Tensor
    noise_HW: Tensor
    strength_C: Tensor
    taps: Tensor | None = None
    """(K,K), or (C,K,K), with one sample of padding on every side; None: no filter."""
    scales_NC: Tensor | None = None
    clamp: float | None = None


def normalised(z_ND: Tensor) -> Tensor:
    """Rows scaled to mean square 1."""
    return z_ND * (z_ND.square().mean(1, keepdim=True) + EPS).rsqrt()


def leaky_relu(x: Tensor, clamp: float | None = None) -> Tensor:
    """max(x, 0.2 x), clamped; in place, because x is always an intermediate result. The gain was applied before,
    because it commutes with a leaky ReLU."""
    x = functional.leaky_relu_(x, LEAK)
    return x if clamp is None else x.clamp_(-clamp, clamp)


def laid_out(x_NCHW: Tensor) -> Tensor:
    """The tensor in the fastest memory format: channels-last on a CPU, where convolutions with few channels are up to
    five times as fast, and on tensor cores (TF32). Later operations preserve the format."""
    last = x_NCHW.device.type == "cpu" or torch.backends.cudnn.allow_tf32
    return x_NCHW.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def modulated(
    x_NIHW: Tensor,
    weight: Tensor,
    styles_NI: Tensor,
    scales_NO: Tensor,
    bias_O: Tensor | None,
    convolve: Callable[[Tensor, Tensor, Tensor | None], Tensor],
) -> Tensor:
    """convolve(x * styles, weight (O,I,k,k)) * scales + bias. For a single image that is larger than the weights, the
    factors are applied to the weights instead, which saves passes over the image."""
    if len(x_NIHW) == 1 and x_NIHW.numel() > weight.numel():
        factors_OI = scales_NO.T * styles_NI
        return convolve(x_NIHW, weight * factors_OI[:, :, None, None], bias_O)
    y_NOHW = convolve(x_NIHW * styles_NI[:, :, None, None], weight, None).mul_(scales_NO[:, :, None, None])
    return y_NOHW if bias_O is None else y_NOHW.add_(bias_O[:, None, None])


class EqualizedLinear(nn.Module):
    """y = x (W * rate / sqrt(I))' + b * rate. State: `weight` (O,I) and `bias` (O)."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.weight_gain = rate / math.sqrt(inputs)
        self.bias_gain = rate

    def forward(self, x_NI: Tensor) -> Tensor:
        return torch.addmm(self.bias, x_NI, self.weight.T, beta=self.bias_gain, alpha=self.weight_gain)


class Mapping(nn.Module):
    """z (N,D) -> w (N,D) of StyleGAN2 and StyleGAN3. State: `fc0` …, and `w_avg`, the mean of w."""

    w_avg: Tensor

    def __init__(self, z_width: int, w_width: int, layers: int, rate: float = 0.01) -> None:
        super().__init__()
        self.layers = layers
        for i in range(layers):
            setattr(self, f"fc{i}", EqualizedLinear(z_width if i == 0 else w_width, w_width, rate))
        self.register_buffer("w_avg", torch.empty(w_width))

    def forward(self, z_ND: Tensor) -> Tensor:
        x_ND = normalised(z_ND)
        for i in range(self.layers):
            x_ND = leaky_relu(getattr(self, f"fc{i}")(x_ND)).mul_(SQRT2)
        return x_ND


def truncated(w_ND: Tensor, mean_D: Tensor, psi: float) -> Tensor:
    """w_mean + psi (w - w_mean)."""
    return mean_D + psi * (w_ND - mean_D)
