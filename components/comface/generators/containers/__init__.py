"""Weight files of every public container, read without running anything that they carry.

In: a file. Out: a Container: family, float32 arrays by canonical names, facts of the architecture, what the file was.
Either the file is taken whole and every number in it is finite, or DataError says in one sentence why it is refused.

| module | holds |
|---|---|
| machine.py | a reader of pickles that imports and calls nothing |
| tensors.py | torch's and numpy's tensors as records over the file's bytes |
| torch_files.py | files of torch.save, both layouts |
| pickles.py | NVIDIA's .pkl: PyTorch modules, TensorFlow networks |
| naming.py | five namings of three networks |
| converted.py | our own safetensors with provenance |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from comface.errors import ConfigurationError, DataError
from comface.generators.containers import naming, pickles, torch_files
from comface.generators.containers.machine import Refused

MOST_BYTES = 16 * 2**30
AVERAGED = ("generator_smooth", "g_ema", "G_ema", "state_dict")
"""Entries of a torch file that hold the generator whose weights were averaged, best first."""


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


def read_container(path: Path) -> Container:
    """Raises ConfigurationError when there is no file, DataError when it is refused."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"The weight file {path} has {path.stat().st_size:,} bytes, more than any known one.")
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ConfigurationError(f"There is no weight file {path}; give the path of one.") from None
    except OSError as error:
        raise DataError(f"The weight file {path} cannot be read ({error.strerror}); check its rights.") from None
    try:
        return parse(content, path)
    except Refused as refused:
        raise DataError(
            f"The weight file {path} was refused: {refused}; get the published file again, or convert what it holds."
        ) from None


def parse(content: bytes, path: Path | None = None) -> Container:
    """The container in `content`. Raises Refused."""
    from comface.generators.containers import converted

    sha256 = hashlib.sha256(content).hexdigest()
    view = memoryview(content)
    if converted.is_safetensors(content):
        return converted.parse(content, sha256, path)
    if content[:1] == b"\x80" and not content.startswith(torch_files.LEGACY_MAGIC):
        found = pickles.read_pickle(view)
        kind, arrays, facts = found.kind, found.arrays, found.facts
    elif content.startswith((torch_files.ZIP_MAGIC, torch_files.LEGACY_MAGIC)):
        zipped = content.startswith(torch_files.ZIP_MAGIC)
        value = torch_files.read_zip(view) if zipped else torch_files.read_legacy(view)
        kind, arrays, facts = "torch file", _state(value), {}
    else:
        raise Refused("it is neither a pickle, nor a torch file, nor safetensors")
    if sum(array.nbytes for array in arrays.values()) > len(content):
        raise Refused("its tensors are larger than the file")
    family, names, renamed = naming.canonical(arrays)
    plain = {name: finite(name, array) for name, array in renamed.items()}
    return Container(family, f"{kind}, names of {names}", plain, sha256, facts)


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """float32, contiguous, a copy. Raises Refused for NaN and infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        copied = np.array(array, np.float32, order="C")
    if not np.isfinite(copied).all():
        raise Refused(f"its tensor {ascii(name)[:80]} holds NaN or infinity")
    return copied


def _state(value: Any) -> dict[str, np.ndarray]:
    """The state dict of a torch file: itself, or the entry with the averaged generator."""
    from comface.generators.containers.tensors import TensorRecord

    state = value
    if isinstance(value, dict):
        inner = next((value[name] for name in AVERAGED if isinstance(value.get(name), dict)), None)
        if inner is not None:
            state = {**inner}
            if isinstance(value.get("latent_avg"), TensorRecord):
                state.setdefault("latent_avg", value["latent_avg"])
    if not isinstance(state, dict):
        raise Refused("it holds no tensors by name")
    for name, record in state.items():
        if not isinstance(name, str) or not isinstance(record, TensorRecord):
            raise Refused(f"its entry {ascii(name)[:80]} is no tensor")
    return {name: record.array() for name, record in state.items()}
