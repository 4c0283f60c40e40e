"""The end of a layer of StyleGAN and StyleGAN2, after its convolution: low-pass, noise, bias, leaky ReLU, style; and
the 1 x 1 convolution to the image with the upsampled image of the resolution below.

In: the result of a convolution, float32 or float16. Out: the layer's result in the same type and memory format. Each
function has two paths: Triton kernels (fused_epilogue.py), or PyTorch operations, which are also their reference. Both
compute in float32.

Legend: N images, C channels, H rows, W columns, K taps per axis.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from comface.generators.stylegan.equalized import EPS, LayerEnd, leaky_relu
from comface.generators.stylegan.resampling import upsample
from comface.networks.kernels import fused


def separate(x_NCHW: Tensor) -> bool:
    """Whether a layer ends with the functions below: in kernels, and in float16. In float32 without kernels, bias and
    factors are cheaper inside the convolution."""
    return x_NCHW.dtype == torch.float16 or fused(x_NCHW)


def activated(x_NCHW: Tensor, end: LayerEnd) -> Tensor:
    """The end of a layer of StyleGAN2 (Karras et al. 2020, figure 2c)."""
    if fused(x_NCHW):
        from comface.generators.stylegan import fused_epilogue

        return fused_epilogue.activated(x_NCHW, end)
    return _as(x_NCHW, _plain(x_NCHW, end))


def styled(x_NCHW: Tensor, end: LayerEnd, scale_NC: Tensor, shift_NC: Tensor) -> Tensor:
    """The end of a layer of StyleGAN: instance norm, times (scale + 1), plus shift (Karras et al. 2019, equation 1)."""
    if fused(x_NCHW):
        from comface.generators.stylegan import fused_epilogue

        return fused_epilogue.styled(x_NCHW, end, scale_NC, shift_NC)
    y_NCHW = _plain(x_NCHW, end)
    y_NCHW = y_NCHW.sub_(y_NCHW.mean((2, 3), keepdim=True))
    variance_NC11 = y_NCHW.square().mean((2, 3), keepdim=True)
    gain_NC11 = (variance_NC11 + EPS).rsqrt() * (scale_NC + 1)[:, :, None, None]
    return _as(x_NCHW, y_NCHW.mul_(gain_NC11).add_(shift_NC[:, :, None, None]))


def to_rgb(
    x_NCHW: Tensor, weight_N3C: Tensor, bias_3: Tensor, clamp: float | None, below: Tensor | None, taps: Tensor
) -> Tensor:
    """clamp(1 x 1 convolution + bias) + upsampled `below` (N,3,H/2,W/2), float32 (N,3,H,W). `taps`: the
    low-pass (4,4)."""
    if fused(x_NCHW):
        from comface.generators.stylegan import fused_epilogue

        return fused_epilogue.to_rgb(x_NCHW, weight_N3C, bias_3, clamp, below, taps)
    image_N3HW = torch.einsum("nchw,ndc->ndhw", x_NCHW.float(), weight_N3C) + bias_3[:, None, None]
    if clamp is not None:
        image_N3HW = image_N3HW.clamp_(-clamp, clamp)
    return image_N3HW if below is None else image_N3HW.add_(upsample(below, taps, 2, 2, 1))


def _plain(x_NCHW: Tensor, end: LayerEnd) -> Tensor:
    """The activated values, float32, in new memory."""
    y_NCHW = x_NCHW.float()
    if end.taps is not None:
        channels = x_NCHW.shape[1]
        weight = end.taps.expand(channels, -1, -1)[:, None]
        y_NCHW = functional.conv2d(y_NCHW, weight, None, padding=1, groups=channels)
    y_NCHW = y_NCHW * end.scales_NC[:, :, None, None] if end.scales_NC is not None else y_NCHW.clone()
    y_NCHW = y_NCHW.add_(end.bias_C[:, None, None]).add_(end.strength_C[:, None, None] * end.noise_HW)
    return leaky_relu(y_NCHW, end.clamp)


def _as(x_NCHW: Tensor, y_NCHW: Tensor) -> Tensor:
    last = torch.channels_last if x_NCHW.stride(1) == 1 else torch.contiguous_format
    return y_NCHW.to(x_NCHW.dtype, memory_format=last)
