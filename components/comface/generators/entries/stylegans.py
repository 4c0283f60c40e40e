"""StyleGAN, StyleGAN2 and StyleGAN3, from any public weight file (generators/stylegan)."""

from __future__ import annotations

from pathlib import Path

from comface.generators import FaceGenerator
from comface.generators.registry import Generator


def _brought(name: str, poses: bool = False) -> Generator:
    def load(weights: Path | None, device: str) -> FaceGenerator:
        from comface.generators.stylegan.generator import load_stylegan

        return load_stylegan(name, weights, device)

    return Generator(name, load, brought=True, poses=poses)


STYLEGAN, STYLEGAN2, STYLEGAN3 = _brought("stylegan"), _brought("stylegan2"), _brought("stylegan3", poses=True)
