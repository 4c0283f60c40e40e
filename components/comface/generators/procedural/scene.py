"""The background, painted before the face, and the camera, applied after it.

In: faces, image size. Out: the wall in linear light (N,3,H,W); the final image in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.skin import hue, rgb


def wall(f: FaceParameters, size_px: int) -> Tensor:
    """A wall with a gradient and blurred shapes."""
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
    """Apply exposure, colour of the light, highlight roll-off, display gamma and focus."""
    cast = 1 + rgb(0.22, 0.02, -0.24, picture) * f.warmth[:, None]
    linear = picture * (f.exposure[:, None] * cast)
    linear = linear.clamp_(min=0)
    # roll-off above 0.5; lower values are unchanged
    shown = (linear * 1.12 / (1 + 0.2 * linear + 0.12 * linear * linear)).clamp_(0, 1).sqrt_()
    return _focused(f, shown).clamp_(0, 1).mul_(2).sub_(1)


def _focused(f: FaceParameters, picture: Tensor) -> Tensor:
    """Unsharp masking below 0, blur above 0; blur = 1 removes details below 3 cm."""
    step = max(1, round(picture.shape[-1] / 64))
    soft = _smooth(picture, step)
    b = f.blur[:, None]
    shown = picture + (1.1 * b.clamp(-1, 0) + 2.5 * b.clamp(0, 0.4)) * (soft - picture)
    at = torch.nonzero(f.blur.flatten() > 0.1)[:, 0]
    if len(at):
        wide = interpolate(soft[at], size=picture.shape[-1] // (5 * step), mode="area")
        wide = interpolate(wide, size=picture.shape[-1], mode="bilinear", align_corners=False)
        shown[at] += ((b[at] - 0.1) / 0.9).clamp(0, 1) * (wide - shown[at])
    return shown


def _smooth(picture: Tensor, step: int) -> Tensor:
    """Apply [1 2 1] / 4 twice along both axes, with taps `step` pixels apart; the border is unchanged."""
    for axis in (2, 3, 2, 3):
        size = picture.shape[axis]
        before, after = picture.narrow(axis, 0, size - 2 * step), picture.narrow(axis, 2 * step, size - 2 * step)
        smooth = picture.clone()
        smooth.narrow(axis, step, size - 2 * step).mul_(0.5).add_(before + after, alpha=0.25)
        picture = smooth
    return picture
