"""A generator whose directions have known faults, and instruments that read its pictures.

A face is a bright frame; inside it lie a mouth (a bar as wide as w6 says), brows (w7), a light (w9), and a pattern of
nine coloured squares (w0 … w5 and what follows from them) that is the person's own. The frame goes out where |w8|
passes a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from comface.errors import ConfigurationError
from comface.screening.measure import Instruments
from comface.seeds import numpy_rng

WIDTH, SIDE = 12, 32
PERSON = slice(0, 6)
MOUTH, BROW, FADES, LIGHT, NOTHING = 6, 7, 8, 9, 10


def along(**weights: float) -> torch.Tensor:
    """A direction (1,12), by the names above in small letters; person=x moves all of w0 … w5."""
    row = torch.zeros(1, WIDTH)
    for name, weight in weights.items():
        row[0, globals()[name.upper()]] = weight
    return row


class PlantedGenerator:
    name, latent_width, image_size_px = "dcgan", WIDTH, SIDE

    def __init__(self, directions: Mapping[str, torch.Tensor], limit: float = 99.0) -> None:
        self.directions, self.limit = directions, limit

    def latents(self, seeds: Sequence[int]) -> torch.Tensor:
        rows = np.stack([numpy_rng(seed, "planted").standard_normal(WIDTH, np.float32) for seed in seeds])
        rows[:, FADES] = 0
        return torch.from_numpy(rows)

    def render(self, w_ND: torch.Tensor, size_px: int | None = None) -> torch.Tensor:
        images_NHW = torch.full((len(w_ND), SIDE, SIDE), -0.5)
        images_NHW[:, :2] = torch.where(w_ND[:, FADES].abs() <= self.limit, 1.0, -1.0)[:, None, None]
        images_NHW[:, 29:] = torch.tanh(w_ND[:, LIGHT] / 4)[:, None, None]
        place_W = torch.arange(SIDE)
        for row, trait in ((4, BROW), (24, MOUTH)):
            length_N = (14 + 12 * torch.tanh(w_ND[:, trait] / 5)).round()
            bar_NW = (place_W >= 2) & (place_W < 2 + length_N[:, None])
            images_NHW[:, row : row + 4] = torch.where(bar_NW, 0.8, -0.5)[:, None, :]
        images_N3HW = images_NHW[:, None].repeat(1, 3, 1, 1)
        colours = torch.tanh(w_ND[:, PERSON])
        for i in range(9):
            y, x = 10 + 4 * (i // 3), 4 + 8 * (i % 3)
            colour_N3 = colours[:, [(i * k + k) % 6 for k in (1, 2, 5)]]
            images_N3HW[:, :, y : y + 4, x : x + 8] = colour_N3[:, :, None, None]
        return torch.nn.functional.interpolate(images_N3HW, (size_px or SIDE,) * 2)

    def attributes(self) -> tuple[str, ...]:
        return tuple(self.directions)

    def direction(self, attribute: str) -> torch.Tensor:
        if attribute not in self.directions:
            raise ConfigurationError(f"no direction '{attribute}'")
        return self.directions[attribute]

    def load(self, name: str, weights: Path | None = None, device: str = "cpu") -> PlantedGenerator:
        return self


def score(images_NHW3: np.ndarray) -> dict[str, np.ndarray]:
    grey = images_NHW3.astype(float).mean(axis=3)
    seen = np.where(grey[:, 0].mean(axis=1) > 200, 0.0, np.nan)
    rows = {"mouth": (grey[:, 26, 2:28] > 150).sum(axis=1), "brow": (grey[:, 6, 2:28] > 150).sum(axis=1)}
    return {**{name: row + seen for name, row in rows.items()}, "light": grey[:, 30].mean(axis=1) + seen}


def embed(images_NHW3: np.ndarray) -> np.ndarray:
    return images_NHW3[:, 10:22:4, 4:28:8].reshape(len(images_NHW3), -1).astype(np.float32)


def found(image_HW3: np.ndarray) -> bool:
    return bool(image_HW3[0].mean() > 200)


INSTRUMENTS = Instruments(score, embed, {"planted": 1})
