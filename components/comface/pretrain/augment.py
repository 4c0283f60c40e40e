"""Augmentation of views: flip, random crop, colour jitter, grayscale (section 3.2), batched on the device.

One grid_sample carries crop, flip and rotation; one 3x3 matrix and offset carry brightness, contrast, saturation,
hue and grayscale. Strengths are `Augmentation` in config.py. Every view draws its own: the same draw for x and y, or
none at all, lets pixel differences solve the pretext task, and nothing transfers.

Legend: N views, H = W = side length. Images float32 (N,3,H,W) in [-1, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from comface.config import Augmentation
from comface.views import view_drop

LUMA = (0.299, 0.587, 0.114)
TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def augment(
    x_NCHW: Tensor, size_px: int, config: Augmentation, generator: torch.Generator, view_share: float = 1.0
) -> Tensor:
    """One augmented view per image: (N,3,size_px,size_px) in [-1, 1], of the `view_share` of the frame that
    comface.views names. Draws come from `generator` (CPU), so the same seed gives the same views on every device."""
    count = x_NCHW.shape[0]
    device = x_NCHW.device
    theta_N23 = _crop(count, config, generator, view_share).to(device)
    matrix_N33, gain_N, pivot_N = (t.to(device) for t in _colour(count, config, generator))
    grid = functional.affine_grid(theta_N23, [count, 3, size_px, size_px], align_corners=False)
    x_NCHW = functional.grid_sample(x_NCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if config.side_light:
        x_NCHW = _light(x_NCHW, config.side_light, generator)
    mean_N111 = (x_NCHW.mean(dim=(2, 3)) @ torch.tensor(LUMA, device=device)).reshape(-1, 1, 1, 1)
    # Contrast pivots on the mean luminance, as ColorJitter's does; brightness scales from black (-1).
    coloured = torch.einsum("nij,njhw->nihw", matrix_N33, x_NCHW - mean_N111)
    coloured = coloured * gain_N.reshape(-1, 1, 1, 1) + mean_N111
    return ((coloured + 1) * pivot_N.reshape(-1, 1, 1, 1) - 1).clamp(-1, 1)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _crop(count: int, config: Augmentation, generator: torch.Generator, view_share: float) -> Tensor:
    """Affine maps (N,2,3) from output to input coordinates: crop of random area and place, rotation, flip."""
    scale_N = view_share * _uniform(count, config.crop_min_area, 1.0, generator).sqrt()
    shift_N2 = (view_share - scale_N)[:, None] * (2 * torch.rand(count, 2, generator=generator) - 1)
    shift_N2[:, 1] += view_drop(view_share)
    angle_N = _uniform(count, -config.rotation_deg, config.rotation_deg, generator) * math.pi / 180
    mirror_N = torch.where(torch.rand(count, generator=generator) < config.flip, -1.0, 1.0)
    cos_N, sin_N = scale_N * angle_N.cos(), scale_N * angle_N.sin()
    row_x = torch.stack([cos_N * mirror_N, -sin_N, shift_N2[:, 0]], dim=1)
    row_y = torch.stack([sin_N * mirror_N, cos_N, shift_N2[:, 1]], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def _colour(count: int, config: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Colour matrices (N,3,3) (hue turn, saturation, grayscale), contrast gains (N,), brightness gains (N,)."""
    saturation_N = _uniform(count, 1 - config.saturation, 1 + config.saturation, generator)
    turn_N = _uniform(count, -config.hue, config.hue, generator) * 2 * math.pi
    gray_N = torch.rand(count, generator=generator) < config.grayscale
    saturation_N = torch.where(gray_N, torch.zeros(()), saturation_N)
    rotate_N33 = torch.zeros(count, 3, 3)
    rotate_N33[:, 0, 0] = 1
    rotate_N33[:, 1, 1] = rotate_N33[:, 2, 2] = saturation_N * turn_N.cos()
    rotate_N33[:, 1, 2] = -saturation_N * turn_N.sin()
    rotate_N33[:, 2, 1] = saturation_N * turn_N.sin()
    matrix_N33 = torch.linalg.inv(TO_YIQ) @ rotate_N33 @ TO_YIQ
    contrast_N = _uniform(count, 1 - config.contrast, 1 + config.contrast, generator)
    brightness_N = _uniform(count, 1 - config.brightness, 1 + config.brightness, generator)
    return matrix_N33, contrast_N, brightness_N


def _light(x_NCHW: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A light from a random side, a gamma and a colour cast: what differs between two photos of different days."""
    count, _, height, width = x_NCHW.shape
    angle_N = _uniform(count, 0, 2 * math.pi, generator)
    depth_N = _uniform(count, 0, strength, generator)
    gamma_N = torch.exp(_uniform(count, -0.5, 0.5, generator) * strength)
    cast_N3 = 1 + 0.25 * strength * (2 * torch.rand(count, 3, generator=generator) - 1)
    v, u = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    ramp = angle_N.cos().reshape(-1, 1, 1) * u + angle_N.sin().reshape(-1, 1, 1) * v
    shade = (1 + depth_N.reshape(-1, 1, 1) * ramp).clamp(0.1).unsqueeze(1).to(x_NCHW.device)
    unit = ((x_NCHW + 1) / 2).clamp(1e-4, 1) ** gamma_N.reshape(-1, 1, 1, 1).to(x_NCHW.device)
    return (unit * shade * cast_N3.reshape(-1, 3, 1, 1).to(x_NCHW.device)).clamp(0, 1) * 2 - 1
