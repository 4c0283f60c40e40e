"""Colours of skin, lips, teeth, eyes, brows, beard and makeup.

In: faces, the surface, windows. Out: linear albedo (N,3,H,W) of the head. Colours are linear light; a mask (N,h,w)
blends a colour in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.relief import (
    EYES,
    FOREHEAD,
    LOWER,
    MOUTH,
    NOSE,
    Mouth,
    Window,
    Windows,
    eyes,
    fold_u_cm,
    mouth,
    mouth_half_cm,
)
from comface.generators.procedural.surface import Surface, bump, chin_cm, cover


def rgb(r: float, g: float, b: float, like: Tensor) -> Tensor:
    """A colour as planes (1,3,1,1)."""
    return torch.tensor([r, g, b], device=like.device)[None, :, None, None]


def mix(a: Tensor, b: Tensor, share_N11: Tensor) -> Tensor:
    return a + (b - a) * share_N11[:, None]


def paint(picture: Tensor, at: Window, colour: Tensor, mask: Tensor) -> None:
    """Blend `colour` (N,3,1,1) into the window of `picture` (N,3,H,W), weighted by `mask` (N,h,w)."""
    at.of(picture).lerp_(colour, mask[:, None])


def hue(turns: Tensor, saturation: Tensor, light: Tensor) -> Tensor:
    """Linear colour (N,3,1,1) of a hue (N,1,1); `light` is its brightness on the display."""
    offset = torch.tensor([0.0, 1 / 3, 2 / 3], device=turns.device)[None, :, None, None]
    wave = 0.5 + 0.5 * torch.cos((turns[:, None] - offset) * 6.2831853)
    shown = light[:, None] * (1 - saturation[:, None] * (1 - wave))
    return shown.clamp(0, 1).square()


def skin_colour(f: FaceParameters) -> Tensor:
    fair, dark = rgb(0.80, 0.56, 0.43, f.zoom), rgb(0.17, 0.075, 0.038, f.zoom)
    colour = torch.exp(mix(fair.log(), dark.log(), f.melanin))
    olive = rgb(-0.05, 0.06, -0.04, f.zoom) * f.undertone[:, None]
    colour = colour * (1 + olive)
    gray = colour.mean(1, keepdim=True)
    pale = mix(colour, gray * rgb(1.12, 1.08, 1.03, f.zoom), 0.6 * f.pale.clamp(0, 1))
    return pale * (1 + 0.4 * f.pale[:, None].clamp(0, 1)) * (1 - 0.1 * f.pale[:, None].clamp(min=-1, max=0).abs())


def hair_colour(f: FaceParameters) -> Tensor:
    """The colour of the hair: from blond through brown to black, with red, and gray with age."""
    blond, brown, black = (
        rgb(0.52, 0.34, 0.15, f.zoom),
        rgb(0.10, 0.052, 0.028, f.zoom),
        rgb(0.012, 0.010, 0.010, f.zoom),
    )
    low = mix(blond.log(), brown.log(), (f.hair_dark / 0.6).clamp(0, 1))
    colour = torch.exp(mix(low, black.log(), ((f.hair_dark - 0.6) / 0.4).clamp(0, 1)))
    colour = colour * (1 + rgb(0.7, -0.1, -0.35, f.zoom) * f.hair_red[:, None])
    return mix(colour, rgb(0.50, 0.50, 0.52, f.zoom), f.gray.clamp(0, 1))


def skin(f: FaceParameters, s: Surface, windows: Windows) -> Tensor:
    """Albedo of the bare face."""
    dark, red = torch.zeros_like(s.u), torch.zeros_like(s.u)
    at = windows[LOWER]
    u, v = at.cut(s.u), at.cut(s.v)
    a = u.abs()
    cheeks = bump(((a - 3.9) / 2.6).square() + ((v + 3.1) / 2.3).square())
    at.of(red).add_(cheeks * (0.75 * f.blush + 0.1))
    where, strength = fold_u_cm(f, v)
    at.of(dark).add_(0.55 * strength * bump(((a - where) / 0.42).square()))
    marionette = bump(((a - mouth_half_cm(f) - 0.15) / 0.4).square()) * bump(((v + f.mouth_cm + 1.2) / 1.3).square())
    at.of(dark).add_(0.35 * f.wrinkles.clamp(0, 1) * marionette)
    at.of(dark).add_(_marks(f, u, v) * bump((u / 7.5).square() + ((v + 2.5) / 6.5).square()))
    at = windows[EYES]
    at.of(dark).add_(_eye_region(f, at.cut(s.u), at.cut(s.v)))
    at = windows[NOSE]
    _nose_region(f, at.cut(s.u), at.cut(s.v), at.of(dark), at.of(red))
    at = windows[FOREHEAD]
    u, v = at.cut(s.u), at.cut(s.v)
    lines = torch.sin(4.6 * v + 0.5 * torch.sin(1.1 * u + 3 * f.phase_a) + 0.06 * u * u).clamp(min=0).square()
    at.of(dark).add_(
        0.3 * (f.wrinkles - 0.12).clamp(min=0) * lines * bump((u / 5.2).square() + ((v - 4.3) / 2.2).square())
    )
    red.clamp_(0, 1.2)
    redden = 1 - red[:, None] * rgb(0.06, 0.5, 0.42, s.u)
    return skin_colour(f) * redden * (1 - dark.clamp_(0, 0.92))[:, None]


def _marks(f: FaceParameters, u: Tensor, v: Tensor) -> Tensor:
    """Freckles, age spots and uneven skin at this person's positions."""
    a, b = 6 * f.phase_a, 6 * f.phase_b
    x, y = 5.2 * u + 3.1 * v + a, 4.7 * v - 3.3 * u + b
    dots = (torch.sin(x) * torch.sin(y) + 0.25 * torch.sin(0.61 * x - 0.4 * y)).clamp(min=0)
    patches = torch.sin(1.1 * u + 0.5 * v + b) * torch.sin(1.3 * v - 0.6 * u + a)
    mole = bump(((u - 2.8 * torch.sin(a * 3)) / 0.3).square() + ((v + 4.5 + 2.2 * torch.sin(b * 3)) / 0.3).square())
    smooth = 1 - 0.8 * f.makeup.clamp(0, 1)
    return (
        0.55 * f.freckles * dots + (0.05 + 0.14 * f.spots) * patches * smooth + 0.2 * f.spots * dots * dots
    ) + 0.5 * mole * (torch.sin(5 * (a + b)) > 0.3)


