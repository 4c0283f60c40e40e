"""Glasses and hats.

In: faces, the surface, the unfinished picture in linear light. Out: none; each function paints into the picture. A
larger share enlarges an item (from thin to heavy frames; a hat that comes further down), so that its visible area grows
over the whole range.
"""

from __future__ import annotations

import torch
from torch import Tensor

from comface.generators.procedural.body import over
from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.skin import hue, rgb
from comface.generators.procedural.surface import AXIS_CM, Surface, bump, cover, radians


def glasses(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    share = f.glasses.clamp(0, 1)
    # the frame is 1.2 cm in front of the skin, so the pose shifts it relative to u, v
    u = s.x / torch.cos(radians(f.yaw_deg)) - 1.0 * torch.tan(radians(f.yaw_deg))
    v = s.y - 1.0 * torch.tan(radians(f.pitch_deg)) + 0.25
    a = u.abs()
    seen = (4.0 * share).clamp(0, 1)
    wide, high = 2.15 + 0.35 * share, 1.45 + 0.4 * share
    r = (((a - f.eye_gap_cm - 0.1) / wide).square().square() + (v / high).square().square()).sqrt().sqrt()
    thick = 0.09 + 0.3 * share
    rim = cover(thick - (r - 1).abs() * 1.6, s.pixel_cm)
    bridge = cover(torch.minimum(thick - (v - 0.35 + 0.25 * u * u).abs(), f.eye_gap_cm - wide + 0.25 - a), s.pixel_cm)
    temple = cover(torch.minimum(thick - (v - 0.55).abs(), a - f.eye_gap_cm - wide), s.pixel_cm)
    temple = temple * s.inside
    lens = cover((1 - r) * 1.6, s.pixel_cm)
    picture.lerp_(picture * 0.62 + 0.03, (lens * seen * (0.15 + 0.55 * share))[:, None])
    glint = bump(((a - f.eye_gap_cm + 0.6 + 0.5 * v) / 0.35).square()) * lens
    picture.add_((0.10 * glint * seen * share)[:, None])
    tone = hue(f.hat_hue, 0.35 * torch.ones_like(share), 0.22 - 0.1 * share)
    frame = torch.maximum(torch.maximum(rim, bridge), temple)
    picture.lerp_(tone * 0.5, (frame * seen)[:, None])


def hat(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    share = f.hat.clamp(0, 1)
    centred = s.x + 0.75 * AXIS_CM * torch.sin(radians(f.yaw_deg))
    half = f.skull_cm + 0.75 * f.volume_cm + 0.35
    across = centred / half
    brim_v = 10.8 - 6.9 * share
    tilt = s.v.clamp(-12, 14) * s.inside + s.y * (1 - s.inside)
    edge = tilt - brim_v + 0.9 * across * across
    crown = cover((1 - across.abs().clamp(max=1.5).square()) * half * 0.6, s.pixel_cm)
    nx = across.clamp(-1, 1)
    toward = f.light_x * nx + 0.25 * f.light_y + (1 - nx * nx).clamp(min=0.02).sqrt() * 0.7
    light = f.ambient + 0.9 * f.key * toward.clamp(min=0)
    knit = 0.9 + 0.14 * torch.sin(4.4 * centred) * (0.35 / (s.pixel_cm + 0.25))
    colour = hue(f.hat_hue, 0.75 * torch.ones_like(share), 0.55 + 0.1 * f.phase_a.clamp(-1, 1))
    seen = (4 * share).clamp(0, 1)
    over(picture, colour * (light * knit)[:, None], crown * cover(edge, s.pixel_cm) * seen)
    band = cover(0.75 - (edge - 0.75).abs(), s.pixel_cm) * cover((1.06 - across.abs()) * half, s.pixel_cm)
    over(picture, colour * (0.5 * light)[:, None], band * seen)
    shadow = bump(((edge + 0.5) / 1.3).square()) * (edge < 0) * s.inside
    over(picture, picture * 0.45, shadow * seen * 0.8)
    over(picture, rgb(0.02, 0.02, 0.02, s.x), 0.5 * cover(0.1 - edge.abs(), s.pixel_cm) * crown * seen)
