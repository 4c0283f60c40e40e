"""Render face parameters to images, painting from back to front.

In: FaceParameters of N faces. Out: images (N,3,H,W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from comface.generators.procedural import body, skin, worn
from comface.generators.procedural.hair import hair
from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.relief import CHEST, EARS, GLASSES, HAT, LOWER, NECK, Window, Windows, relief
from comface.generators.procedural.scene import developed, wall
from comface.generators.procedural.surface import Surface, bump, see, slopes

PIXELS_AT_ONCE = 128 * 1024  # a plane of this many floats fits into a core's cache


def render_parameters(faces: FaceParameters, size_px: int) -> Tensor:
    """Images (N,3,size_px,size_px), float32 in [-1, 1]."""
    at_once = max(1, PIXELS_AT_ONCE // (size_px * size_px))
    out = torch.empty(len(faces), 3, size_px, size_px, device=faces.zoom.device)
    with torch.inference_mode():
        for start in range(0, len(faces), at_once):
            stop = min(start + at_once, len(faces))
            out[start:stop] = _render(faces.rows(start, stop), size_px)
    return out


def _render(rows: FaceParameters, size_px: int) -> Tensor:
    f = rows.planes()
    s, windows = see(f, size_px), Windows(rows, size_px)
    height = relief(f, s, windows)
    albedo = skin.skin(f, s, windows)
    skin.lips(f, s, albedo, windows)
    hairy = rows.stubble + rows.moustache + rows.goatee + rows.beard
    only(hairy, skin.beard, rows, s, albedo, windows[LOWER])
    wet = skin.eyeballs(f, s, albedo, windows)
    lit = _lit(f, s, height, albedo, wet)

    picture = wall(f, size_px)
    locks = hair(f, s)
    body.over(picture, locks.colour * 0.7, locks.behind)
    within(windows[NECK], body.neck, f, s, picture)
    only(rows.double_chin, body.double_chin, rows, s, picture, windows[NECK])
    within(windows[CHEST], body.shoulders, f, s, picture)
    only(rows.necktie, body.necktie, rows, s, picture, windows[CHEST])
    only(rows.necklace, body.necklace, rows, s, picture, windows[CHEST])
    within(windows[EARS], body.ears, f, s, picture)
    body.over(picture, lit, s.inside)
    body.over(picture, locks.colour, locks.before)
    only(rows.earrings, body.earrings, rows, s, picture, windows[EARS])
    only(rows.glasses, worn.glasses, rows, s, picture, windows[GLASSES])
    only(rows.hat, worn.hat, rows, s, picture, windows[HAT])
    return developed(f, picture)


Painter = Callable[[FaceParameters, Surface, Tensor], None]


def within(at: Window, paint: Painter, f: FaceParameters, s: Surface, picture: Tensor) -> None:
    """Paint the part of the picture inside the window."""
    part = at.cut(picture)
    paint(f, Surface(*(plane if plane.shape[-1] == 1 else at.cut(plane) for plane in s)), part)
    at.of(picture).copy_(part)


def only(share_N: Tensor, paint: Painter, rows: FaceParameters, s: Surface, picture: Tensor, at: Window) -> None:
    """Paint only the faces that have the item, so that rare items cost little."""
    who = torch.nonzero(share_N > 0)[:, 0]
    if len(who):
        some = picture[who]
        within(at, paint, rows.pick(who).planes(), Surface(*(plane[who] for plane in s)), some)
        picture[who] = some


def _lit(f: FaceParameters, s: Surface, height: Tensor, albedo: Tensor, wet: Tensor) -> Tensor:
    """Diffuse light, ambient light, gloss, and the shadow of the nose."""
    dx, dy = slopes(s.depth + height)
    nx, ny = -dx / s.pixel_cm, dy / s.pixel_cm
    norm = (1 + nx * nx + ny * ny).rsqrt()
    scale = (1 + f.light_x**2 + f.light_y**2).rsqrt()
    lx, ly = f.light_x * scale, f.light_y * scale
    toward = (nx * lx + ny * ly + scale) * norm
    diffuse = ((toward + 0.12) / 1.12).clamp(min=0)
    sky = 0.72 + 0.28 * ny * norm + 0.0 * s.u
    across = s.u + lx * 1.5
    shadow = bump((across / 1.15).square() + ((s.v + f.nose_cm + 0.55 + 0.7 * ly) / 1.15).square())
    under_lip = bump((s.u / 1.7).square() + ((s.v + f.mouth_cm + 1.35) / 0.55).square())
    shade = 1 - 0.45 * shadow * f.key - 0.22 * under_lip
    light = f.ambient * sky * (1 - 0.1 * shadow) + f.key * diffuse * shade
    half = ((toward + norm) * 0.5).clamp(min=0)
    gloss = half.square().square().square().square() * (0.02 + 0.07 * f.shine) * f.key
    lit = albedo * light[:, None] + gloss[:, None] * (1 - 0.8 * wet)[:, None]
    spark = bump(
        ((s.u.abs() - f.eye_gap_cm + 0.22 * s.u.sign() * -f.light_x.sign()) / 0.3).square()
        + ((s.v - 0.26) / 0.28).square()
    )
    return lit + (0.7 * f.key * wet * spark)[:, None]
