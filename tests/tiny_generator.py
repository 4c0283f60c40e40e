"""A generator for tests of what is around generators: coloured discs that move with w, in a millisecond each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from comface.errors import ConfigurationError
from comface.seeds import numpy_rng

ATTRIBUTES = ("age", "smile", "weight")


class TinyGenerator:
    latent_width = 6
    image_size_px = 32

    def __init__(self, name: str = "procedural") -> None:
        self.name = name
        self.rendered = 0

    def latents(self, seeds: Sequence[int]) -> torch.Tensor:
        return torch.from_numpy(np.stack([numpy_rng(s, "tiny").standard_normal(6, np.float32) for s in seeds]))

    def render(self, w_ND: torch.Tensor, size_px: int | None = None) -> torch.Tensor:
        self.rendered += len(w_ND)
        line = torch.linspace(-1, 1, size_px or self.image_size_px)
        x, y = line[None, None, :], line[None, :, None]
        w = w_ND[:, :, None, None]
        distance = ((x - 0.1 * w[:, 0]) ** 2 + (y - 0.1 * w[:, 1]) ** 2).sqrt()
        disc = torch.tanh((0.6 + 0.08 * w[:, 2] - distance) * 8)
        return torch.stack([disc * torch.tanh(w[:, 3 + i]) for i in range(3)], 1)

    def attributes(self) -> tuple[str, ...]:
        return ATTRIBUTES

    def direction(self, attribute: str) -> torch.Tensor:
        if attribute not in ATTRIBUTES:
            raise ConfigurationError(f"no direction '{attribute}'")
        return torch.eye(6)[ATTRIBUTES.index(attribute)][None]


def load_tiny(name: str, weights: Path | None = None, device: str = "cpu") -> TinyGenerator:
    return TinyGenerator(name)


def is_bright(image_HW3: np.ndarray) -> bool:
    """Stands in for the finder of faces, so that some identities are dropped."""
    return bool(image_HW3[16, 16].astype(int).sum() > 250)
