"""A rehearsal of FG-NET (Panis et al. 2016): 82 people with about 12 photos each, at ages 0 to 69.

    images/001A02.JPG     subject 001 at age 2; a letter if two photos have the same age (001A43a.JPG)
    points/001a02.pts     68 points in iBUG's order (FG-NET itself uses another order)

In: RehearseConfig. Out: those files under FGNET/. Photos of one person also differ in camera, light, hair, glasses,
beard, expression, and colour or grey film. Age changes wrinkles, lids, jaw line, lips and hair.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from comface.datasets.config import RehearseConfig
from comface.datasets.rehearsal.camera import Lens, jpeg, moved, photograph, render_px
from comface.datasets.rehearsal.subjects import Conditions, drawn, person, subject_rng, under
from comface.generators import to_uint8
from comface.generators.procedural import FaceParameters, landmarks_68, render_parameters
from comface.runtime.progress import shown

LENS = Lens(stretch=0.05, gamma=0.4, cast=0.12, side_light=0.35, noise=7.0)
CONDITIONS = Conditions(
    yaw_deg=15, pitch_deg=8, roll_deg=8, zoom=(0.62, 0.9), side=1.2, below=0.2, exposure=0.35, warmth=1.2
)
GRAY_SHARE = 0.2


def write_fgnet(folder: Path, config: RehearseConfig) -> None:
    images, points = folder / "FGNET" / "images", folder / "FGNET" / "points"
    images.mkdir(parents=True, exist_ok=True)
    points.mkdir(parents=True, exist_ok=True)
    for number in shown(range(config.fgnet_subjects), "writing photos", unit="subject"):
        rng = subject_rng(config.seed, "fgnet", number)
        ages_N = ages(config.fgnet_images, rng)
        photos_NHW3, points_NK2 = photos_of(number, ages_N, config, rng)
        for name, photo, marks in zip(names(number + 1, ages_N), photos_NHW3, points_NK2, strict=True):
            quality = int(rng.integers(60, 90))
            (images / f"{name}.JPG").write_bytes(jpeg(photo, quality, gray=bool(rng.random() < GRAY_SHARE)))
            (points / f"{name.lower()}.pts").write_text(points_file(marks))


def ages(mean_photos: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the ages of a person's photos in years, ascending; mostly young, as in FG-NET, some of them equal."""
    count = max(2, int(rng.integers(round(0.6 * mean_photos), round(1.4 * mean_photos) + 1)))
    first, reach = rng.uniform(0, 12), rng.choice([22.0, 38.0, 60.0], p=[0.4, 0.35, 0.25])
    drawn = first + reach * rng.beta(0.9, 1.3, count)
    return np.sort(drawn.clip(0, 69).astype(np.int64))


def names(subject: int, ages_N: NDArray[np.int64]) -> list[str]:
    """Return file names without suffix: 001A02, or 001A43a and 001A43b if photos have the same age."""
    shared, seen = Counter(ages_N.tolist()), Counter[int]()
    out = []
    for age in ages_N.tolist():
        letter = chr(ord("a") + seen[age]) if shared[age] > 1 else ""
        seen[age] += 1
        out.append(f"{subject:03d}A{age:02d}{letter}")
    return out


def photos_of(
    number: int, ages_N: NDArray[np.int64], config: RehearseConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return photos (N,S,S,3) and their points (N,68,2)."""
    count = len(ages_N)
    # the label is the age in whole years; the exact age is up to one year more
    age = torch.from_numpy((ages_N + rng.uniform(0, 1, count)).astype(np.float32))
    smile = drawn(rng, count, 0, 3.5)
    faces = person(config.seed, "fgnet", number, count, age_years=age, au12=smile, au6=0.5 * smile)
    faces = under(_lived(faces, rng), CONDITIONS, rng)
    side = render_px(config.image_size_px)
    renders = to_uint8(render_parameters(faces, side))
    photos, matrices = photograph(renders, config.image_size_px, LENS, rng)
    marks = landmarks_68(faces, side).double().numpy()
    return photos, np.stack([moved(p, m) for p, m in zip(marks, matrices, strict=True)])


def _lived(faces: FaceParameters, rng: np.random.Generator) -> FaceParameters:
    """Vary hair, glasses, beard, mouth, gaze and clothes from photo to photo, independent of age."""
    draw = functools.partial(drawn, rng, len(faces))
    return replace(
        faces,
        hair_cm=faces.hair_cm + draw(-2.5, 2.5),
        volume_cm=(faces.volume_cm + draw(-0.25, 0.25)).clamp(min=0.1),
        hair_dark=(faces.hair_dark + draw(-0.15, 0.15)).clamp(0, 1),
        gray=faces.gray * draw(0.5, 1.0),
        fringe=(faces.fringe + draw(-0.3, 0.3)).clamp(0, 1),
        glasses=faces.glasses * (draw(0, 1) > 0.4),
        stubble=faces.stubble * draw(0, 1.2),
        au25=draw(-2.0, 3.0).clamp(min=0),
        gaze_x=draw(-0.8, 0.8),
        cloth_hue=draw(0, 1),
    )


def points_file(points_K2: NDArray[np.float64]) -> str:
    """Return the text of a .pts file."""
    lines = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points_K2)
    return f"version: 1\nn_points: {len(points_K2)}\n{{\n{lines}\n}}\n"
