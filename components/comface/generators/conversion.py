"""Convert weight files to this package's format: safetensors with the architecture in the header, and provenance.

In: a weight file. Out: NAME.safetensors and NAME.safetensors.json (source's sha256, kind, architecture, licence, sha256
of the file). A file whose sha256 differs from that in its provenance is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from comface.artifacts.manifest import file_sha256
from comface.errors import ConfigurationError
from comface.files import check_output, write_file
from comface.weights.container import METADATA, read_container
from comface.weights.fetched import provenance_path

NOT_STATED = "not stated"
IN_HEADER = ("family", "kind", "source_sha256", "licence", "arguments", "notes")


def convert(source: Path, output: Path, licence: str | None = None) -> dict[str, Any]:
    """Write `output` and its provenance; return the provenance. Raises ConfigurationError if `output` exists with other
    content, DataError if `source` is refused; then nothing is written."""
    from comface.generators.stylegan.build import network_of

    if output.suffix != ".safetensors":
        raise ConfigurationError(f"The output {output} does not end in .safetensors; rename it.")
    for written in (output, provenance_path(output)):
        check_output(written, [source])
    container = read_container(source)
    network = network_of(container, source)
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    facts = {
        "family": container.family,
        "kind": container.kind,
        "source": source.name,
        "source_sha256": container.sha256,
        "licence": licence or container.licence or NOT_STATED,
        "arguments": container.facts,
        "notes": container.notes | network.computed,
        "architecture": network.config.facts(),
        "image_size_px": network.config.image_size_px,
        "parameters": int(sum(array.size for array in arrays.values())),
    }
    content = serialized(arrays, {name: facts[name] for name in IN_HEADER})
    sha256 = hashlib.sha256(content).hexdigest()
    _check_free(output, sha256)
    provenance = {"file": output.name, "sha256": sha256, **facts}
    write_file(output, content)
    write_file(provenance_path(output), (json.dumps(provenance, indent=1, sort_keys=True) + "\n").encode())
    return provenance


def serialized(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """safetensors bytes, the same for the same arrays. All facts are one metadata entry, because the library does not
    keep the order of entries."""
    from safetensors.numpy import save

    metadata = {METADATA: json.dumps(facts, sort_keys=True)}
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata)


def _check_free(output: Path, sha256: str) -> None:
    if output.exists() and file_sha256(output) != sha256:
        raise ConfigurationError(f"{output} already exists with other content; name another file, or delete it.")
