"""Rehearsals of Edema-A and Edema-B (section 4.2): patients photographed before and after dialysis, with weights.

    patient-001/session-01/before/000.jpg …    the frames of one weighing (the paper: 100)
    patient-001/session-01/after/000.jpg …
    weights.csv                                patient,session,phase,weight_kg,sex

In: RehearseConfig and the hospital, 'a' or 'b'. Out: those files; weights.csv is written last. Before dialysis a
patient has 1 to 4 kg more water, which swells lids, cheeks and jaw line (physiology.swollen). Pose varies per frame;
light, camera and framing vary per weighing, so much that pixels alone do not predict the weight. The walls, camera and
light of Edema-B differ from those of Edema-A, like those of another hospital.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from comface.datasets.config import RehearseConfig
from comface.datasets.rehearsal.camera import Lens, jpeg, photograph, render_px
from comface.datasets.rehearsal.subjects import Conditions, drawn, male, person, subject_rng, under
from comface.generators import to_uint8
from comface.generators.procedural import FaceParameters, render_parameters
from comface.generators.procedural.physiology import swollen
from comface.runtime.progress import shown

LENS = {
    "a": Lens(stretch=0.04, gamma=0.3, cast=0.1, side_light=0.4, noise=4.0),
    "b": Lens(stretch=0.05, gamma=0.35, cast=0.14, side_light=0.5, noise=7.0),
}
CONDITIONS = {
    "a": Conditions(yaw_deg=17, pitch_deg=10, roll_deg=7, side=1.5, below=0.4, exposure=0.35),
    "b": Conditions(
        yaw_deg=17, pitch_deg=10, roll_deg=8, side=1.6, below=0.4, exposure=0.4, warmth=1.2, zoom=(0.64, 0.84)
    ),
}
JPEG_QUALITY = {"a": 85, "b": 72}


@dataclass(frozen=True)
class Weighing:
    session: int
    phase: Literal["before", "after"]
    weight_kg: float
    water_kg: float
    """Water above the dry weight, in kg."""


def write_edema(folder: Path, config: RehearseConfig, which: Literal["a", "b"]) -> None:
    patients = config.edema_a_patients if which == "a" else config.edema_b_patients
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["patient", "session", "phase", "weight_kg", "sex"])
    for number in shown(range(patients), "writing photos", unit="patient"):
        patient = f"patient-{number + 1:03d}"
        rng = subject_rng(config.seed, f"edema-{which}", number)
        sex = "male" if male(config.seed, f"edema-{which}", number) > 0 else "female"
        weighings = weighings_of(number, config, which, rng)
        photos_NHW3 = photos_of(number, weighings, config, which, rng)
        for i, weighing in enumerate(weighings):
            session = f"session-{weighing.session:02d}"
            place = folder / patient / session / weighing.phase
            place.mkdir(parents=True, exist_ok=True)
            frames = photos_NHW3[i * config.edema_frames : (i + 1) * config.edema_frames]
            for frame, photo in enumerate(frames):
                (place / f"{frame:03d}.jpg").write_bytes(jpeg(photo, JPEG_QUALITY[which]))
            rows.writerow([patient, session, weighing.phase, f"{weighing.weight_kg:.1f}", sex])
    (folder / "weights.csv").write_text(table.getvalue())


def weighings_of(
    number: int, config: RehearseConfig, which: Literal["a", "b"], rng: np.random.Generator
) -> list[Weighing]:
    """Two weighings per session. Dry weight drifts by little; some water is left after dialysis."""
    mean = config.edema_sessions
    sessions = max(1, int(rng.integers(round(0.6 * mean), round(1.4 * mean) + 1)))
    dry = 60 + 6 * np.tanh(male(config.seed, f"edema-{which}", number)) + rng.normal(0, 9)
    out = []
    for session in range(1, sessions + 1):
        dry = max(38.0, dry + rng.normal(0, 0.15))
        left = rng.uniform(0.0, 0.5)
        gained = rng.uniform(1.0, 4.0)
        out.append(Weighing(session, "before", dry + left + gained, left + gained))
        out.append(Weighing(session, "after", dry + left, left))
    return out


def photos_of(
    number: int,
    weighings: list[Weighing],
    config: RehearseConfig,
    which: Literal["a", "b"],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return photos (M*frames,S,S,3); the frames of one weighing are consecutive."""
    frames = config.edema_frames
    water = torch.tensor([w.water_kg for w in weighings]).repeat_interleave(frames)
    dry = torch.tensor([w.weight_kg - w.water_kg for w in weighings]).repeat_interleave(frames)
    count = len(water)
    age = torch.full((count,), float(rng.uniform(42, 78)))
    calm = drawn(rng, count, 0, 1.0)
    name = f"edema-{which}"
    faces = person(config.seed, name, number, count, age_years=age, weight_kg=dry.float(), au12=calm, au6=0.4 * calm)
    faces = swollen(faces, water.float())
    faces = _in_ward(under(faces, CONDITIONS[which], rng), frames, rng)
    renders = to_uint8(render_parameters(faces, render_px(config.image_size_px)))
    photos, _ = photograph(renders, config.image_size_px, LENS[which], rng)
    return photos


def _in_ward(faces: FaceParameters, frames: int, rng: np.random.Generator) -> FaceParameters:
    """Set light and background per weighing, pose per frame, clothes and hair per weighing."""
    count = len(faces)
    first = torch.arange(count) // frames * frames
    scene = ("light_x", "light_y", "key", "ambient", "warmth", "exposure", "zoom")
    wall = ("wall_hue", "wall_saturation", "wall_light", "wall_slope", "wall_pattern", "wall_phase")
    faces = replace(faces, **{name: getattr(faces, name)[first] for name in scene + wall})

    def draw(low: float, high: float) -> torch.Tensor:
        return drawn(rng, count, low, high)[first]

    return replace(
        faces,
        hair_cm=faces.hair_cm + draw(-1.0, 1.0),
        stubble=faces.stubble * draw(0.2, 1.3),
        bags=(faces.bags + draw(-0.2, 0.2)).clamp(min=0),
        au4=draw(-1.0, 2.0).clamp(min=0),
        eye_open=faces.eye_open * draw(0.8, 1.15),
        makeup=0.0 * faces.makeup,
        earrings=0.0 * faces.earrings,
        glasses=0.0 * faces.glasses,
        blush=faces.blush * draw(0.6, 1.4),
        cloth_hue=draw(0.45, 0.65),
        cloth_light=draw(0.55, 0.85),
    )
