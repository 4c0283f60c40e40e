"""The relief of a face: nose, eye sockets, cheeks, lips, chin, folds and wrinkles, as heights over the smooth head.

In: faces and the smooth surface. Out: the surface with the nose's parallax, heights in cm (N,H,W), and the curves of
mouth and eyes for painting. Each part computes only the window of pixels that it can reach, which gives most of the
renderer's speed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.physiology import ramp
from comface.generators.procedural.surface import Surface, bump, chin_cm, project, radians


class Window(NamedTuple):
    rows: slice
    columns: slice

    def of(self, z_NHW: Tensor) -> Tensor:
        """A view for writing."""
        return z_NHW[..., self.rows, self.columns]

    def cut(self, z_NHW: Tensor) -> Tensor:
        """A copy for computing: contiguous memory is two to four times as fast as a view."""
        return self.of(z_NHW).contiguous()


Box = tuple[float, float, float, float, float]
"""Extent in the head's frame: maximum |u|, minimum v, maximum v, minimum z, maximum z."""
NOSE: Box = (3.2, -7.0, 1.6, -1.5, 2.6)
EYES: Box = (6.4, -3.4, 4.2, -4.5, 1.2)
MOUTH: Box = (5.2, -12.6, -2.6, -4.5, 1.0)
LOWER: Box = (8.6, -12.6, 2.4, -9.0, 2.0)
FOREHEAD: Box = (7.0, 1.6, 9.0, -7.0, 1.0)
NECK: Box = (40.0, -60.0, -1.2, -8.0, 2.0)
CHEST: Box = (40.0, -60.0, -6.5, -8.0, 2.0)
EARS: Box = (9.8, -6.5, 2.2, -8.5, -4.5)
GLASSES: Box = (8.0, -3.4, 3.2, -4.5, 1.6)
HAT: Box = (40.0, 1.6, 60.0, -8.0, 1.0)


class Windows:
    """The pixels that a box can reach in any of these faces (tensors (N,), not planes); computed once per box."""

    def __init__(self, rows: FaceParameters, size_px: int) -> None:
        self._rows, self._size_px = rows, size_px
        self._known: dict[Box, Window] = {}

    def __getitem__(self, box: Box) -> Window:
        if box not in self._known:
            self._known[box] = self._window(box)
        return self._known[box]

    def _window(self, box: Box) -> Window:
        reach, low, high, back, front = box
        corners = torch.tensor(
            [[u, v, z] for u in (-reach, reach) for v in (low, high) for z in (back, front)],
            device=self._rows.zoom.device,
        )
        u, v, z = corners[None, :, 0], corners[None, :, 1], corners[None, :, 2]
        column, row = project(self._rows, u, v, z, self._size_px)
        bounds = torch.stack([row.min(), row.max(), column.min(), column.max()]).tolist()
        ends = [min(max(int(bounds[i]) + (-1 if i % 2 == 0 else 3), 0), self._size_px) for i in range(4)]
        if ends[1] - ends[0] < 3 or ends[3] - ends[2] < 3:
            return Window(slice(0, 3), slice(0, 3))
        return Window(slice(ends[0], ends[1]), slice(ends[2], ends[3]))


class Mouth(NamedTuple):
    """Curves of the lips at every u, as heights v (N,h,w), with inside = 1 - (u / half)^2."""

    inside: Tensor
    line: Tensor
    upper_edge: Tensor
    lower_edge: Tensor
    top: Tensor
    bottom: Tensor
    gap: Tensor


def mouth_half_cm(f: FaceParameters) -> Tensor:
    return f.mouth_half_cm * (1 + 0.06 * f.au12 - 0.02 * f.au26) + 0.06 * f.fat


def mouth(f: FaceParameters, u: Tensor) -> Mouth:
    r2 = (u / mouth_half_cm(f)).square()
    corner = 0.155 * f.au12 - 0.13 * f.au15 - 0.1 * f.jowl  # how far it lies above the middle of the line
    middle = 0.025 * f.au12 - 0.02 * f.au26  # how far it is moved
    inside = 1 - r2
    arch = inside.clamp(min=0)
    line = corner * r2.clamp(max=1.3) + (middle - f.mouth_cm)
    gap = (0.1 * f.au25 + 0.27 * f.au26 + 0.05 * (f.au12 - 2.2).clamp(min=0)) * arch.sqrt()
    upper_edge, lower_edge = line + 0.3 * gap, line - 0.7 * gap
    peak = 1 + 0.25 * bump(((u.abs() - 0.6) / 0.7).square()) - 0.12 * bump((u / 0.45).square())
    top = upper_edge + f.upper_lip_cm * (1 - 0.06 * f.au12) * arch * peak
    bottom = lower_edge - f.lower_lip_cm * (1 - 0.04 * f.au12) * arch.sqrt() * (0.35 + 0.65 * arch)
    return Mouth(inside, line, upper_edge, lower_edge, top, bottom, gap)


