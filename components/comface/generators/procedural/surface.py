"""The intersection of each pixel's ray with the head.

In: faces as planes (N,1,1) and the image size. Out: head coordinates (u, v) and depth of the visible point, and the
share of each pixel that the head covers. The head is a stack of ellipses along v, whose half width and half depth
follow profiles (skull, cheek, jaw, chin). A ray intersects an ellipse in closed form, so no ray marching is needed.

Legend: N faces, H = W = side length in pixels; lengths in cm (parameters.py); x right and y up in the image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from comface.faces.framing import EYES_MIDPOINT_PX, FRAME_PX
from comface.generators.procedural.parameters import FaceParameters

SPAN_CM = 21.0  # side of the image: an eye distance of 6.3 cm is 19.2 of 64 pixels
CENTRE_X, CENTRE_Y = (px / FRAME_PX for px in EYES_MIDPOINT_PX)  # midpoint of the eyes, from the image's corner
AXIS_CM = 7.6  # distance of the head's axis behind the eyes
BROADEST_CM = 1.2  # height at which the head is broadest


class Surface(NamedTuple):
    """The visible points of the pixels, each (N,H,W)."""

    x: Tensor
    y: Tensor
    u: Tensor
    v: Tensor
    depth: Tensor
    """Towards the camera, in cm, 0 at the eyes."""
    side: Tensor
    """-1 at the head's left outline in the image, 1 at the right one."""
    inside: Tensor
    """1 inside the head's outline."""
    half_cm: Tensor
    """Half width of the head's outline at this height."""
    pixel_cm: Tensor
    """Side of a pixel, (N,1,1)."""


def bump(square_distance: Tensor) -> Tensor:
    """A smooth bump: 1 at 0, exactly 0 from 1 on, so that pixels outside its window can be skipped."""
    return (1 - square_distance).clamp_(min=0).square_()


def cover(distance_cm: Tensor, pixel_cm: Tensor) -> Tensor:
    """Share of a pixel inside an edge (0..1), from the signed distance (positive inside)."""
    return (distance_cm / pixel_cm + 0.5).clamp_(0, 1)


def outline(level: Tensor) -> Tensor:
    """Share of each pixel in which `level` (N,H,W) is above 0, from its slope."""
    dx, dy = slopes(level)
    return (level / (dx.square_() + dy.square_() + 1e-9).sqrt_() + 0.5).clamp_(0, 1)


def slopes(z_NHW: Tensor) -> tuple[Tensor, Tensor]:
    """Differences along x and down y per pixel."""
    dx, dy = torch.empty_like(z_NHW), torch.empty_like(z_NHW)
    torch.sub(z_NHW[..., 2:], z_NHW[..., :-2], out=dx[..., 1:-1])
    dx[..., 1:-1] *= 0.5
    dx[..., 0], dx[..., -1] = dx[..., 1], dx[..., -2]
    torch.sub(z_NHW[..., 2:, :], z_NHW[..., :-2, :], out=dy[..., 1:-1, :])
    dy[..., 1:-1, :] *= 0.5
    dy[..., 0, :], dy[..., -1, :] = dy[..., 1, :], dy[..., -2, :]
    return dx, dy


def radians(degrees: Tensor) -> Tensor:
    return degrees * (math.pi / 180)


def picture_plane(f: FaceParameters, size_px: int) -> tuple[Tensor, Tensor]:
    """x, y (N,H,W) in the camera plane of the upright head."""
    index = torch.arange(size_px, device=f.zoom.device, dtype=torch.float32) + 0.5
    across = (index - CENTRE_X * size_px) * (SPAN_CM / size_px)
    down = (index - CENTRE_Y * size_px) * (SPAN_CM / size_px)
    roll = radians(f.roll_deg)
    cos, sin = torch.cos(roll) / f.zoom, torch.sin(roll) / f.zoom
    px = across[None, None, :] - f.shift_x_cm
    py = -down[None, :, None] - f.shift_y_cm
    return cos * px - sin * py, sin * px + cos * py


def chin_cm(f: FaceParameters) -> Tensor:
    return f.face_cm + 0.16 * f.au26 + 0.03 * f.au25 + 0.12 * f.fat.clamp(min=0)


