"""A published DCGAN, trained on rendered heads, 64 px (generators/dcgan.py)."""

from __future__ import annotations

from pathlib import Path

from comface.generators import FaceGenerator
from comface.generators.registry import Generator
from comface.weights.fetched import DCGAN


def _load(weights: Path | None, device: str) -> FaceGenerator:
    from comface.generators.dcgan import DcganGenerator

    return DcganGenerator(weights, device)


def _attributes() -> tuple[str, ...]:
    from comface.generators.dcgan import shipped_directions

    return tuple(shipped_directions())


GENERATOR = Generator(
    "dcgan",
    _load,
    embedded=True,
    fetched=DCGAN,
    gpu="used",
    attributes=_attributes,
    limits="It was trained on DigiFace-1M, which consists of rendered heads, and generates faces of 64 pixels. Its "
    "range of skin tones, ages and head coverings depends on that renderer and was not balanced.",
    images_s=(290, 430),
)
