"""Effects of physical quantities on a face: years, kilograms, and water before dialysis.

In: faces and a quantity (N,). Out: the same faces with the effect. Age has local effects (wrinkles, eyelids, jaw line,
lips) and global ones (hair, a child's proportions): global changes alone would be recognized by any network that
distinguishes people. Every effect is monotone in its quantity.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from comface.generators.procedural.parameters import FaceParameters

MEAN_KG = 68.0


def ramp(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """A smooth step: 0 up to `low`, 1 from `high` on."""
    s = ((x - low) / (high - low)).clamp(0, 1)
    return s * s * (3 - 2 * s)


def aged(faces: FaceParameters, age_years: torch.Tensor, graying: torch.Tensor) -> FaceParameters:
    """`faces`, whose age is about thirty years, at another age. `graying` (N,): the age at which half the hair is
    gray."""
    child = 1 - ramp(age_years, 2.0, 19.0)
    late = ramp(age_years, 25.0, 80.0)
    lids = ramp(age_years, 32.0, 78.0)
    return replace(
        faces,
        face_cm=faces.face_cm - 1.3 * child + 0.1 * late,
        forehead_cm=faces.forehead_cm + 0.5 * child,
        jaw=faces.jaw - 0.5 * child + 0.25 * late,
        square=faces.square - 0.5 * child + 0.5 * late,
        fat=faces.fat + 0.25 * child - 0.15 * late,
        jowl=faces.jowl + ramp(age_years, 35.0, 82.0),
        eye_half_cm=faces.eye_half_cm * (1 + 0.12 * child - 0.05 * late),
        eye_open=faces.eye_open * (1 + 0.2 * child - 0.26 * lids),
        hood=faces.hood + 0.9 * lids,
        bags=faces.bags + 0.9 * ramp(age_years, 28.0, 75.0),
        iris_cm=faces.iris_cm * (1 + 0.08 * child),
        brow_cm=faces.brow_cm - 0.15 * lids + 0.1 * child,
        brow_thick_cm=faces.brow_thick_cm * (1 - 0.3 * child),
        brow_dark=faces.brow_dark * (1 - 0.35 * child - 0.25 * late),
        nose_cm=faces.nose_cm - 0.75 * child + 0.3 * late,
        nose_half_cm=faces.nose_half_cm - 0.15 * child + 0.15 * late,
        nose_bridge=faces.nose_bridge * (1 - 0.35 * child),
        mouth_cm=faces.mouth_cm - 0.75 * child + 0.1 * late,
        mouth_half_cm=faces.mouth_half_cm - 0.3 * child,
        upper_lip_cm=faces.upper_lip_cm * (1 - 0.45 * late),
        lower_lip_cm=faces.lower_lip_cm * (1 - 0.3 * late),
        ear=faces.ear * (1 + 0.2 * late),
        wrinkles=faces.wrinkles + ramp(age_years, 22.0, 84.0),
        spots=faces.spots + 0.8 * ramp(age_years, 40.0, 88.0),
        gray=1 - (1 - faces.gray) * (1 - torch.sigmoid((age_years - graying) / 5.0) * (1 - child)),
        receding=faces.receding + 0.35 * late,
        stubble=faces.stubble * (1 - child),
        moustache=faces.moustache * (1 - child),
        goatee=faces.goatee * (1 - child),
        beard=faces.beard * (1 - child),
        lip_red=faces.lip_red - 0.2 * late,
    )


def weighing(faces: FaceParameters, weight_kg: torch.Tensor) -> FaceParameters:
    """`faces`, whose weight is MEAN_KG, at another weight: cheeks, jaw, chin, neck and eyes."""
    fat = 1.9 * torch.tanh((weight_kg - MEAN_KG) / 38.0)
    return replace(
        faces,
        fat=faces.fat + fat,
        cheekbone=faces.cheekbone - 0.35 * fat,
        double_chin=faces.double_chin + 0.9 * ramp(fat, 0.05, 1.8),
        neck_cm=faces.neck_cm + 0.55 * fat,
        eye_open=faces.eye_open * (1 - 0.07 * fat),
        square=faces.square + 0.1 * fat,
    )


def swollen(faces: FaceParameters, water_kg: torch.Tensor) -> FaceParameters:
    """`faces`, which are at dry weight, with `water_kg` of additional water before dialysis: puffy lids, full cheeks, a
    soft jaw line. Unlike fat, water collects first in the loose skin of the lids."""
    water = 1.25 * torch.tanh(water_kg / 3.5)
    return replace(
        faces,
        edema=faces.edema + water,
        fat=faces.fat + 0.3 * water,
        bags=faces.bags + 0.28 * water,
        hood=faces.hood + 0.22 * water,
        eye_open=faces.eye_open * (1 - 0.14 * water),
        jowl=faces.jowl + 0.15 * water,
        double_chin=faces.double_chin + 0.2 * water,
    )
