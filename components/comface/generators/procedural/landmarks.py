"""Landmarks of a rendered image: 68 points in iBUG's order.

In: FaceParameters of N faces, the image size. Out: points (N,K,2), column and row in pixels; (0, 0) is the centre of
the top left pixel. They are projected with the renderer's geometry, so they are exact except for the slope of the
relief, which is neglected.
"""

from __future__ import annotations

import torch
from torch import Tensor

from comface.generators.procedural.parameters import FaceParameters
from comface.generators.procedural.relief import lids_cm, mouth, mouth_half_cm, nose
from comface.generators.procedural.surface import AXIS_CM, chin_cm, profile, project


def landmarks_68(faces: FaceParameters, size_px: int) -> Tensor:
    """iBUG's 68 points (N,68,2): jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67."""
    f = faces.map(lambda x: x[:, None])
    parts = [_jaw(f), _brows(f), _nose(f), _eyes(f), _lips(f)]
    u = torch.cat([part[0] for part in parts], 1)
    v = torch.cat([part[1] for part in parts], 1)
    z = torch.cat([part[2] for part in parts], 1)
    column, row = project(faces, u, v, z, size_px)
    return torch.stack([column, row], -1)


Points = tuple[Tensor, Tensor, Tensor]


def _row(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[None, :]


def _on_skin(f: FaceParameters, u: Tensor, v: Tensor, raised: Tensor | float = 0.0) -> Points:
    width, depth, _ = profile(f, v)
    u = torch.maximum(torch.minimum(u, 0.999 * width), -0.999 * width)
    z = depth * (1 - (u / width).square()).clamp(min=0).sqrt() - AXIS_CM
    return u, v, z + raised


def _jaw(f: FaceParameters) -> Points:
    """From ear to ear along the outline, the chin in the middle."""
    turn = torch.linspace(-1, 1, 17, device=f.zoom.device)[None, :]
    v = -(chin_cm(f) - 0.05) * torch.cos(turn * 1.5707963).clamp(min=0) ** 0.72
    width, depth, _ = profile(f, v)
    u = turn.sign() * width * (1 - 0.03 * (1 - turn.abs()))
    u[:, 8] = 0.0
    share = 0.18 + 0.75 * (1 - turn.abs()).square()
    return u, v, depth * share - AXIS_CM


def _brows(f: FaceParameters) -> Points:
    p = _row([1.9, 1.15, 0.3, -0.6, -1.5], f.zoom)
    inner = (0.5 - 0.5 * p / 1.7).clamp(0, 1)
    v = f.brow_cm + f.brow_arch * (1 - ((p - 0.5) / 2.0).square()) + f.brow_tilt * p
    v = v + (0.09 * f.au1 - 0.13 * f.au4) * inner + 0.5 * f.brow_thick_cm
    u = p + f.eye_gap_cm
    u, v = torch.cat([-u, u.flip(1)], 1), torch.cat([v, v.flip(1)], 1)
    return _on_skin(f, u, v, 0.2)


def _nose(f: FaceParameters) -> Points:
    zero = torch.zeros_like(f.zoom)
    bridge = torch.cat([0.4 + zero, 0.4 - 0.34 * (f.nose_cm + 0.4), 0.4 - 0.67 * (f.nose_cm + 0.4), -f.nose_cm], 1)
    across = f.nose_half_cm * _row([-0.9, -0.48, 0.0, 0.48, 0.9], f.zoom)
    base = -f.nose_cm - _row([0.5, 0.68, 0.75, 0.68, 0.5], f.zoom)
    u, v = torch.cat([zero.expand(-1, 4), across], 1), torch.cat([bridge, base], 1)
    u, v, z = _on_skin(f, u, v)
    return u, v, z + nose(f, u, v)


def _eyes(f: FaceParameters) -> Points:
    """Six points per eye: left corner, upper lid, right corner, lower lid, clockwise in the picture."""
    upper, lower = lids_cm(f)
    at = _row([-1.0, -0.4, 0.4, 1.0, 0.4, -0.4], f.zoom)
    k = 1 - at.square()
    lid = torch.where(_row([1, 1, 1, 1, 0, 0], f.zoom) > 0, upper, lower) * k
    slope = f.eye_tilt - 0.05 * f.hood
    parts = []
    for sign in (-1.0, 1.0):
        p = sign * at * f.eye_half_cm
        parts.append(_on_skin(f, sign * (f.eye_gap_cm + p), lid + slope * p, -0.15))
    return tuple(torch.cat([a, b], 1) for a, b in zip(*parts, strict=True))  # type: ignore[return-value]


def _lips(f: FaceParameters) -> Points:
    half = mouth_half_cm(f)
    outer_top = half * _row([-0.999, -0.6, -0.22, 0.0, 0.22, 0.6, 0.999], f.zoom)
    outer_bottom = half * _row([0.62, 0.3, 0.0, -0.3, -0.62], f.zoom)
    inner_top = half * _row([-0.9, -0.35, 0.0, 0.35, 0.9], f.zoom)
    inner_bottom = half * _row([0.35, 0.0, -0.35], f.zoom)
    v = torch.cat(
        [
            mouth(f, outer_top).top,
            mouth(f, outer_bottom).bottom,
            mouth(f, inner_top).upper_edge,
            mouth(f, inner_bottom).lower_edge,
        ],
        1,
    )
    return _on_skin(f, torch.cat([outer_top, outer_bottom, inner_top, inner_bottom], 1), v, 0.5)
