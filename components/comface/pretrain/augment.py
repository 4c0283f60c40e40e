"""Augmentation of views: flip, random crop, colour jitter, grayscale (section 3.2), batched on the device.

One grid_sample does crop, flip and rotation; one 3x3 matrix and an offset do brightness, contrast, saturation, hue and
grayscale. The strengths are in `Augmentation` (pretrain/config.py). Each view is drawn independently. With the same
draw for x and y, or without augmentation, pixel differences solve the pretext task and the features do not transfer.

Legend: N views, H = W = side length. Images float32 (N,3,H,W) in [-1, 1].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from comface.faces.framing import view_drop
from comface.pretrain.config import Augmentation

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luminance (ITU-R BT.601), as in torchvision's ColorJitter and grayscale."""
TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""RGB to luminance and two colour axes (NTSC). Hue rotates the colour axes, saturation scales them."""


class Draws(NamedTuple):
    """Random numbers for views. They are drawn for the whole batch of `pairs`, and this process takes its `share`, so
    the views of a pair do not depend on the number of processes. `generator` is on the CPU, so a seed gives the same
    views on every device."""

    generator: torch.Generator
    pairs: int
    share: slice = slice(None)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return (N, *shape), uniform in [low, high)."""
        return low + (high - low) * torch.rand(self.pairs, *shape, generator=self.generator)[self.share]


def augment(
    x_NCHW: Tensor,
    size_px: int,
    config: Augmentation,
    draws: Draws | torch.Generator,
    view_share: float = 1.0,
) -> Tensor:
    """Return one augmented view per image, (N,3,size_px,size_px) in [-1, 1]. `view_share`: the share of the frame that
    a view covers (comface.faces.framing). `draws`: a generator draws for these images only."""
    count = x_NCHW.shape[0]
    device = x_NCHW.device
    draws = draws if isinstance(draws, Draws) else Draws(draws, count)
    theta_N23 = _crop(config, draws, view_share).to(device)
    matrix_N33, gain_N, pivot_N = (t.to(device) for t in _colour(config, draws))
    grid = functional.affine_grid(theta_N23, [count, 3, size_px, size_px], align_corners=False)
    x_NCHW = functional.grid_sample(x_NCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if config.side_light:
        x_NCHW = _light(x_NCHW, config.side_light, draws)
    mean_N111 = (x_NCHW.mean(dim=(2, 3)) @ torch.tensor(LUMA, device=device)).reshape(-1, 1, 1, 1)
    # Contrast scales the distance to the mean luminance, as in ColorJitter; brightness scales from black (-1).
    coloured = torch.einsum("nij,njhw->nihw", matrix_N33, x_NCHW - mean_N111)
    coloured = coloured * gain_N.reshape(-1, 1, 1, 1) + mean_N111
    return ((coloured + 1) * pivot_N.reshape(-1, 1, 1, 1) - 1).clamp(-1, 1)


def _crop(config: Augmentation, draws: Draws, view_share: float) -> Tensor:
    """Return affine maps (N,2,3) from output to input coordinates: crop with random area and position, rotation,
    flip."""
    scale_N = view_share * draws.uniform(config.crop_min_area, config.crop_max_area).sqrt()
    shift_N2 = (view_share - scale_N)[:, None] * draws.uniform(-1, 1, 2)
    shift_N2[:, 1] += view_drop(view_share)
    angle_N = draws.uniform(-config.rotation_deg, config.rotation_deg) * math.pi / 180
    mirror_N = torch.where(draws.uniform(0, 1) < config.flip, -1.0, 1.0)
    cos_N, sin_N = scale_N * angle_N.cos(), scale_N * angle_N.sin()
    row_x = torch.stack([cos_N * mirror_N, -sin_N, shift_N2[:, 0]], dim=1)
    row_y = torch.stack([sin_N * mirror_N, cos_N, shift_N2[:, 1]], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def _colour(config: Augmentation, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Return colour matrices (N,3,3) (hue, saturation, grayscale), contrast gains (N,) and brightness gains (N,)."""
    saturation_N = draws.uniform(1 - config.saturation, 1 + config.saturation)
    turn_N = draws.uniform(-config.hue, config.hue) * 2 * math.pi
    gray_N = draws.uniform(0, 1) < config.grayscale
    saturation_N = torch.where(gray_N, torch.zeros(()), saturation_N)
    rotate_N33 = torch.zeros(len(turn_N), 3, 3)
    rotate_N33[:, 0, 0] = 1
    rotate_N33[:, 1, 1] = rotate_N33[:, 2, 2] = saturation_N * turn_N.cos()
    rotate_N33[:, 1, 2] = -saturation_N * turn_N.sin()
    rotate_N33[:, 2, 1] = saturation_N * turn_N.sin()
    matrix_N33 = torch.linalg.inv(TO_YIQ) @ rotate_N33 @ TO_YIQ
    contrast_N = draws.uniform(1 - config.contrast, 1 + config.contrast)
    brightness_N = draws.uniform(1 - config.brightness, 1 + config.brightness)
    return matrix_N33, contrast_N, brightness_N


def _light(x_NCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Add light from a random side, a gamma and a colour cast: differences between photos of different days."""
    height, width = x_NCHW.shape[2:]
    angle_N = draws.uniform(0, 2 * math.pi)
    depth_N = draws.uniform(0, strength)
    gamma_N = torch.exp(draws.uniform(-0.5, 0.5) * strength)  # at strength 1 between 0.6 and 1.6
    cast_N3 = 1 + 0.25 * strength * draws.uniform(-1, 1, 3)  # at strength 1 up to a quarter per channel
    v, u = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    ramp = angle_N.cos().reshape(-1, 1, 1) * u + angle_N.sin().reshape(-1, 1, 1) * v
    shade = (1 + depth_N.reshape(-1, 1, 1) * ramp).clamp(0.1).unsqueeze(1).to(x_NCHW.device)
    unit = ((x_NCHW + 1) / 2).clamp(1e-4, 1) ** gamma_N.reshape(-1, 1, 1, 1).to(x_NCHW.device)
    return (unit * shade * cast_N3.reshape(-1, 3, 1, 1).to(x_NCHW.device)).clamp(0, 1) * 2 - 1
