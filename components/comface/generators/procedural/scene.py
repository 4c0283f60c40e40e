"""Background before the face is painted, and camera after it.

In: faces, picture size. Out: the wall in linear light (N,3,H,W); the developed picture in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.skin import hue, rgb


def wall(f: FaceParameters, size_px: int) -> Tensor:
    """A wall with a gradient and blurred things before it."""
    line = torch.linspace(-1, 1, size_px, device=f.zoom.device)
    x, y = line[None, None, :], line[None, :, None]
    near = hue(f.wall_hue, f.wall_saturation, f.wall_light)
    far = hue(f.wall_hue + 0.12 + 0.1 * f.wall_slope, f.wall_saturation, (f.wall_light * 0.75 + 0.08))
    p = f.wall_phase
    blobs = torch.sin(3.1 * x + 2.3 * p) * torch.sin(2.7 * y - 1.7 * p) + 0.6 * torch.sin(5.3 * x - 3.1 * y + 4.1 * p)
    beam = torch.sin(6.0 * x + 5 * p + 0.4 * torch.sin(2 * y)).clamp(-0.4, 0.4)
    share = 0.5 + 0.4 * f.wall_slope * x + 0.2 * y + 0.35 * f.wall_pattern * blobs
    light = 1 + 0.5 * f.wall_pattern * (beam + 0.3 * blobs) + 0.25 * f.wall_slope * x
    picture = near + (far - near) * share.clamp(0, 1)[:, None]
    return picture * light.clamp(min=0.1)[:, None] * (0.45 + 0.55 * f.exposure)[:, None].clamp(0.3, 1.5)


def developed(f: FaceParameters, picture: Tensor) -> Tensor:
    """Exposure, colour of the light, highlights rolled off, display gamma, focus."""
    cast = 1 + rgb(0.22, 0.02, -0.24, picture) * f.warmth[:, None]
    linear = picture * (f.exposure[:, None] * cast)
    linear = linear.clamp_(min=0)
    # rolls off above .5 and keeps what is below
    shown = (linear * 1.12 / (1 + 0.2 * linear + 0.12 * linear * linear)).clamp_(0, 1).sqrt_()
    return _focused(f, shown).clamp_(0, 1).mul_(2).sub_(1)


def _focused(f: FaceParameters, picture: Tensor) -> Tensor:
    """Unsharp masking below 0, blur above; blur = 1 takes out all that is finer than a cm."""
    if not bool((f.blur.abs() > 1e-3).any()):
        return picture
    radius = max(1, round(0.012 * picture.shape[-1]))
    soft = _box(_box(picture, radius), radius)
    wide = _box(_box(soft, 3 * radius), 2 * radius)
    b = f.blur[:, None]
    sharp = picture + 1.3 * b.clamp(-1, 0).abs() * (picture - soft)
    first = (2 * b).clamp(0, 1)
    second = (2 * b - 1).clamp(0, 1)
    return sharp + first * (soft - picture) + second * (wide - soft)


def _box(picture: Tensor, radius: int) -> Tensor:
    return avg_pool2d(pad(picture, (radius,) * 4, mode="replicate"), 2 * radius + 1, stride=1)
