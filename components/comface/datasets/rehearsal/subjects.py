"""The people of rehearsals, and the conditions of their photos.

In: a seed, the name of a data set, the number of a subject. Out: FaceParameters, one row per photo. A person is a
latent of the generator whose seed is derived from these three values, so pre-training has no identity in common with
them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from comface.generators.procedural import FaceParameters, ProceduralGenerator
from comface.seeds import derive_seed, numpy_rng


@dataclass(frozen=True)
class Conditions:
    """Ranges of the conditions that differ between photos of one person."""

    yaw_deg: float = 10.0
    pitch_deg: float = 6.0
    roll_deg: float = 5.0
    zoom: tuple[float, float] = (0.68, 0.86)
    shift_cm: float = 1.6
    side: float = 0.9
    """Maximum share of light from the side."""
    below: float = 0.0
    """Maximum distance of the light below the face."""
    exposure: float = 0.25
    warmth: float = 0.8


def person(seed: int, dataset: str, number: int, photos: int, **known_N: Tensor) -> FaceParameters:
    """Return `photos` rows of one person, without a hat and in focus. `known_N` sets ground-truth values per photo."""
    generator = ProceduralGenerator()
    w_1D = generator.latents([derive_seed(seed, dataset, number)])
    faces = generator.parameters(w_1D.expand(photos, -1), **known_N)
    nothing = torch.zeros(photos)
    return replace(faces, hat=nothing, necktie=nothing, blur=nothing, au25=nothing, au26=nothing, gaze_x=nothing)


def male(seed: int, dataset: str, number: int) -> float:
    generator = ProceduralGenerator()
    return float(generator.truth(generator.latents([derive_seed(seed, dataset, number)]))["male"][0])


def under(faces: FaceParameters, conditions: Conditions, rng: np.random.Generator) -> FaceParameters:
    """Draw pose, framing, light and background for each photo."""
    c, between = conditions, functools.partial(drawn, rng, len(faces))

    def spread(reach: float) -> Tensor:
        return between(-reach, reach)

    return replace(
        faces,
        yaw_deg=spread(c.yaw_deg),
        pitch_deg=spread(c.pitch_deg),
        roll_deg=spread(c.roll_deg),
        zoom=between(*c.zoom),
        shift_x_cm=spread(c.shift_cm),
        shift_y_cm=spread(0.5 * c.shift_cm) + 0.6,
        light_x=spread(c.side),
        light_y=between(-c.below, 1.0),
        key=between(0.55, 1.1),
        ambient=between(0.28, 0.6),
        warmth=spread(c.warmth),
        exposure=torch.exp(spread(c.exposure)),
        wall_hue=between(0, 1),
        wall_saturation=between(0.0, 0.35),
        wall_light=between(0.2, 0.95),
        wall_slope=spread(1.0),
        wall_pattern=between(0.5, 1.4),
        wall_phase=spread(3.0),
    )


def drawn(rng: np.random.Generator, count: int, low: float, high: float) -> Tensor:
    """(N,), uniform in [low, high)."""
    return torch.from_numpy(rng.uniform(low, high, count).astype(np.float32))


def wander(count: int, reach: float, rng: np.random.Generator, smooth: int = 15) -> Tensor:
    """Return a smooth random walk around 0 within ±reach, one value per frame (N,)."""
    steps = rng.standard_normal(count + 4 * smooth)
    kernel = np.hanning(2 * smooth + 1)
    path = np.convolve(steps, kernel / np.sqrt((kernel**2).sum()), mode="same")[2 * smooth : 2 * smooth + count]
    return torch.from_numpy((reach * np.tanh(path / 1.5)).astype(np.float32))


def subject_rng(seed: int, dataset: str, number: int) -> np.random.Generator:
    return numpy_rng(seed, dataset, number, "photos")
