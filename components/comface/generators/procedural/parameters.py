"""The parameters of rendered faces: one number per property and face.

Out: FaceParameters, a frozen record of tensors (N,) that is the renderer's complete input; a latent (latents.py) or a
rehearsal data set sets the values. Lengths are centimetres in the head's frame: u right, v up, z towards the camera,
origin on the skin midway between the eyes. The eyes are 6.3 cm apart. Properties without a unit are shares 0..1, or
-1..1 around the average face where stated.
"""

# ruff: noqa: RUF009 (fields are declared by a function of their mean and text)
from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch


def _of(mean: float, text: str) -> Any:
    return field(metadata={"mean": mean, "text": text})


@dataclass(frozen=True)
class FaceParameters:
    """N faces. Every field is a tensor (N,)."""

    # head
    skull_cm: torch.Tensor = _of(6.9, "half width at the temples")
    face_cm: torch.Tensor = _of(9.2, "eye line to chin")
    jaw: torch.Tensor = _of(0.0, "width of the jaw, -1..1")
    square: torch.Tensor = _of(0.0, "jaw pointed -1 .. square 1")
    forehead_cm: torch.Tensor = _of(9.3, "eye line to crown")
    cheekbone: torch.Tensor = _of(0.0, "-1..1")
    fat: torch.Tensor = _of(0.0, "soft tissue of cheeks, jaw and neck, -1..1.5")
    edema: torch.Tensor = _of(0.0, "water in eyelids, cheeks and jaw line")
    double_chin: torch.Tensor = _of(0.0, "0..1")
    jowl: torch.Tensor = _of(0.0, "sagging jaw line")
    neck_cm: torch.Tensor = _of(4.7, "half width of the neck")
    ear: torch.Tensor = _of(1.0, "size of the ears")
    # eyes and brows
    eye_gap_cm: torch.Tensor = _of(3.15, "centre of an eye from the midline")
    eye_half_cm: torch.Tensor = _of(1.5, "half length of an eye")
    eye_open: torch.Tensor = _of(1.0, "height of the opening")
    eye_tilt: torch.Tensor = _of(0.06, "slope, outer corner up")
    eye_depth: torch.Tensor = _of(0.0, "deep-set -1..1")
    iris_cm: torch.Tensor = _of(0.66, "radius")
    iris_blue: torch.Tensor = _of(0.3, "brown 0, hazel, blue 1")
    hood: torch.Tensor = _of(0.0, "skin over the upper lid")
    bags: torch.Tensor = _of(0.0, "bags under the eyes")
    brow_cm: torch.Tensor = _of(2.0, "height above the eye")
    brow_thick_cm: torch.Tensor = _of(0.34, "half thickness")
    brow_arch: torch.Tensor = _of(0.25, "cm")
    brow_tilt: torch.Tensor = _of(0.0, "slope, outer end up")
    brow_dark: torch.Tensor = _of(0.75, "opacity")
    # nose and mouth
    nose_cm: torch.Tensor = _of(4.2, "eye line to tip")
    nose_half_cm: torch.Tensor = _of(1.6, "half width at the wings")
    nose_bridge: torch.Tensor = _of(1.0, "height of the bridge")
    nose_point: torch.Tensor = _of(0.0, "round -1 .. pointed 1")
    mouth_half_cm: torch.Tensor = _of(2.35, "half width at rest")
    mouth_cm: torch.Tensor = _of(6.5, "eye line to the line of the lips")
    upper_lip_cm: torch.Tensor = _of(0.6, "thickness")
    lower_lip_cm: torch.Tensor = _of(0.8, "thickness")
    # expression: facial action units, 0..5 as DISFA scores them
    au1: torch.Tensor = _of(0.0, "inner brow raiser")
    au4: torch.Tensor = _of(0.0, "brow lowerer")
    au6: torch.Tensor = _of(0.0, "cheek raiser")
    au12: torch.Tensor = _of(0.0, "lip corner puller")
    au15: torch.Tensor = _of(0.0, "lip corner depressor")
    au25: torch.Tensor = _of(0.0, "lips part")
    au26: torch.Tensor = _of(0.0, "jaw drop")
    blink: torch.Tensor = _of(0.0, "lids closed, 0..1")
    gaze_x: torch.Tensor = _of(0.0, "-1..1")
    gaze_y: torch.Tensor = _of(0.0, "-1..1")
    # skin
    melanin: torch.Tensor = _of(0.3, "0 fair .. 1 dark")
    undertone: torch.Tensor = _of(0.0, "rosy -1 .. olive 1")
    blush: torch.Tensor = _of(0.15, "red cheeks")
    pale: torch.Tensor = _of(0.0, "pallor")
    freckles: torch.Tensor = _of(0.0, "0..1")
    wrinkles: torch.Tensor = _of(0.0, "0..1")
    spots: torch.Tensor = _of(0.0, "age spots and uneven skin")
    shine: torch.Tensor = _of(0.3, "gloss of the skin")
    lip_red: torch.Tensor = _of(0.45, "natural redness of the lips")
    lipstick: torch.Tensor = _of(0.0, "0..1")
    makeup: torch.Tensor = _of(0.0, "eye shadow, liner, even skin")
    phase_a: torch.Tensor = _of(0.0, "position of the marks on the skin")
    phase_b: torch.Tensor = _of(0.0, "the same, second coordinate")
    # hair
    hair_dark: torch.Tensor = _of(0.6, "blond 0, brown, black 1")
    hair_red: torch.Tensor = _of(0.2, "0..1")
    gray: torch.Tensor = _of(0.0, "0..1")
    hair_cm: torch.Tensor = _of(3.0, "length of the hair below the eye line; negative: above")
    volume_cm: torch.Tensor = _of(0.8, "thickness of the hair")
    fringe: torch.Tensor = _of(0.0, "0..1")
    wave: torch.Tensor = _of(0.3, "straight 0 .. wavy 1")
    receding: torch.Tensor = _of(0.0, "hairline at the temples")
    bald: torch.Tensor = _of(0.0, "0..1")
    parting: torch.Tensor = _of(0.0, "-1..1")
    sideburns: torch.Tensor = _of(0.0, "0..1")
    stubble: torch.Tensor = _of(0.0, "0..1")
    moustache: torch.Tensor = _of(0.0, "0..1")
    goatee: torch.Tensor = _of(0.0, "0..1")
    beard: torch.Tensor = _of(0.0, "0..1")
    # worn
    glasses: torch.Tensor = _of(0.0, "thin frames .. heavy frames")
    hat: torch.Tensor = _of(0.0, "0..1")
    hat_hue: torch.Tensor = _of(0.6, "turns of the colour circle")
    earrings: torch.Tensor = _of(0.0, "0..1")
    necklace: torch.Tensor = _of(0.0, "0..1")
    necktie: torch.Tensor = _of(0.0, "0..1")
    cloth_hue: torch.Tensor = _of(0.6, "turns of the colour circle")
    cloth_light: torch.Tensor = _of(0.35, "0..1")
    # camera and scene
    yaw_deg: torch.Tensor = _of(0.0, "to the picture's right")
    pitch_deg: torch.Tensor = _of(0.0, "up")
    roll_deg: torch.Tensor = _of(0.0, "clockwise in the picture")
    zoom: torch.Tensor = _of(1.0, "1: a side of the image spans 21 cm")
    shift_x_cm: torch.Tensor = _of(0.0, "in the picture, right")
    shift_y_cm: torch.Tensor = _of(0.0, "in the picture, up")
    light_x: torch.Tensor = _of(-0.3, "direction of the light: right")
    light_y: torch.Tensor = _of(0.45, "the same, up")
    key: torch.Tensor = _of(0.8, "strength of that light")
    ambient: torch.Tensor = _of(0.42, "strength of the ambient light")
    warmth: torch.Tensor = _of(0.0, "colour of the light, blue -1 .. orange 1")
    exposure: torch.Tensor = _of(1.0, "factor")
    blur: torch.Tensor = _of(0.0, "sharpened -1 .. blurred 1")
    wall_hue: torch.Tensor = _of(0.6, "background, turns of the colour circle")
    wall_saturation: torch.Tensor = _of(0.25, "0..1")
    wall_light: torch.Tensor = _of(0.5, "0..1")
    wall_slope: torch.Tensor = _of(0.2, "change from the left to the right, -1..1")
    wall_pattern: torch.Tensor = _of(0.2, "strength of the shapes in the background")
    wall_phase: torch.Tensor = _of(0.0, "position of the shapes")

    def __len__(self) -> int:
        return int(self.skull_cm.shape[0])

    def map(self, change: Any) -> FaceParameters:
        """The same faces with `change` applied to every tensor."""
        return FaceParameters(**{f.name: change(getattr(self, f.name)) for f in fields(self)})

    def rows(self, start: int, stop: int) -> FaceParameters:
        return self.map(lambda x: x[start:stop])

    def pick(self, at: torch.Tensor) -> FaceParameters:
        """The faces at these indices."""
        names = [f.name for f in fields(self)]
        picked = torch.stack([getattr(self, name) for name in names])[:, at]
        return FaceParameters(**dict(zip(names, picked.unbind(0), strict=True)))

    def planes(self) -> FaceParameters:
        """The parameters as tensors (N,1,1), which broadcast over images (N,H,W)."""
        return self.map(lambda x: x[:, None, None])


def average_faces(count: int, device: str | torch.device = "cpu") -> FaceParameters:
    return FaceParameters(
        **{f.name: torch.full((count,), f.metadata["mean"], device=device) for f in fields(FaceParameters)}
    )
