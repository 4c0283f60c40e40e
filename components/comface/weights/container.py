"""Weight files of every public container, read without running anything that they carry.

In: a file. Out: a Container: family, float32 arrays by canonical names, facts of the architecture, what the file was.
Either the file is taken whole and every number in it is finite, or DataError says in one sentence why it is refused.

| module | holds |
|---|---|
| pickle_machine.py | a reader of pickles that imports and calls nothing |
| tensors.py | torch's and numpy's tensors as records over the file's bytes |
| inert.py | names of what files carry beside their weights |
| torch_files.py | files of torch.save, both layouts |
| safetensors_files.py | safetensors |
| tensor_tables.py | which bytes are read, and which tensors in them are meant |
| pickles.py | NVIDIA's .pkl: PyTorch modules, TensorFlow networks |
| stylegan_names.py | five namings of three networks |
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
"""The entry of a safetensors header with our own facts."""


@dataclass(frozen=True)
class Container:
    family: str
    kind: str
    """What the file was, e.g. 'NVIDIA pickle (PyTorch)'."""
    arrays: dict[str, np.ndarray]
    sha256: str
    """Of the file as it was given."""
    facts: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    own_names: dict[str, str] = field(default_factory=dict)
    """Canonical name -> the file's own name of the tensor."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What was decided when it was read: the entry that was taken, and (by build) what was computed."""


def read_container(path: Path) -> Container:
    """Raises ConfigurationError when there is no file, DataError when it is refused."""
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
    """What `comface convert` wrote into the header."""
    text = metadata.get(METADATA, "{}") if isinstance(metadata, dict) else "{}"
    try:
        facts = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        raise Refused("its header's facts are no JSON") from None
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
