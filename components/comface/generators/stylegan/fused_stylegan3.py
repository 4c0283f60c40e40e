"""StyleGAN3's synthesis with one convolution and one kernel per layer, for any number of images at once.

In: w+ (N,L,D). Out: images (N,3,H,W), float32. `stylegan3.Synthesis` decides when, and is the reference.

The modulated convolution is conv(x * styles, weights) * scales: the weights are the same for all images. The kernel of
a layer applies the scales and the bias when it reads the convolution, and the styles of the next layer when it writes
(fused_filter.py). In float16 the weights have norm 1 per output and the styles mean square 1 per image (Karras et al.
2021, official code), so that all sums remain in the range of the type; the factors are float32.

With channels-last, channels are padded with zeros to multiples of 8: tensor cores read 8 at a time, and most layers of
the published networks have another number.

Legend: N images, L rows of w+, D width of w, I/O channels in and out, C channels, H/W rows and columns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from comface.generators.stylegan.equalized import EPS
from comface.generators.stylegan.fused_filter import FusedFilter

if TYPE_CHECKING:
    from comface.generators.stylegan.stylegan3 import StyledLayer, Synthesis

MULTIPLE = 8


class FusedLayer:
    """A layer's weights and filters as convolution and kernel read them; made at the first image."""

    def __init__(self, layer: StyledLayer, last: bool) -> None:
        """`last`: channels-last."""
        self.layer, self.dtype = layer, torch.float16 if layer.float16 else torch.float32
        self.memory_format = torch.channels_last if last else torch.contiguous_format
        weight = layer.weight.detach()
        count = weight[0].numel()
        energy_OI = weight.square().sum((2, 3))
        length_O1 = energy_OI.sum(1, keepdim=True).sqrt()
        if layer.plan.to_rgb:
            length_O1 = torch.full_like(length_O1, math.sqrt(count))
        self.eps, self.energy_OI = EPS / count, energy_OI / length_O1.square()
        outputs, inputs = (self._more(size) for size in weight.shape[:2])
        unit = functional.pad(weight / length_O1[:, :, None, None], (0, 0, 0, 0, 0, inputs, 0, outputs))
        self.weight = unit.to(self.dtype).contiguous(memory_format=self.memory_format)
        self.bias_O = functional.pad(layer.bias.detach().float(), (0, outputs))
        self.padding = (0, inputs), (0, outputs)
        self.filter = None if layer.plan.to_rgb else FusedFilter(layer.filters(), weight.device, self.dtype)

    def factors(self, w_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Styles of the input channels and scales of the output channels, padded, float32."""
        styles_NI, gain = self.layer.affine(w_ND), self.layer.magnitude_ema.rsqrt()
        if self.layer.plan.to_rgb:
            scales_NO = gain.expand(len(w_ND), len(self.energy_OI))
        else:
            styles_NI = styles_NI * styles_NI.square().mean(1, keepdim=True).rsqrt()
            scales_NO = (styles_NI.square() @ self.energy_OI.T + self.eps).rsqrt() * gain
        return functional.pad(styles_NI, self.padding[0]), functional.pad(scales_NO, self.padding[1])

    def entered(self, x_NCHW: Tensor, styles_NI: Tensor) -> Tensor:
        """The first layer's input: x * styles, padded."""
        x_NCHW = functional.pad(x_NCHW, (0, 0, 0, 0, *self.padding[0])) * styles_NI[:, :, None, None]
        return x_NCHW.to(self.dtype, memory_format=self.memory_format)

    def __call__(self, x_NCHW: Tensor, scales_NO: Tensor, gains_NO: Tensor, dtype: torch.dtype) -> Tensor:
        """x, with its styles -> the layer's result times `gains_NO`, the styles of the next layer, as `dtype`."""
        assert self.filter is not None
        x_NCHW = functional.conv2d(x_NCHW, self.weight, padding=self.weight.shape[-1] - 1)
        return self.filter(x_NCHW, scales_NO, self.bias_O, gains_NO, dtype, torch.backends.cudnn.allow_tf32)

    def image(self, x_NCHW: Tensor, scales_NO: Tensor) -> Tensor:
        """The last layer: x, with its styles -> (N,3,H,W), float32."""
        found_NCHW = functional.conv2d(x_NCHW, self.weight)[:, : len(self.layer.weight)].float()
        scales_NO, bias_O = scales_NO[:, : found_NCHW.shape[1]], self.bias_O[: found_NCHW.shape[1]]
        image_NCHW = torch.addcmul(bias_O[:, None, None], found_NCHW, scales_NO[:, :, None, None])
        clamp = self.layer.clamp
        return image_NCHW if clamp is None else image_NCHW.clamp_(-clamp, clamp)

    def _more(self, channels: int) -> int:
        return -channels % MULTIPLE if self.memory_format == torch.channels_last else 0


def synthesized(synthesis: Synthesis, w_NLD: Tensor) -> Tensor:
    """Images (N,3,H,W), float32."""
    plain = synthesis.layers()
    last = torch.backends.cudnn.allow_tf32 or any(layer.float16 for layer in plain)
    key = w_NLD.device, last, *(layer.float16 for layer in plain)
    if key not in synthesis.fused:
        synthesis.fused[key] = [FusedLayer(layer, last) for layer in plain]
    layers: list[FusedLayer] = synthesis.fused[key]
    factors = [layer.factors(w_NLD[:, i + 1]) for i, layer in enumerate(layers)]
    x_NCHW = layers[0].entered(synthesis.input(w_NLD[:, 0]), factors[0][0])
    for i, following in enumerate(layers[1:]):
        x_NCHW = layers[i](x_NCHW, factors[i][1], factors[i + 1][0], following.dtype)
    return layers[-1].image(x_NCHW, factors[-1][1])