class Eyes(NamedTuple):
    """Both eyes at once, by |u|: p outwards from the eye's centre, q upwards along its axis, and the lids."""

    p: Tensor
    q: Tensor
    inside: Tensor
    upper: Tensor
    lower: Tensor


def lids_cm(f: FaceParameters) -> tuple[Tensor, Tensor]:
    """Heights of the middle of the upper and the lower lid above the eye's axis."""
    puff = f.edema.clamp(min=0)
    upper = 0.64 * f.eye_open * (1 - 0.035 * f.au6 - 0.04 * f.au4) - 0.1 * f.hood - 0.05 * puff
    lower = -0.48 * f.eye_open + 0.062 * f.au6 + 0.1 * puff
    upper = torch.maximum(upper, lower + 0.12)
    return upper + (lower + 0.1 - upper) * f.blink, lower


def eyes(f: FaceParameters, u: Tensor, v: Tensor) -> Eyes:
    p = u.abs() - f.eye_gap_cm
    q = v - (f.eye_tilt - 0.05 * f.hood) * p
    inside = 1 - (p / f.eye_half_cm).square()
    upper, lower = lids_cm(f)
    k = inside.clamp(min=0)
    # the upper lid is highest towards the nose, the lower one lowest towards the temple
    skew = 1 - 0.12 * (p / f.eye_half_cm).clamp(-1, 1)
    return Eyes(p, q, inside, upper * k * skew, lower * k * (2 - skew))


def nose(f: FaceParameters, u: Tensor, v: Tensor) -> Tensor:
    s = ((1.1 - v) / (1.1 + f.nose_cm)).clamp(0, 1)
    end = ((v + f.nose_cm + 0.95) / 1.1).clamp(0, 1)
    end = end * end * (3 - 2 * end)
    half = 1.0 + (f.nose_half_cm - 0.75) * s * s
    ridge = 1.9 * f.nose_bridge * s * (0.42 + 0.58 * s) * bump((u / half).square())
    wing = bump(((u.abs() - (f.nose_half_cm - 0.55)) / 0.72).square() + ((v + f.nose_cm - 0.02) / 0.85).square())
    size = 0.75 - 0.2 * f.nose_point
    tip = bump((u / size).square() + ((v + f.nose_cm - 0.1) / size).square())
    return (ridge + (0.25 + 0.3 * f.nose_point) * tip) * end + 0.62 * wing


def with_nose(f: FaceParameters, s: Surface, at: Window, height: Tensor) -> None:
    """Add the nose to `height`, and shift u, v where it covers the face (parallax)."""
    sin, tan = torch.sin(radians(f.yaw_deg)), torch.tan(radians(f.pitch_deg))
    u, v = at.cut(s.u), at.cut(s.v)
    z = nose(f, u, v)
    shown = u, v
    for _ in range(2):
        shown = u - z * sin, v - z * tan
        z = nose(f, *shown)
    at.of(s.u).copy_(shown[0])
    at.of(s.v).copy_(shown[1])
    at.of(height).add_(z)


def around_eyes(f: FaceParameters, u: Tensor, v: Tensor) -> Tensor:
    a = u.abs()
    e = eyes(f, u, v)
    puff = f.edema.clamp(min=0)
    socket = bump(((a - f.eye_gap_cm + 0.1) / 2.5).square() + ((v - 0.35) / 1.75).square())
    ball = bump((e.p / 1.55).square() + ((e.q - 0.05) / 1.15).square())
    ridge = bump(((a - 2.6) / 3.3).square() + ((v - f.brow_cm) / 1.1).square())
    z = -(0.62 + 0.3 * f.eye_depth - 0.2 * puff) * socket + (0.5 + 0.12 * puff) * ball
    z += (0.3 + 0.25 * f.eye_depth) * ridge
    below = bump((e.p / 1.75).square() + ((e.q + 1.15 + 0.25 * f.bags) / 0.62).square())
    under = bump((e.p / 1.9).square() + ((e.q + 1.85 + 0.2 * f.bags) / 0.4).square())
    z += (0.34 * f.bags + 0.3 * puff + 0.035 * f.au6) * below - (0.12 * f.bags + 0.06 * puff) * under
    lid = bump((e.p / 1.7).square() + ((e.q - 0.95) / 0.62).square())
    z += (0.3 * f.hood + 0.3 * puff) * lid
    apple = bump(((a - 3.9) / 2.3).square() + ((v + 2.1 - 0.08 * f.au6) / 1.5).square())
    z += (0.1 * f.au6 + 0.04 * f.au12) * apple
    feet = bump(((e.p - 2.5) / 1.5).square() + ((e.q - 0.1) / 1.8).square())
    z += 0.055 * (f.wrinkles + 0.22 * f.au6) * feet * torch.sin(6.5 * (e.q - 0.25 * (e.p - 2.0) * e.q))
    frown = bump(((a - 0.55) / 0.42).square() + ((v - f.brow_cm + 0.1) / 1.1).square())
    return z - (0.05 * f.au4 + 0.16 * f.wrinkles) * frown


