"""Our own weight files: safetensors whose header says the architecture, with the provenance as JSON beside them.

In: a Container. Out: NAME.safetensors and NAME.safetensors.json (source's sha256, kind, architecture, licence, sha256
of the file). Everything after `comface convert` reads only these; a file that no longer has the sha256 that its
provenance names is refused.
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
    """Writes `output` and its provenance; returns the provenance. Raises ConfigurationError when `output` holds
    something else, DataError when `source` is refused; then nothing is written."""
    from comface.generators.stylegan.build import network_of

    if output.suffix != ".safetensors":
        raise ConfigurationError(f"The output {output} does not end in .safetensors; name it so.")
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
    """The same bytes for the same arrays: the library shuffles metadata, so all facts are one entry."""
    from safetensors.numpy import save

    metadata = {METADATA: json.dumps(facts, sort_keys=True)}
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata)


def _check_free(output: Path, sha256: str) -> None:
    if output.exists() and file_sha256(output) != sha256:
        raise ConfigurationError(f"{output} holds something else already; name another, or delete it.")
