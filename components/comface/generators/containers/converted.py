"""Our own weight files: safetensors whose header says the architecture, with the provenance as JSON beside them.

In: a Container. Out: NAME.safetensors and NAME.safetensors.json (source's sha256, kind, architecture, licence, sha256
of the file). Everything after `comface convert` reads only these; a file that no longer has the sha256 that its
provenance names is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from comface.errors import ConfigurationError, DataError, TryAgain
from comface.generators.containers import Container, finite, naming, read_container
from comface.generators.containers.machine import Refused
from comface.models import provenance_path

LONGEST_HEADER = 2**20
NOT_STATED = "not stated"
METADATA = "comface"
IN_HEADER = ("family", "kind", "source_sha256", "licence", "arguments")


def is_safetensors(content: bytes) -> bool:
    return len(content) > 8 and content[8:9] == b"{" and 2 <= int.from_bytes(content[:8], "little") <= LONGEST_HEADER


def parse(content: bytes, sha256: str, path: Path | None) -> Container:
    """Raises Refused."""
    if path is not None:
        _check_provenance(path, sha256)
    header, data = _header(content)
    facts = _facts(header.pop("__metadata__", {}))
    arrays = {name: _array(name, entry, data) for name, entry in header.items()}
    if sum(array.nbytes for array in arrays.values()) > len(content):
        raise Refused("its tensors are larger than the file")
    family, names, renamed = naming.canonical(arrays)
    plain = {name: finite(name, array) for name, array in renamed.items()}
    arguments = facts.get("arguments")
    return Container(
        family,
        str(facts.get("kind", f"safetensors, names of {names}"))[:200],
        plain,
        str(facts.get("source_sha256", sha256))[:64],
        arguments if isinstance(arguments, dict) else {},
        str(facts.get("licence", ""))[:2000],
    )


def convert(source: Path, output: Path, licence: str | None = None) -> dict[str, Any]:
    """Writes `output` and its provenance; returns the provenance. Raises ConfigurationError when `output` holds
    something else, DataError when `source` is refused; then nothing is written."""
    from comface.generators.stylegan.build import build

    if output.suffix != ".safetensors":
        raise ConfigurationError(f"The output {output} does not end in .safetensors; name it so.")
    container = read_container(source)
    try:
        network = build(container.family, container.arrays, container.facts)
    except Refused as refused:
        raise DataError(f"The weight file {source} was refused: {refused}; get the published file again.") from None
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    facts = {
        "family": container.family,
        "kind": container.kind,
        "source": source.name,
        "source_sha256": container.sha256,
        "licence": licence or container.licence or NOT_STATED,
        "arguments": container.facts,
        "architecture": network.config.facts(),
        "image_size_px": network.config.image_size_px,
        "parameters": int(sum(array.size for array in arrays.values())),
    }
    content = serialized(arrays, {name: facts[name] for name in IN_HEADER})
    sha256 = hashlib.sha256(content).hexdigest()
    _check_free(output, sha256)
    provenance = {"file": output.name, "sha256": sha256, **facts}
    _write(output, content)
    _write(provenance_path(output), (json.dumps(provenance, indent=1, sort_keys=True) + "\n").encode())
    return provenance


def serialized(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """The same bytes for the same arrays: the library shuffles metadata, so all facts are one entry."""
    from safetensors.numpy import save

    metadata = {METADATA: json.dumps(facts, sort_keys=True)}
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata)


def _header(content: bytes) -> tuple[dict[str, Any], memoryview]:
    size = int.from_bytes(content[:8], "little")
    if size > len(content) - 8:
        raise Refused("it ends too early (truncated, or a size in it is wrong)")
    try:
        header = json.loads(content[8 : 8 + size])
    except (ValueError, RecursionError):
        raise Refused("its header is no JSON") from None
    if not isinstance(header, dict):
        raise Refused("its header is no table")
    return header, memoryview(content)[8 + size :]


def _array(name: str, entry: Any, data: memoryview) -> np.ndarray:
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise Refused(f"its tensor {ascii(name)[:80]} is malformed") from None
    numbers = [*shape, start, end] if isinstance(shape, list) else [None]
    if kind not in ("F32", "F64", "F16") or not all(type(n) is int and 0 <= n < 2**40 for n in numbers):
        raise Refused(f"its tensor {ascii(name)[:80]} is malformed")
    dtype = np.dtype({"F32": "<f4", "F64": "<f8", "F16": "<f2"}[kind])
    count = 1
    for length in shape:
        count *= length
    if not start <= end <= len(data) or count * dtype.itemsize != end - start or len(shape) > 8:
        raise Refused(f"its tensor {ascii(name)[:80]} has another size than its data")
    return np.frombuffer(data[start:end], dtype).reshape(shape)


def _facts(metadata: Any) -> dict[str, Any]:
    text = metadata.get(METADATA, "{}") if isinstance(metadata, dict) else "{}"
    try:
        facts = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        raise Refused("its header's facts are no JSON") from None
    return facts if isinstance(facts, dict) else {}


def _check_provenance(path: Path, sha256: str) -> None:
    beside = provenance_path(path)
    if not beside.is_file():
        return
    try:
        named = json.loads(beside.read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise Refused(f"its provenance {beside.name} cannot be read") from None
    if named != sha256:
        raise Refused(f"it is not the file that its provenance {beside.name} describes (another sha256)")


def _check_free(output: Path, sha256: str) -> None:
    if output.exists() and (not output.is_file() or hashlib.sha256(output.read_bytes()).hexdigest() != sha256):
        raise ConfigurationError(f"{output} holds something else already; name another, or delete it.")


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(path)
    except PermissionError:
        raise ConfigurationError(f"{path.parent} does not allow '{path.name}' to be written; choose another.") from None
    except OSError as error:
        raise TryAgain(f"'{path}' could not be written ({error.strerror}); make room, then run again.") from None
    finally:
        partial.unlink(missing_ok=True)