def profile(f: FaceParameters, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At height v: half width, half depth, and a level that is 0 at chin and crown."""
    a = ((BROADEST_CM - v) / (BROADEST_CM + chin_cm(f))).clamp(0, 1.3)
    b = ((v - BROADEST_CM) / (f.forehead_cm - BROADEST_CM)).clamp(0, 1.3)
    a2, b2 = a * a, b * b
    a4, b4 = a2 * a2, b2 * b2
    a8 = a4 * a4
    # the shares of a^2 (pointed), a^4 and a^8 (square) sum to one, so that the outline closes at the chin
    pointed = 0.62 - 0.16 * f.square - 0.14 * f.jaw - 0.1 * f.fat
    blunt = 0.1 + 0.06 * f.square + 0.06 * f.jowl + 0.04 * f.fat
    level = 1 - pointed * a2 - (1 - pointed - blunt) * a4 - blunt * a8 - 0.2 * b2 - 0.8 * b4
    root = level.clamp(min=1e-4).sqrt()
    cheek = bump(((v + 2.0) / 4.0).square())
    soft = bump(((v + 4.8) / 5.5).square())
    sag = bump(((v + f.face_cm - 2.4) / 2.6).square())
    width = f.skull_cm + 0.28 * f.cheekbone * cheek + (0.55 * f.fat + 0.35 * f.edema) * soft
    width = width + (0.45 * f.jowl + 0.25 * f.edema) * sag - 0.25 * f.jowl * cheek
    # not deeper than at the chin, so that a ray below the chin does not hit the face again
    back = (a8 * a2).clamp(max=1)
    depth = AXIS_CM * (1 - 0.1 * a2.clamp(max=1) - 0.55 * back - 0.15 * b2 - 0.85 * b4).clamp(min=1e-4).sqrt()
    return width * root, depth, level


def see(f: FaceParameters, size_px: int) -> Surface:
    """Intersect every ray with the smooth head."""
    x, y = picture_plane(f, size_px)
    yaw, pitch = radians(f.yaw_deg), radians(f.pitch_deg)
    sin, cos = torch.sin(yaw), torch.cos(yaw)
    centred = x + AXIS_CM * sin
    # the visible height and the depth depend on each other; a sphere's depth is close enough and does not oscillate
    ball = (AXIS_CM * AXIS_CM - centred * centred).clamp(min=0).sqrt_() - AXIS_CM
    v = y / torch.cos(pitch) - (ball - 0.025 * y * y) * torch.tan(pitch)
    width, depth, level = profile(f, v)
    w2, d2 = width * width, depth * depth
    e2 = w2 * (cos * cos) + d2 * (sin * sin)
    half = e2.sqrt()
    side = centred / half
    chord = (1 - side * side).clamp(min=0).sqrt() * (width * depth) / half
    t = -AXIS_CM * cos + (d2 - w2) * (sin * cos) * side.clamp(-1, 1) / half + chord
    inside = outline(level) * _beside(half - centred.abs(), half, (SPAN_CM / size_px) / f.zoom)
    u = x * cos - t * sin
    pixel = (SPAN_CM / size_px) / f.zoom
    return Surface(x, y, u, v, t, side.clamp(-1, 1), inside, half, pixel)


def _beside(distance_cm: Tensor, half_cm: Tensor, pixel_cm: Tensor) -> Tensor:
    """Share of a pixel between the outline's sides: the distance along the row, corrected for the edge's slope."""
    _, down = slopes(half_cm)
    steep = (down / pixel_cm).square_().clamp_(max=36.0)
    return cover(distance_cm * (1 + steep).rsqrt_(), pixel_cm)


def project(f: FaceParameters, u: Tensor, v: Tensor, z: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """Project points of the head (N,K) to column and row in pixels; (0, 0) is the centre of the top left pixel."""
    yaw, pitch, roll = radians(f.yaw_deg)[:, None], radians(f.pitch_deg)[:, None], radians(f.roll_deg)[:, None]
    x = u * torch.cos(yaw) + z * torch.sin(yaw)
    t = -u * torch.sin(yaw) + z * torch.cos(yaw)
    y = v * torch.cos(pitch) + t * torch.sin(pitch)
    zoom = f.zoom[:, None]
    px = (x * torch.cos(roll) + y * torch.sin(roll)) * zoom + f.shift_x_cm[:, None]
    py = (-x * torch.sin(roll) + y * torch.cos(roll)) * zoom + f.shift_y_cm[:, None]
    scale = size_px / SPAN_CM
    return px * scale + CENTRE_X * size_px - 0.5, CENTRE_Y * size_px - py * scale - 0.5
