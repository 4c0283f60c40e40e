"""The parametric face renderer of this project: known physical parameters, any image size (generators/procedural)."""

from __future__ import annotations

from pathlib import Path

from comface.errors import ConfigurationError
from comface.generators import FaceGenerator
from comface.generators.registry import Generator


def _load(weights: Path | None, device: str) -> FaceGenerator:
    from comface.generators.procedural import ProceduralGenerator

    if weights is not None:
        raise ConfigurationError("The generator 'procedural' has no weights; leave them out.")
    return ProceduralGenerator(device)


def _attributes() -> tuple[str, ...]:
    from comface.generators.procedural.attributes import DIRECTIONS

    return tuple(DIRECTIONS)


GENERATOR = Generator(
    "procedural",
    _load,
    embedded=True,
    attributes=_attributes,
    drawn=True,
    always_a_face=True,
    gpu="never",  # thousands of small kernels per image: at 256 px 41 images/s on an H200, 20 on one core
    limits="Its faces are parametric drawings with known physical parameters, not photographs of people.",
    images_s=(70, 90),
    images_s_px=128,
)
