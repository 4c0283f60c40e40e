"""Neck, ears and shoulders, and earrings, necklace and necktie.

In: faces, the surface, the unfinished picture in linear light (N,3,H,W). Out: none; each function paints into the
picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.skin import hue, mix, rgb, skin_colour
from comface.generators.procedural.surface import AXIS_CM, Surface, bump, chin_cm, cover, radians


def over(picture: Tensor, colour: Tensor, mask_NHW: Tensor) -> None:
    picture.lerp_(colour, mask_NHW[:, None])


def neck(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    middle = -0.55 * AXIS_CM * torch.sin(radians(f.yaw_deg))
    x = s.x - middle
    half = f.neck_cm + 0.05 * (-s.y - f.face_cm).clamp(min=0).square()
    across = (x / half).clamp(-1, 1)
    toward = f.light_x * across + (1 - across * across).sqrt() * 0.8
    light = f.ambient * 0.75 + 0.75 * f.key * toward.clamp(min=0)
    # shadow of the jaw on the neck
    drop = -s.y - chin_cm(f) + 0.055 * x * x
    light = light * (0.42 + 0.58 * ((drop + 0.3) / 4.5).clamp(0, 1))
    lines = f.wrinkles.clamp(0, 1) * bump(((torch.sin(1.5 * s.y + 0.1 * x * x)) / 0.5).square())
    colour = skin_colour(f) * (light * (1 - 0.22 * lines))[:, None]
    over(picture, colour, cover(half - x.abs(), s.pixel_cm) * cover(-s.y - 2.0, s.pixel_cm))


def double_chin(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    """A fold of skin between the jaw and the neck."""
    share = f.double_chin.clamp(0, 1.3)
    x = s.x + 0.27 * AXIS_CM * torch.sin(radians(f.yaw_deg))
    wide = 3.2 + 1.7 * share
    low = -chin_cm(f) - 0.15 - 1.25 * share + 0.075 * x * x
    t = ((s.y - low) / 2.4).clamp(0, 1)
    light = f.ambient * 0.8 + f.key * (0.30 + 0.45 * t * (2 - t) + 0.3 * f.light_x * (x / wide).clamp(-1, 1))
    mask = cover(s.y - low, s.pixel_cm) * cover(wide - x.abs(), s.pixel_cm + 0.6) * (share / 0.25).clamp(0, 1)
    over(picture, skin_colour(f) * light.clamp(min=0.1)[:, None], mask * cover(-5.0 - s.y, s.pixel_cm))
    crease = bump(((s.y - low + 0.1) / 0.42).square()) * cover(wide - x.abs(), s.pixel_cm + 0.6)
    over(picture, skin_colour(f) * 0.1, crease * (0.75 * share).clamp(0, 0.8))


def shoulders(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    x, slope = _chest(f, s)
    tie = f.necktie.clamp(0, 1)
    top = -f.face_cm - 1.5 - 0.02 * x * x - 0.06 * (x.abs() - 6).clamp(min=0)
    neckline = (1.9 - 1.2 * tie) * bump((x / 5.6).square())
    colour = hue(f.cloth_hue, 0.45 * torch.ones_like(tie), f.cloth_light)
    folds = 0.9 + 0.12 * torch.sin(0.9 * x + 3 * f.phase_b) * torch.sin(0.5 * s.y + x * 0.3)
    over(picture, colour * (folds * slope)[:, None], cover((top - neckline - s.y) * 0.9, s.pixel_cm))


def _chest(f: FaceParameters, s: Surface) -> tuple[Tensor, Tensor]:
    """(distance from the chest's middle, its brightness)."""
    x = s.x + 0.3 * AXIS_CM * torch.sin(radians(f.yaw_deg))
    return x, (f.light_x * (x / 14).clamp(-1, 1) + 0.5) * f.key + f.ambient


def necktie(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    x, slope = _chest(f, s)
    tie, a = f.necktie.clamp(0, 1), x.abs()
    rise = -f.face_cm - 3.2 + 3.3 * tie
    collar = torch.minimum(
        rise + 0.25 * (a - 3.6).clamp(min=0) - 0.35 * (3.6 - a).clamp(min=0) - s.y, f.neck_cm + 1.3 - a
    )
    shirt = rgb(0.80, 0.80, 0.82, x) * slope[:, None]
    over(picture, shirt, cover(collar, s.pixel_cm) * (3 * tie).clamp(0, 1))
    seam = bump(((a - 1.2 - 0.9 * (-f.face_cm - 0.4 - s.y)) / 0.3).square())
    over(picture, shirt * 0.35, seam * cover(collar, s.pixel_cm) * (3 * tie).clamp(0, 1) * 0.7)
    top = -f.face_cm - 2.1 + 2.1 * tie
    knot = torch.minimum(1.35 * (0.4 + 0.6 * tie) - a + 0.05 * (s.y - top), top - s.y)
    tone = hue(f.cloth_hue + 0.45, 0.9 * torch.ones_like(tie), 0.45 + 0.2 * tie)
    stripes = 0.8 + 0.35 * torch.sin(3.2 * (x + s.y))
    over(picture, tone * (stripes * slope)[:, None], cover(knot, s.pixel_cm) * (3 * tie).clamp(0, 1))


def necklace(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    x, _ = _chest(f, s)
    share = f.necklace.clamp(0, 1)
    low = -f.face_cm - 3.0 + 2.1 * share
    arc = low + 0.06 * x * x
    thick = 0.16 + 0.42 * share
    bead = 0.65 + 0.35 * torch.sin(4.2 * x)
    band = cover(thick * bead + 0.05 - (s.y - arc).abs() * 0.85, s.pixel_cm) * cover(
        f.neck_cm + 1.2 - x.abs(), s.pixel_cm
    )
    gold = rgb(1.15, 0.85, 0.30, x) * (f.ambient + 0.75 * f.key * bead)[:, None]
    over(picture, gold, band * (4 * share).clamp(0, 1))


def ears(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    yaw = radians(f.yaw_deg)
    colour = skin_colour(f) * rgb(1.0, 0.86, 0.82, s.x)
    for sign in (-1.0, 1.0):
        u, z = sign * (f.skull_cm + 0.28 + 0.45 * f.fat.clamp(min=0) * 0.6), -6.6
        x = u * torch.cos(yaw) + z * torch.sin(yaw)
        wide, high = 0.95 * f.ear, 2.0 * f.ear
        dx, dy = (s.x - x) * sign / wide, (s.y + 0.9 - 0.12 * (s.x - x) * sign) / high
        r = (dx * dx + dy * dy).sqrt()
        light = f.ambient * 0.8 + f.key * (0.4 + 0.5 * sign * f.light_x).clamp(min=0.05)
        hollow = bump(((dx - 0.15) / 0.6).square() + (dy / 0.62).square())
        shaded = colour * (light * (1 - 0.5 * hollow))[:, None]
        over(picture, shaded, cover((1 - r) * wide, s.pixel_cm))


def earrings(f: FaceParameters, s: Surface, picture: Tensor) -> None:
    """Paint earrings over the hair, so that they are visible."""
    share = f.earrings.clamp(0, 1)
    yaw = radians(f.yaw_deg)
    for sign in (-1.0, 1.0):
        x = sign * (f.skull_cm + 0.15) * torch.cos(yaw) - 5.6 * torch.sin(yaw)
        drop = 2.9 * f.ear + 1.1 * share
        radius = 0.12 + 0.72 * share
        dx, dy = s.x - x, s.y + drop + 0.4
        r = (dx * dx + 0.55 * dy * dy).sqrt()
        glint = 0.55 + 0.45 * bump(((dx + 0.25 * radius) / radius).square() + ((dy - 0.3 * radius) / radius).square())
        metal = mix(rgb(1.2, 0.95, 0.42, s.x), rgb(0.95, 1.0, 1.1, s.x), f.iris_blue.clamp(0, 1))
        over(picture, metal * glint[:, None] * f.key[:, None], cover(radius - r, s.pixel_cm) * (4 * share).clamp(0, 1))