def _eye_region(f: FaceParameters, u: Tensor, v: Tensor) -> Tensor:
    e = eyes(f, u, v)
    a = u.abs()
    socket = bump(((a - f.eye_gap_cm + 0.35) / 2.4).square() + ((v - 0.35) / 1.6).square())
    dark = (0.26 + 0.12 * f.eye_depth) * socket
    bag = bump((e.p / 1.7).square() + ((e.q + 1.0) / 0.8).square())
    dark += (0.2 * f.bags + 0.04) * bag * (1 - 0.6 * f.makeup)
    under = bump((e.p / 1.9).square() + ((e.q + 1.55 + 0.25 * f.bags + 0.25 * f.edema) / 0.3).square())
    dark += (0.26 * f.bags + 0.12 * f.edema.clamp(min=0)) * under
    crease = bump(((e.q - e.upper - 0.34 + 0.22 * f.hood) / 0.2).square()) * e.inside.clamp(0, 1)
    dark += (0.42 - 0.15 * f.edema.clamp(min=0)) * crease
    feet = bump(((e.p - 2.5) / 1.35).square() + ((e.q - 0.1) / 1.5).square())
    lines = torch.sin(6.5 * (e.q - 0.25 * (e.p - 2.0) * e.q)).clamp(min=0).square()
    dark += 0.34 * (f.wrinkles.clamp(0, 1.2) + 0.2 * f.au6) * feet * lines
    frown = bump(((a - 0.55) / 0.3).square() + ((v - f.brow_cm + 0.1) / 0.9).square())
    dark += (0.06 * f.au4 + 0.25 * f.wrinkles.clamp(0, 1)) * frown
    return dark


def _nose_region(f: FaceParameters, u: Tensor, v: Tensor, dark: Tensor, red: Tensor) -> None:
    a = u.abs()
    nostril = bump(((a - 0.5 * f.nose_half_cm + 0.05) / 0.45).square() + ((v + f.nose_cm + 0.44) / 0.27).square())
    z = 0.62 * nostril
    below = bump((u / (f.nose_half_cm + 0.5)).square() + ((v + f.nose_cm + 0.85) / 0.62).square())
    z += 0.3 * below
    wing = bump(((a - f.nose_half_cm - 0.02) / 0.34).square() + ((v + f.nose_cm - 0.05) / 0.8).square())
    z += 0.35 * wing
    side = bump(((a - 0.95) / 0.55).square() + ((v + 0.4) / 1.9).square())
    dark += z + 0.1 * side
    red += 0.28 * bump((u / 1.6).square() + ((v + f.nose_cm) / 1.2).square())