def fold_u_cm(f: FaceParameters, v: Tensor) -> tuple[Tensor, Tensor]:
    """The nasolabial fold, from the wing of the nose past the corner of the mouth: (u at height v, strength)."""
    top, bottom = 0.25 - f.nose_cm, -f.mouth_cm - 0.35
    s = (top - v) / (top - bottom)
    u = f.nose_half_cm + 0.1 + (mouth_half_cm(f) + 0.85 - f.nose_half_cm) * s.clamp(0, 1).sqrt()
    strength = 0.1 + 0.65 * f.wrinkles.clamp(0, 1.3) + 0.13 * f.au12 + 0.12 * f.fat - 0.25 * f.edema.clamp(min=0)
    return u, strength.clamp(min=0.02) * bump((2 * s - 0.95).square() * 0.72)


def lower_face(f: FaceParameters, u: Tensor, v: Tensor) -> Tensor:
    a = u.abs()
    puff = f.edema.clamp(min=0)
    lift = 0.1 * f.au12
    apple = bump(((a - 4.1) / 2.9).square() + ((v + 3.0 - lift) / 2.6).square())
    z = (0.3 + 0.2 * f.cheekbone + 0.3 * f.fat + 0.5 * puff + 0.06 * f.au12 - 0.25 * f.jowl) * apple
    hollow = bump(((a - 4.4) / 2.0).square() + ((v + 5.4) / 2.4).square())
    z += (0.5 * f.fat + 0.45 * puff - 0.3 - 0.25 * f.cheekbone) * hollow
    jaw_at = -f.face_cm + 1.9
    jowl = bump(((a - 3.6) / 1.7).square() + ((v - jaw_at) / 1.4).square())
    gap = bump(((a - 2.35) / 0.8).square() + ((v - jaw_at - 0.2) / 1.3).square())
    z += (0.45 * f.jowl + 0.3 * puff) * jowl - 0.3 * f.jowl * gap
    where, strength = fold_u_cm(f, v)
    z += strength * (0.5 * bump(((a - where - 0.75) / 0.85).square()) - 0.5 * bump(((a - where) / 0.5).square()))
    chin = bump((u / (1.9 + 0.5 * f.square)).square() + ((v + chin_cm(f) - 1.15) / 1.25).square())
    return z + (0.5 + 0.1 * f.square) * chin


def around_mouth(f: FaceParameters, u: Tensor, v: Tensor, m: Mouth) -> Tensor:
    wide = (u / (mouth_half_cm(f) + 0.5)).square()
    z = 0.45 * bump(wide + ((v - m.line) / 2.0).square())
    arch = m.inside.clamp(min=0)
    upper_middle, lower_middle = 0.5 * (m.top + m.upper_edge), 0.5 * (m.bottom + m.lower_edge)
    full = 0.75 * arch.sqrt()
    z += full * f.upper_lip_cm * bump(((v - upper_middle) / 0.5).square())
    z += full * f.lower_lip_cm * bump(((v - lower_middle) / 0.6).square())
    z -= 0.3 * arch * bump(((v - m.line) / 0.3).square())
    z -= 0.3 * bump((u / 1.9).square() + ((v - m.bottom + 0.45) / 0.6).square())
    z -= 0.12 * bump((u / 0.4).square()) * bump(((v + 0.5 * (f.nose_cm + f.mouth_cm)) / 0.9).square())
    corner = bump(((u.abs() - mouth_half_cm(f) - 0.1) / 0.5).square() + ((v - m.line) / 0.7).square())
    z -= (0.06 * f.au12 + 0.05 * f.au15) * corner
    fade = bump(((v + f.mouth_cm - 0.9) / 0.9).square() + (u / 2.6).square())
    return z + 0.05 * ramp(f.wrinkles, 0.35, 1.2) * fade * torch.sin(9.0 * u + 2.0 * v)


def forehead(f: FaceParameters, u: Tensor, v: Tensor) -> Tensor:
    brow = bump((u / 5.6).square() + ((v - 4.3) / 2.3).square())
    wave = torch.sin(4.6 * v + 0.5 * torch.sin(1.1 * u + 3 * f.phase_a) + 0.06 * u * u)
    depth = 0.1 * (f.wrinkles - 0.12).clamp(min=0) + 0.016 * f.au1
    return depth * brow * wave


def relief(f: FaceParameters, s: Surface, windows: Windows) -> Tensor:
    """Heights over the smooth head (N,H,W)."""
    height = torch.zeros_like(s.u)
    with_nose(f, s, windows[NOSE], height)
    for box, part in ((EYES, around_eyes), (LOWER, lower_face), (FOREHEAD, forehead)):
        at = windows[box]
        at.of(height).add_(part(f, at.cut(s.u), at.cut(s.v)))
    at = windows[MOUTH]
    u, v = at.cut(s.u), at.cut(s.v)
    at.of(height).add_(around_mouth(f, u, v, mouth(f, u)))
    return height
