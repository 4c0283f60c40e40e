"""StyleGAN, StyleGAN2 and StyleGAN3, from any public weight file (generators/stylegan)."""

from __future__ import annotations

from pathlib import Path

from comface.generators import FaceGenerator
from comface.generators.registry import Generator


def _brought(name: str, images_s: tuple[float, float], poses: bool = False) -> Generator:
    """`images_s`: at 1024 px, derived from published figures (docs/performance.md); not measured with this code."""

    def load(weights: Path | None, device: str) -> FaceGenerator:
        from comface.generators.stylegan.generator import load_stylegan

        return load_stylegan(name, weights, device)

    return Generator(name, load, brought=True, poses=poses, images_s=images_s)


STYLEGAN, STYLEGAN2, STYLEGAN3 = (
    _brought("stylegan", (48, 106)),
    _brought("stylegan2", (48, 106)),
    _brought("stylegan3", (23, 51), poses=True),
)