def lips(f: FaceParameters, s: Surface, albedo: Tensor, windows: Windows) -> None:
    at = windows[MOUTH]
    u, v = at.cut(s.u), at.cut(s.v)
    m = mouth(f, u)
    bare = skin_colour(f)
    natural = bare * mix(rgb(0.78, 0.55, 0.55, u), rgb(0.82, 0.30, 0.33, u), f.lip_red.clamp(0, 1))
    colour = mix(natural, rgb(0.46, 0.012, 0.05, u), f.lipstick.clamp(0, 1) * 0.97)
    edge = torch.minimum(m.top - v, v - m.bottom)
    soft = s.pixel_cm + 0.12
    paint(albedo, at, colour, cover(edge, soft) * (m.inside > 0))
    _opening(f, s, at, albedo, u, v, m)
    line = cover(0.1 - (v - m.line).abs(), s.pixel_cm + 0.05) * cover(m.inside * 0.8, s.pixel_cm + 0.1)
    closed = 1 - (m.gap / (s.pixel_cm + 0.15)).clamp(0, 1)
    paint(albedo, at, colour * 0.16, line * closed * 0.85)
    corner = bump(((u.abs() - mouth_half_cm(f)) / 0.42).square() + ((v - m.line) / 0.36).square())
    paint(albedo, at, bare * 0.16, 0.6 * corner)


def _opening(f: FaceParameters, s: Surface, at: Window, albedo: Tensor, u: Tensor, v: Tensor, m: Mouth) -> None:
    hole = cover(torch.minimum(m.upper_edge - v, v - m.lower_edge), s.pixel_cm) * (m.inside > 0)
    paint(albedo, at, rgb(0.045, 0.010, 0.010, u), hole)
    tongue = bump((u / (0.7 * mouth_half_cm(f))).square() + ((v - m.lower_edge) / (0.45 * m.gap + 0.05)).square())
    paint(albedo, at, rgb(0.32, 0.07, 0.07, u), hole * tongue * 0.8)
    reach = 0.06 + 0.75 * (0.35 + 0.13 * f.au12)
    top = cover(v - (m.upper_edge - reach), s.pixel_cm) * (1 - (u / (0.92 * mouth_half_cm(f))).square()).clamp(min=0)
    fine = (0.2 - s.pixel_cm).clamp(min=0) * 2.2
    between = 1 - fine * bump((torch.sin(3.9 * u) / 0.25).square())
    paint(albedo, at, rgb(0.72, 0.68, 0.60, u), hole * (2.5 * top).clamp(0, 1) * between * 0.95)


def eyeballs(f: FaceParameters, s: Surface, albedo: Tensor, windows: Windows) -> Tensor:
    """Paint lids, whites, irises and lashes. Returns the share of wet eye in each pixel (N,H,W)."""
    at = windows[EYES]
    u, v = at.cut(s.u), at.cut(s.v)
    e = eyes(f, u, v)
    shadow = bump((e.p / 2.1).square() + ((e.q - 0.85) / 1.0).square())
    tint = mix(rgb(0.10, 0.045, 0.05, u), rgb(0.07, 0.05, 0.11, u), f.iris_blue.clamp(0, 1))
    paint(albedo, at, tint, (0.85 * f.makeup.clamp(0, 1) * shadow).clamp(0, 0.8))
    open_ = cover(torch.minimum(e.upper - e.q, e.q - e.lower), s.pixel_cm) * (e.inside > 0)
    white = rgb(0.60, 0.56, 0.54, u)
    paint(albedo, at, white, open_)
    across = e.p - u.sign() * 0.4 * f.gaze_x
    r2 = across.square() + (e.q - 0.06 - 0.25 * f.gaze_y).square()
    r = r2.sqrt()
    iris = mix(rgb(0.07, 0.032, 0.016, u), rgb(0.10, 0.20, 0.30, u), f.iris_blue.clamp(0, 1))
    paint(albedo, at, iris * 0.35, open_ * cover(f.iris_cm - r, s.pixel_cm))
    paint(albedo, at, iris * 1.25, open_ * cover(0.8 * f.iris_cm - r, s.pixel_cm + 0.1))
    paint(albedo, at, rgb(0.004, 0.004, 0.004, u), open_ * cover(0.42 * f.iris_cm - r, s.pixel_cm))
    shade = bump(((e.q - e.upper) / 0.4).square())
    paint(albedo, at, rgb(0.03, 0.02, 0.015, u), open_ * shade * 0.7)
    lash_cm = 0.085 + 0.1 * f.makeup.clamp(0, 1)
    flick = (e.inside + 0.18 + 0.3 * f.makeup.clamp(0, 1) * (e.p > 0)).clamp(min=0).sqrt()
    lash = cover(lash_cm * flick - (e.q - e.upper - 0.03).abs(), s.pixel_cm) * (e.inside > -0.15)
    paint(albedo, at, rgb(0.012, 0.008, 0.006, u), lash * 0.95)
    lower = cover(0.04 + 0.05 * f.makeup.clamp(0, 1) - (e.q - e.lower).abs(), s.pixel_cm) * (e.inside > 0)
    paint(albedo, at, rgb(0.05, 0.025, 0.02, u), lower * (0.4 + 0.4 * f.makeup.clamp(0, 1)))
    _brows(f, s, at, albedo, u, v)
    wet = torch.zeros_like(s.u)
    at.of(wet).copy_(open_)
    return wet


