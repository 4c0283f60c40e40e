"""The procedural generator: a parametric face renderer with known physical parameters (docs/rehearsal.md).

In: seeds or latents w_ND (D = 512). Out: images (N,3,H,W) in [-1, 1] at any size, nine named directions, truth (kg,
years, action units), and landmarks. Figures made with this generator are marked as rehearsals.

    parameters.py   the parameters of a face                   surface.py  intersection of rays and head
    latents.py      z -> w -> parameters, truth                relief.py   nose, lids, lips, folds as heights
    attributes.py   the directions as weights of traits
    physiology.py   effects of years, kg, water                skin.py hair.py body.py worn.py scene.py  painting
    landmarks.py    68 landmarks of an image                   render.py   the rendering order, back to front
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from comface.errors import ConfigurationError
from comface.generators.procedural import latents as space
from comface.generators.procedural.attributes import DIRECTIONS
from comface.generators.procedural.landmarks import landmarks_68
from comface.generators.procedural.parameters import FaceParameters, average_faces
from comface.generators.procedural.render import render_parameters
from comface.seeds import numpy_rng

__all__ = [
    "FaceParameters",
    "ProceduralGenerator",
    "average_faces",
    "landmarks_68",
    "render_parameters",
]


class ProceduralGenerator:
    """A FaceGenerator (generators/__init__.py) that needs no weights."""

    name = "procedural"
    latent_width = space.WIDTH
    image_size_px = 64

    def __init__(self, device: str = "cpu") -> None:
        self._device = torch.device(device)

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """w_ND, one row per seed; each row depends only on its seed."""
        return self.mapped(self.z(seeds)) if len(seeds) else torch.zeros(0, self.latent_width, device=self._device)

    def z(self, seeds: Sequence[int]) -> Tensor:
        """z_ND ~ N(0, 1), for edits in Z."""
        rows = [numpy_rng(int(seed), "procedural", "z").standard_normal(self.latent_width) for seed in seeds]
        return torch.stack([torch.from_numpy(row) for row in rows])

    def mapped(self, z_ND: Tensor) -> Tensor:
        return space.mapping(z_ND).float().to(self._device)

    def parameters(self, w_ND: Tensor, **known_N: Tensor) -> FaceParameters:
        """The parameters of latents. `known_N` overrides quantities of `truth` (age_years, weight_kg, au6, au12 …, each
        (N,)), for example to show the same persons at another age."""
        return space.decode(self._checked(w_ND), **known_N)

    def render(self, w_ND: Tensor, size_px: int | None = None) -> Tensor:
        """Images (N,3,H,W), float32 in [-1, 1]."""
        return render_parameters(self.parameters(w_ND), size_px or self.image_size_px)

    def truth(self, w_ND: Tensor) -> dict[str, Tensor]:
        """The physical quantities of each latent, (N,): weight_kg, age_years, au6 and au12 (0..5), smile, male."""
        return space.truth(self._checked(w_ND))

    def attributes(self) -> tuple[str, ...]:
        return tuple(DIRECTIONS)

    def direction(self, attribute: str) -> Tensor:
        if attribute not in DIRECTIONS:
            raise ConfigurationError(
                f"The procedural generator has no direction '{attribute}'; choose from {', '.join(DIRECTIONS)}."
            )
        return space.direction(attribute).to(self._device)

    def _checked(self, w_ND: Tensor) -> Tensor:
        if w_ND.ndim != 2 or w_ND.shape[1] != self.latent_width:
            raise ConfigurationError(
                f"The procedural generator needs latents (N,{self.latent_width}), not {tuple(w_ND.shape)}; "
                "pass latents of this generator."
            )
        return w_ND.to(self._device)
