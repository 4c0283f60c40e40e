"""Augmentation of views: flip, random crop, colour jitter, grayscale (section 3.2), batched on the device.

One grid_sample does crop, flip and rotation; one 3x3 matrix and an offset do brightness, contrast, saturation, hue and
grayscale. The strengths are in `Augmentation` (pretrain/config.py), and draws.py draws a row per view. Each view is
drawn independently, unless `augmentation.shared` is set. With the same draw for x and y, or without augmentation, pixel
differences solve the pretext task and the features do not transfer.

Legend: N views, H = W = side length, C columns of draws.py. Images float32 (N,3,H,W) in [-1, 1].
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from comface.pretrain.config import Augmentation
from comface.pretrain.draws import BRIGHTNESS, CAST, CONTRAST, GAMMA, MATRIX, SLOPE, THETA, X1, Draws, draw_views

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luminance (ITU-R BT.601), as in torchvision's ColorJitter and grayscale."""


def augment(
    x_NCHW: Tensor, size_px: int, config: Augmentation, draws: Draws | torch.Generator, view_share: float = 1.0
) -> Tensor:
    """Return one augmented view per image, (N,3,size_px,size_px) in [-1, 1]. `view_share`: the share of the frame that
    a view covers (comface.faces.framing). `draws`: a generator draws for these images only."""
    draws = draws if isinstance(draws, Draws) else Draws(draws, x_NCHW.shape[0])
    view_NC = draw_views(config, draws, view_share)[X1].to(x_NCHW.device)
    return apply_views(x_NCHW, view_NC, size_px, lit=config.side_light > 0)


def apply_views(x_NCHW: Tensor, view_NC: Tensor, size_px: int, lit: bool, out_NHWC: Tensor | None = None) -> Tensor:
    """Return the view of each image that its row of `view_NC` describes, (N,3,size_px,size_px), channels last. `lit`:
    whether the columns of the light are used. `out_NHWC`: the memory to write to."""
    count = x_NCHW.shape[0]
    theta_N23 = view_NC[:, THETA].unflatten(1, (2, 3))
    padding = "border" if _inside(theta_N23) else "reflection"
    x_NCHW = functional.grid_sample(x_NCHW, _grid(theta_N23, size_px), "bilinear", padding, align_corners=False)
    if lit:
        x_NCHW = _light(x_NCHW, view_NC)
    # Contrast scales the distance to the mean luminance m, as in ColorJitter; brightness scales from black (-1):
    # ((gain * M (x - m) + m) + 1) * pivot - 1, written as one matrix and one offset per view.
    gain_N, pivot_N = view_NC[:, CONTRAST], view_NC[:, BRIGHTNESS]
    matrix_N33 = (gain_N * pivot_N).reshape(-1, 1, 1) * view_NC[:, MATRIX].unflatten(1, (3, 3))
    mean_N1 = (x_NCHW.mean(dim=(2, 3)) * _luma(x_NCHW.dtype, x_NCHW.device)).sum(dim=1, keepdim=True)
    offset_N3 = mean_N1 * (pivot_N[:, None] - matrix_N33.sum(dim=2)) + pivot_N[:, None] - 1
    pixels_N3P = torch.baddbmm(offset_N3[:, :, None], matrix_N33, x_NCHW.flatten(2)).clamp_(-1, 1)
    if out_NHWC is None:
        out_NHWC = torch.empty(count, size_px, size_px, 3, dtype=x_NCHW.dtype, device=x_NCHW.device)
    out_NHWC.flatten(1, 2).copy_(pixels_N3P.transpose(1, 2))
    return out_NHWC.permute(0, 3, 1, 2)


def _inside(theta_N23: Tensor) -> bool:
    """Whether no view leaves its image. Both paddings are then the same, and "border" is a quarter faster on a CPU. On
    a GPU the host would wait for the answer, so it is no."""
    return theta_N23.device.type == "cpu" and bool((theta_N23.abs().sum(dim=2) <= 1).all())


def _grid(theta_N23: Tensor, size_px: int) -> Tensor:
    """Return what affine_grid returns without align_corners, (N,H,W,2). Each coordinate is a sum of a term of the
    column and one of the row, which takes a third of the time of affine_grid's product on a CPU."""
    at_S = (torch.arange(size_px, dtype=theta_N23.dtype, device=theta_N23.device) * 2 + 1) / size_px - 1
    grid_NHW2 = theta_N23.new_empty(len(theta_N23), size_px, size_px, 2)
    for i in range(2):
        column_NS = theta_N23[:, i, 0, None] * at_S + theta_N23[:, i, 2, None]
        row_NS = theta_N23[:, i, 1, None] * at_S
        torch.add(column_NS[:, None, :], row_NS[:, :, None], out=grid_NHW2[..., i])
    return grid_NHW2


@cache
def _luma(dtype: torch.dtype, device: torch.device) -> Tensor:
    """LUMA on the device, copied once: the host waits for a GPU at such a copy."""
    return torch.tensor(LUMA, dtype=dtype, device=device)


def _light(x_NCHW: Tensor, view_NC: Tensor) -> Tensor:
    """Add light from a side, a gamma and a colour cast: differences between photos of different days."""
    axis = torch.linspace(-1, 1, x_NCHW.shape[2], device=x_NCHW.device)
    ramp_NHW = (
        view_NC[:, SLOPE][:, :1, None] * axis[None, None, :] + view_NC[:, SLOPE][:, 1:, None] * axis[None, :, None]
    )
    shade_N1HW = (1 + ramp_NHW).clamp_(0.1).unsqueeze(1)
    unit_NCHW = ((x_NCHW + 1) / 2).clamp_(1e-4, 1).pow_(view_NC[:, GAMMA].reshape(-1, 1, 1, 1))
    return (unit_NCHW * shade_N1HW * view_NC[:, CAST].reshape(-1, 3, 1, 1)).clamp_(0, 1).mul_(2).sub_(1)
