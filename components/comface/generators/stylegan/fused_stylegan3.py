"""StyleGAN3's synthesis with one convolution and one kernel per layer, for any number of images at once.

In: the network's input and factors made of w+. Out: images (N,3,H,W), float32. `stylegan3.Synthesis` decides when, and
its other path is the reference.

The modulated convolution is conv(x * styles, weights) * scales: the weights are the same for all images. The kernel of
a layer applies the scales and the bias when it reads the convolution, and the styles of the next layer when it writes
(fused_filter.py). In float16 the weights have norm 1 per output and the styles mean square 1 per image (Karras et al.
2021, official code), so that all sums remain in the range of the type; the factors are float32.

With channels-last, channels are padded with zeros to multiples of 8: tensor cores read 8 at a time, and most layers of
the published networks have another number.

Legend: N images, I/O channels in and out, C channels, H/W rows and columns.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
import triton
from torch import Tensor
from torch.nn import functional

from comface.generators.stylegan.equalized import EPS
from comface.generators.stylegan.fused_filter import FusedFilter
from comface.generators.stylegan.resampling import Filters

MULTIPLE = 8


class FusedLayer:
    """A layer's weights and filters as convolution and kernel read them; made at the first image."""

    def __init__(
        self,
        weight: Tensor,
        bias_O: Tensor,
        filters: Filters | None,
        clamp: float | None,
        dtype: torch.dtype,
        last: bool,
    ) -> None:
        """`weight`: (O,I,k,k). `filters`: None for the layer that makes the image, which is not demodulated either.
        `last`: channels-last."""
        self.clamp, self.dtype, self.outputs = clamp, dtype, len(weight)
        self.memory_format = torch.channels_last if last else torch.contiguous_format
        count = weight[0].numel()
        energy_OI = weight.square().sum((2, 3))
        length_O1 = energy_OI.sum(1, keepdim=True).sqrt()
        if filters is None:
            length_O1 = torch.full_like(length_O1, math.sqrt(count))
        self.eps, self.energy_OI = EPS / count, energy_OI / length_O1.square()
        outputs, inputs = (-channels % MULTIPLE if last else 0 for channels in weight.shape[:2])
        unit = functional.pad(weight / length_O1[:, :, None, None], (0, 0, 0, 0, 0, inputs, 0, outputs))
        self.weight = unit.to(dtype).contiguous(memory_format=self.memory_format)
        self.bias_O = functional.pad(bias_O.float(), (0, outputs))
        self.padding = (0, inputs), (0, outputs)
        self.filter = None if filters is None else FusedFilter(filters, weight.device, dtype)

    def factors(self, styles_NI: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """The styles of the input channels, normalised, and the scales of the output channels; padded, float32."""
        if self.filter is None:
            scales_NO = gain.expand(len(styles_NI), self.outputs)
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
        found_NCHW = functional.conv2d(x_NCHW, self.weight)[:, : self.outputs].float()
        scales_NO, bias_O = scales_NO[:, : self.outputs], self.bias_O[: self.outputs]
        image_NCHW = torch.addcmul(bias_O[:, None, None], found_NCHW, scales_NO[:, :, None, None])
        return image_NCHW if self.clamp is None else image_NCHW.clamp_(-self.clamp, self.clamp)


def rendered(layers: list[FusedLayer], x_NCHW: Tensor, factors: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Images (N,3,H,W), float32, of the network's input x and the `factors` of each layer."""
    x_NCHW = layers[0].entered(x_NCHW, factors[0][0])
    for i, following in enumerate(layers[1:]):
        x_NCHW = layers[i](x_NCHW, factors[i][1], factors[i + 1][0], following.dtype)
    return layers[-1].image(x_NCHW, factors[-1][1])


def compiled(layers: list[FusedLayer]) -> list[FusedLayer]:
    """The layers, with all kernels compiled on all cores: about twenty different ones, a few seconds each."""
    with ThreadPoolExecutor(os.cpu_count()) as pool, triton.AsyncCompileMode(pool):
        for own, following in pairwise(layers):
            assert own.filter is not None
            last = own.memory_format == torch.channels_last
            own.filter.compile(len(own.weight), last, following.dtype, torch.backends.cudnn.allow_tf32)
    return layers
