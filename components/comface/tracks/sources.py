"""Generators and edits for rendering, loaded and checked before the first image is rendered.

In: SynthesizeConfig; for the StyleGANs, files of weights and directions. Out: one Source per generator, with a
fingerprint that is part of the artifact's address: other weights, directions or edits give another artifact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.artifacts.manifest import file_sha256
from comface.directions.edits import Edit, make_edit, pose, published_edit
from comface.errors import ConfigurationError
from comface.generators import FaceGenerator
from comface.generators.registry import generator as registered
from comface.tracks.config import SynthesizeConfig
from comface.tracks.supplies import Files, entry_of
from comface.weights.fetched import model_digest

if TYPE_CHECKING:
    import torch

Load = Callable[[str, Path | None, str], FaceGenerator]


@dataclass(frozen=True)
class Source:
    generator: FaceGenerator
    edits: Mapping[str, Edit]
    """Attribute, spelled as in the composition -> its edit."""
    fingerprint: Mapping[str, Any]

    def made_from(self, attribute: str) -> dict[str, Any]:
        """The entries of the fingerprint that determine the tracks along one attribute."""
        by_attribute = {"directions_sha256": "direction_sha256", "edits": "edit"}
        whole = {name: value for name, value in self.fingerprint.items() if name not in by_attribute}
        return whole | {one: self.fingerprint[name][attribute] for name, one in by_attribute.items()}


def open_sources(
    config: SynthesizeConfig,
    names: Iterable[str],
    weights: Mapping[str, Path],
    device: str,
    load: Load,
    files: Mapping[str, Files] | None = None,
) -> dict[str, Source]:
    """Open the generators `names` on `device`; those that are slower on a GPU, on the CPU. `files`: the StyleGANs'
    files from the weights location; `weights`: weight files of generators that `files` does not contain. Raises
    ConfigurationError if a weight file is missing or an attribute has no direction, DataError if a direction does not
    fit the generator."""
    found = files or {}
    return {
        name: _open(config, name, weights.get(name), device, load, found.get(name)) for name in dict.fromkeys(names)
    }


def _open(
    config: SynthesizeConfig, name: str, weights: Path | None, device: str, load: Load, files: Files | None
) -> Source:
    weights = files.weights if files is not None else weights
    if weights is not None and not weights.is_file():
        raise ConfigurationError(f"The weights of '{name}' are not at {weights}; give the path of the file.")
    entry = registered(name)
    generator = load(name, weights, "cpu" if entry.gpu == "never" else device)
    if entry.poses and (config.pseudo_aligned or any(config.input_transform)):
        pose(generator, config.pseudo_aligned, config.input_transform)
    set_precision = getattr(generator, "set_precision", None)
    changed = set_precision is not None and set_precision(config.precision)
    wanted = dict.fromkeys(a for share in config.composition if share.generator == name for a in share.attributes)
    if entry.brought and files is not None:
        edits = {a: _from_files(config, generator, files, a) for a in wanted}
    else:
        edits = _own(generator, list(wanted))
    fingerprint = {
        "weights_sha256": _weights_sha256(name, weights),
        "directions_sha256": {a: _tensor_sha256(change.direction_KD) for a, change in edits.items()},
        "edits": {a: [change.space, change.truncate] for a, change in edits.items()},
    }
    if changed:
        fingerprint["precision"] = config.precision
    return Source(generator, edits, fingerprint | dict(entry.decided_by()))


def _from_files(config: SynthesizeConfig, generator: FaceGenerator, files: Files, attribute: str) -> Edit:
    entry = entry_of(config, generator.name, attribute)
    return published_edit(generator, entry, files.directions[entry.attribute], files.directions)


def _own(generator: FaceGenerator, wanted: list[str]) -> dict[str, Edit]:
    """The edits along the generator's built-in directions. Raises ConfigurationError if one is missing."""
    missing = [attribute for attribute in wanted if attribute not in generator.attributes()]
    if missing:
        raise ConfigurationError(
            f"The generator '{generator.name}' has no direction for {', '.join(missing)}; "
            f"it has {', '.join(generator.attributes()) or 'none'}."
        )
    return {a: make_edit(generator, generator.direction(a), f"direction '{a}' of '{generator.name}'") for a in wanted}


def _weights_sha256(name: str, weights: Path | None) -> str:
    if weights is None and (fetched := registered(name).fetched):
        return model_digest(fetched)[1]
    return file_sha256(weights) if weights is not None and weights.is_file() else ""


def _tensor_sha256(direction_1D: torch.Tensor) -> str:
    return hashlib.sha256(direction_1D.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()
