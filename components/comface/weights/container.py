"""Read weight files in every public format without executing any of their content.

In: a file. Out: a Container: family, float32 arrays by canonical name, architecture facts, the file's kind. A file with
a missing part or a non-finite number is refused with a DataError.

| module | content |
|---|---|
| pickle_machine.py | a reader of pickles that imports and calls nothing |
| tensors.py | torch's and numpy's tensors as records over the file's bytes |
| inert.py | names of harmless objects other than weights |
| torch_files.py | files of torch.save, both layouts |
| safetensors_files.py | safetensors |
| tensor_tables.py | selects the bytes to read, and the table of tensors in them |
| pickles.py | NVIDIA's .pkl: PyTorch modules, TensorFlow networks |
| stylegan_names.py | five naming schemes of three networks |
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from comface.errors import DataError
from comface.files import read_facts
from comface.weights import pickles, safetensors_files
from comface.weights import stylegan_names as naming
from comface.weights import tensor_tables as tables
from comface.weights.fetched import provenance_path
from comface.weights.pickle_machine import Refused
from comface.weights.tensors import bounded

METADATA = "comface"
"""The entry of a safetensors header that contains the facts that `comface convert` wrote."""


@dataclass(frozen=True)
class Container:
    family: str
    kind: str
    """The file's kind, e.g. 'NVIDIA pickle (PyTorch)'."""
    arrays: dict[str, np.ndarray]
    sha256: str
    """sha256 of the original file."""
    facts: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    own_names: dict[str, str] = field(default_factory=dict)
    """Canonical name -> the tensor's name in the file."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Decisions made while reading: the selected entry, and (from build) the computed tensors."""


def read_container(path: Path) -> Container:
    """The container in the file `path`. Raises ConfigurationError if there is no file, DataError if it is refused."""
    try:
        return parse(tables.content_of(path), path)
    except Refused as refused:
        raise DataError(
            f"The weight file {path} was refused: {refused}; get the published file again, or save the state_dict of "
            "its generator alone."
        ) from None


def parse(content: bytes, path: Path | None = None) -> Container:
    """The container in `content`. Raises Refused."""
    sha256 = hashlib.sha256(content).hexdigest()
    view = memoryview(content)
    told: dict[str, Any] = {}
    entry, facts = "", {}
    if safetensors_files.is_safetensors(content[:16]):
        if path is not None:
            _check_provenance(path, sha256)
        value, metadata = safetensors_files.read_safetensors(view)
        told, kind = _told(metadata), "safetensors"
        entry, table = tables.generator_table(value)
    elif tables.is_torch(view):
        kind = "torch file"
        entry, table = tables.generator_table(tables.torch_value(view))
    elif content[:1] == b"\x80":
        found = pickles.read_pickle(view)
        kind, arrays, facts = found.kind, found.arrays, found.facts
    else:
        raise Refused(tables.NEITHER)
    if "pickle" not in kind:
        bounded(table.values(), len(content))
        arrays = {name: record.array() for name, record in table.items()}
    family, names, renamed = naming.canonical(arrays)
    own = naming.own_names(names, arrays)
    notes: dict[str, Any] = {"entry": entry} if entry else {}
    if isinstance(told.get("notes"), dict):
        notes = told["notes"]
    return Container(
        family,
        str(told.get("kind", f"{kind}, names of {names}"))[:200],
        {name: tables.numbers(own.get(name, name), array, np.float32) for name, array in renamed.items()},
        str(told.get("source_sha256", sha256))[:64],
        told["arguments"] if isinstance(told.get("arguments"), dict) else facts,
        str(told.get("licence", ""))[:2000],
        own,
        notes,
    )


def _told(metadata: Any) -> dict[str, Any]:
    """The facts that `comface convert` wrote into the header."""
    text = metadata.get(METADATA, "{}") if isinstance(metadata, dict) else "{}"
    try:
        facts = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        raise Refused("its header's facts are not JSON") from None
    return facts if isinstance(facts, dict) else {}


def _check_provenance(path: Path, sha256: str) -> None:
    beside = provenance_path(path)
    if not beside.exists():
        return
    facts = read_facts(beside)
    if "sha256" not in facts:
        raise Refused(f"its provenance {beside.name} cannot be read")
    if facts["sha256"] != sha256:
        raise Refused(f"it is not the file that its provenance {beside.name} describes (another sha256)")
