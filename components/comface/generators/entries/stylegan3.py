"""StyleGAN3, from any public weight file (generators/stylegan)."""

from __future__ import annotations

from pathlib import Path

from comface.generators import FaceGenerator
from comface.generators.registry import Generator


def _load(weights: Path | None, device: str) -> FaceGenerator:
    from comface.generators.stylegan.generator import load_stylegan

    return load_stylegan("stylegan3", weights, device)


GENERATOR = Generator("stylegan3", _load, brought=True, poses=True)
