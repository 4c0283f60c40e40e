"""What happens to each view (section 3.2): crop, flip, colours, grayscale, light, drawn on the CPU as one small table.

The numbers of a view are a function of the seed, the epoch, the step, the place of the pair in the batch of all
processes, and the view (two of x, one of y). They depend neither on the device, nor on the number of processes, nor on
the losses in use. augment.py applies the table to the images.

Legend: M pairs of the whole batch, N pairs of this process, V views, C columns of the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from comface.faces.framing import view_drop
from comface.pretrain.config import Augmentation

THETA = slice(0, 6)
"""Columns of the affine map (2,3) from output to input coordinates: crop, rotation and flip."""
MATRIX = slice(6, 15)
"""Columns of the colour matrix (3,3): hue, saturation, grayscale."""
CONTRAST, BRIGHTNESS = 15, 16
"""Columns of the two factors."""
SLOPE = slice(17, 19)
"""Columns of the light's slope to the right and downwards: shade 1 in the centre, 1 + slope at the border."""
GAMMA = 19
CAST = slice(20, 23)
"""Columns of the factors of red, green and blue."""
WIDTH = 23
SHARED: Mapping[str, Sequence[slice]] = {
    "none": (), "crop": (THETA,), "colour": (slice(6, WIDTH),), "all": (slice(WIDTH),),
}  # fmt: skip
"""Columns that the view of y takes over from the first view of x (`Augmentation.shared`)."""

X1, X2, Y = 0, 1, 2
"""The views of a pair: two of x for L_inter, one of y for L_intra."""
TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""RGB to luminance and two colour axes (NTSC). Hue rotates the colour axes, saturation scales them."""
FROM_YIQ = torch.linalg.inv(TO_YIQ)


class Draws(NamedTuple):
    """Uniform random numbers for the views of a batch of `pairs`, of which this process takes its `share`. `generator`
    is on the CPU, so a seed gives the same views on every device."""

    generator: torch.Generator
    pairs: int
    share: slice = slice(None)

    def uniform(self, numbers: int) -> Tensor:
        """Return (V, N, numbers), uniform in [0, 1). The numbers of a pair are drawn one after the other."""
        drawn_MVC = torch.rand(self.pairs, 3, numbers, generator=self.generator)
        return drawn_MVC[self.share].transpose(0, 1)


def draw_views(config: Augmentation, draws: Draws, view_share: float = 1.0) -> Tensor:
    """Return the table of all views, (V, N, WIDTH). `view_share`: the share of the frame that a view covers
    (comface.faces.framing)."""
    area, shift_u, shift_v, turn, mirror, *rest = draws.uniform(16).unbind(-1)
    saturation, hue, gray, contrast, brightness, *light = rest

    scale = view_share * between(config.crop_min_area, config.crop_max_area, area).sqrt()
    room = view_share - scale
    angle = between(-1, 1, turn) * config.rotation_deg * math.pi / 180
    side = torch.where(mirror < config.flip, -1.0, 1.0)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    right, down = room * between(-1, 1, shift_u), room * between(-1, 1, shift_v) + view_drop(view_share)
    theta = [cos * side, -sin, right, sin * side, cos, down]

    matrix = _colour_matrix(
        torch.where(gray < config.grayscale, 0.0, around_one(config.saturation, saturation)),
        between(-1, 1, hue) * config.hue * 2 * math.pi,
    )
    factors = [around_one(config.contrast, contrast), around_one(config.brightness, brightness)]
    lit = _light(config.side_light, *light)
    table_VNC = torch.cat([torch.stack(theta, -1), matrix, torch.stack([*factors, *lit], -1)], -1)
    for columns in SHARED[config.shared]:
        table_VNC[Y, :, columns] = table_VNC[X1, :, columns]
    return table_VNC


def between(low: float, high: float, u: Tensor) -> Tensor:
    return low + (high - low) * u


def around_one(strength: float, u: Tensor) -> Tensor:
    return 1 + strength * between(-1, 1, u)


def _colour_matrix(saturation: Tensor, turn: Tensor) -> Tensor:
    """Return matrices of RGB, (V, N, 9): luminance stays, colours turn by `turn` (radians) and are scaled."""
    cos, sin = saturation * turn.cos(), saturation * turn.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turned = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], -1).unflatten(-1, (3, 3))
    matrix: Tensor = (FROM_YIQ @ turned @ TO_YIQ).flatten(-2)
    return matrix


def _light(
    strength: float, angle: Tensor, depth: Tensor, gamma: Tensor, red: Tensor, green: Tensor, blue: Tensor
) -> list[Tensor]:
    """Return slope, gamma and cast: light from a random side, as photos of different days differ."""
    slope, direction = strength * depth, 2 * math.pi * angle
    exponent = torch.exp(strength * between(-0.5, 0.5, gamma))  # at strength 1 between 0.6 and 1.6
    cast = [around_one(0.25 * strength, u) for u in (red, green, blue)]  # at strength 1 up to a quarter
    return [slope * direction.cos(), slope * direction.sin(), exponent, *cast]
