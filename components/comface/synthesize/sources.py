"""What a part renders with: generators and directions, loaded and checked before anything is rendered.

In: SynthesizeConfig and weight files. Out: a Source per generator, and a fingerprint that goes into the artifact's
address, so that other weights or directions make another artifact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.config import SynthesizeConfig
from comface.errors import ConfigurationError, DataError
from comface.generators import FaceGenerator
from comface.manifest import file_sha256

if TYPE_CHECKING:
    import torch

Load = Callable[[str, Path | None, str], FaceGenerator]
EMBEDDED = ("dcgan", "procedural")
"""Generators that come with the set-up and are not the paper's."""


@dataclass(frozen=True)
class Source:
    generator: FaceGenerator
    directions: Mapping[str, torch.Tensor]
    fingerprint: Mapping[str, Any]


def open_sources(
    config: SynthesizeConfig, names: Iterable[str], weights: Mapping[str, Path], device: str, load: Load
) -> dict[str, Source]:
    """The sources called `names`. Raises ConfigurationError for an attribute without a direction, DataError for a
    direction that does not fit."""
    return {name: _open(config, name, weights.get(name), device, load) for name in dict.fromkeys(names)}


def _open(config: SynthesizeConfig, name: str, weights: Path | None, device: str, load: Load) -> Source:
    if weights is not None and not weights.is_file():
        raise ConfigurationError(f"The weights of '{name}' are not at {weights}; give the path of the file.")
    generator = load(name, weights, device)
    wanted = dict.fromkeys(a for share in config.composition if share.generator == name for a in share.attributes)
    missing = [attribute for attribute in wanted if attribute not in generator.attributes()]
    if missing:
        raise ConfigurationError(
            f"The generator '{name}' has no direction for {', '.join(missing)}; "
            f"it has {', '.join(generator.attributes()) or 'none'}."
        )
    directions = {attribute: generator.direction(attribute) for attribute in wanted}
    for attribute, direction_1D in directions.items():
        check_direction(direction_1D, generator, attribute)
    fingerprint = {
        "weights_sha256": _weights_sha256(name, weights),
        "directions_sha256": {a: _tensor_sha256(direction) for a, direction in directions.items()},
    }
    return Source(generator, directions, fingerprint)


def check_direction(direction_1D: torch.Tensor, generator: FaceGenerator, name: str) -> None:
    """Raises DataError when it cannot be added to the generator's latents."""
    import torch

    if direction_1D.ndim != 2 or tuple(direction_1D.shape) != (1, generator.latent_width):
        raise DataError(
            f"The direction '{name}' has shape {tuple(direction_1D.shape)}, but the generator '{generator.name}' "
            f"takes (1, {generator.latent_width}); give one that was fitted for it."
        )
    if not bool(torch.isfinite(direction_1D).all()) or not bool((direction_1D != 0).any()):
        raise DataError(f"The direction '{name}' of '{generator.name}' is zero or not finite; fit it again.")


def _weights_sha256(name: str, weights: Path | None) -> str:
    if weights is None and name == "dcgan":
        from comface.models import DCGAN, model_path

        weights = model_path(DCGAN)
    return file_sha256(weights) if weights is not None and weights.is_file() else ""


def _tensor_sha256(direction_1D: torch.Tensor) -> str:
    return hashlib.sha256(direction_1D.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()
