"""Hair of the head: an envelope behind the face, a cap in front of it, and its shading.

In: faces and the surface. Out: masks (N,H,W) behind and in front of the head, and the shaded colour (N,3,H,W).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.skin import hair_colour, rgb
from comface.generators.procedural.surface import AXIS_CM, BROADEST_CM, Surface, cover, outline, radians


class Hair(NamedTuple):
    behind: Tensor
    before: Tensor
    colour: Tensor


def hairline_cm(f: FaceParameters, side: Tensor, u: Tensor) -> Tensor:
    """Height above which hair grows, by the position between the head's outlines (side, -1..1)."""
    s2 = side * side
    s4 = s2 * s2
    s8 = s4 * s4
    temples = (4 * s2 * (1 - s2)).clamp(min=0)
    bare = 6.2 + 0.8 * f.parting * side - 0.9 * s2 - 1.6 * s8 + 1.9 * f.receding * temples * temples + 0.5 * f.receding
    bald = bare + 6.5 * f.bald * (1 - 0.75 * s8)
    burn = (1.2 + 3.6 * f.sideburns) * ((side.abs() - 0.86) / 0.08).clamp(0, 1) + 3.0 * (
        (side.abs() - 0.8) / 0.1
    ).clamp(0, 1)
    strands = 0.3 * torch.sin(1.9 * u + 0.8 * torch.sin(0.9 * u + f.phase_b) + 4 * f.phase_a)
    strands = strands + 0.22 * torch.sin(4.3 * u + 1.3 * torch.sin(1.7 * u) + 7 * f.phase_b)
    fall = (f.fringe * 4.6 * (1 - 0.3 * (u * 0.2 - 0.8 * f.parting).square() - 0.16 * f.parting * u)).clamp(min=0)
    rough = strands * (0.25 + 1.1 * f.fringe.clamp(0, 1))
    return bald - fall * (1 - f.bald.clamp(0, 1)) - burn * (1 - 0.4 * f.bald) + rough


def hair(f: FaceParameters, s: Surface) -> Hair:
    sin = torch.sin(radians(f.yaw_deg))
    centred = s.x + 0.9 * AXIS_CM * sin
    volume = f.volume_cm * (1 - 0.85 * f.bald.clamp(0, 1))
    crown = f.forehead_cm + volume
    b = ((s.y - BROADEST_CM) / (crown - BROADEST_CM)).clamp(0, 1.3)
    b2 = b * b
    long = ((f.hair_cm - 1.0) / 5.0).clamp(0, 1)
    below = ((BROADEST_CM - s.y) / 10).clamp(0, 1.2)
    ripple = f.wave * (0.28 * torch.sin(1.5 * s.y + 2 * f.phase_b) * (0.3 + long))
    half = f.skull_cm + 0.8 * volume + 0.35 * long + ripple + (0.9 * f.wave + 0.5) * long * below
    across = centred / half
    envelope = outline(1 - 0.3 * b2 - 0.7 * b2 * b2 - across * across)
    end = s.y + f.hair_cm + 0.4 * torch.sin(2.2 * s.x + 5 * f.phase_a)
    hanging = envelope * cover(end * 0.8, s.pixel_cm + 0.4)
    behind = hanging * (1 - f.bald.clamp(0, 1) * (1 - long)).clamp(0, 1)
    line = s.v - hairline_cm(f, s.side, s.u)
    cap = cover(line * 0.8, s.pixel_cm + 0.3) * (s.inside > 0)
    lock = (centred.abs() - (s.half_cm * (0.93 - 0.06 * f.wave)).clamp(min=5.3)) * 0.9
    curtains = hanging * cover(lock, s.pixel_cm + 0.3) * (long * cover(2.5 - s.y, s.pixel_cm + 2.0))
    before = 1 - (1 - cap) * (1 - curtains)
    return Hair(behind, before, _shaded(f, s, across, b2))


def _shaded(f: FaceParameters, s: Surface, across: Tensor, b2: Tensor) -> Tensor:
    wavy = s.x + f.wave * 0.7 * torch.sin(1.3 * s.y + 3 * f.phase_a)
    strands = torch.sin(3.1 * wavy + 5 * f.phase_b + 0.35 * s.y) + 0.7 * torch.sin(7.3 * wavy - 0.5 * s.y)
    ny = (b2 - 0.15).clamp(0, 1)
    nx = across.clamp(-1, 1)
    toward = f.light_x * nx + f.light_y * ny + (1 - nx * nx - ny * ny * 0.5).clamp(min=0.05).sqrt() * 0.75
    light = f.ambient * 0.8 + f.key * (toward * 0.85).clamp(min=0)
    band = (1 - ((b2 - 0.42 - 0.15 * f.wave * torch.sin(1.9 * s.x)) / 0.3).square()).clamp(min=0)
    gloss = 0.05 * f.key * band * (1 - nx * nx).clamp(min=0) * (1.3 - f.wave)
    colour = hair_colour(f) * (light * (1 + 0.2 * strands))[:, None]
    return colour + (gloss * (1 + 0.4 * strands))[:, None] * rgb(1.0, 0.95, 0.9, s.x)