def _brows(f: FaceParameters, s: Surface, at: Window, albedo: Tensor, u: Tensor, v: Tensor) -> None:
    p = u.abs() - f.eye_gap_cm
    inner = (0.5 - 0.5 * p / 1.7).clamp(0, 1)
    arch = 1 - ((p - 0.5) / 2.0).square()
    at_v = f.brow_cm + f.brow_arch * arch + f.brow_tilt * p + (0.09 * f.au1 - 0.13 * f.au4) * inner - 0.03 * f.au4
    thick = f.brow_thick_cm * (0.45 + 0.55 * ((1.9 - p) / 2.2).clamp(0, 1))
    ends = cover(torch.minimum(p + 1.9 + 0.08 * f.au4, 2.1 - p) * 0.7, s.pixel_cm + 0.25)
    mask = cover(thick - (v - at_v).abs(), s.pixel_cm + 0.16) * ends
    fine = (0.3 - s.pixel_cm).clamp(min=0)
    hairs = 1 - 0.55 * fine * (1 + torch.sin(17 * p + 9 * (v - at_v) + 2 * torch.sin(5 * p)))
    colour = hair_colour(f) * 0.55 + rgb(0.008, 0.006, 0.005, u)
    paint(albedo, at, colour, (mask * hairs * f.brow_dark).clamp(0, 1))


def beard(f: FaceParameters, s: Surface, albedo: Tensor) -> None:
    """Stubble, moustache, goatee and full beard, each with its own share."""
    u, v = s.u, s.v
    a = u.abs()
    m = mouth(f, u)
    off_lips = 1 - cover(torch.minimum(m.top - v, v - m.bottom), s.pixel_cm) * (m.inside > 0)
    nose_base = -f.nose_cm - 1.0
    cheek_line = -3.4 - 0.9 * ((5.9 - a) / 3.0).clamp(0, 1.2)
    grown = ((cheek_line - v) / 0.9 + 0.5).clamp(0, 1) * ((nose_base - v) / 0.5 + 0.5 + (a - 2.6).clamp(min=0)).clamp(
        0, 1
    )
    half = mouth_half_cm(f)
    lip = bump((u / (half + 0.75)).square() + ((v - 0.5 * (nose_base + m.top) + 0.12 * a) / 0.85).square())
    lip = (2.6 * lip).clamp(0, 1)
    chin = bump((u / (0.75 * half + 0.6)).square() + ((v + 0.5 * (f.mouth_cm + chin_cm(f)) + 0.9) / 2.1).square())
    ring = bump(((a - half - 0.35) / 0.6).square()) * bump(((v + f.mouth_cm + 0.9) / 1.8).square())
    tuft = (3.0 * chin + 1.6 * ring).clamp(0, 1)
    fine = (0.45 - s.pixel_cm).clamp(min=0)
    hairs = 1 - fine * (1 + torch.sin(7.5 * u + 2.0 * torch.sin(2.1 * v)) * torch.sin(2.3 * v + u))
    mask = 1 - (1 - (0.95 * f.beard * grown)).mul(1 - f.moustache * lip).mul(1 - f.goatee * tuft)
    colour = hair_colour(f) * 0.8 + rgb(0.006, 0.004, 0.004, u)
    shadow = skin_colour(f) * 0.25 + rgb(0.0, 0.004, 0.010, u)
    albedo.lerp_(shadow, (0.62 * f.stubble * grown * off_lips)[:, None])
    albedo.lerp_(colour, (mask * hairs * off_lips).clamp(0, 0.97)[:, None])
