"""Tables of tensors by name: read a weight file within limits, and select the right table in it.

In: a file that a user names. Out: its bytes, bounded; the tensors of a backbone, or of the generator with averaged
weights, at any place in a training's file. Every command that reads weights uses this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from comface.errors import ConfigurationError, DataError
from comface.files import open_regular, read_bounded
from comface.weights import pickles, safetensors_files, torch_files
from comface.weights import stylegan_names as naming
from comface.weights.pickle_machine import Refused
from comface.weights.tensors import ArrayRecord, TensorRecord, bounded

if TYPE_CHECKING:
    import torch

MOST_BYTES = 4 * 2**30
"""The complete training state of StyleGAN2 at 1024 px, with discriminator and optimisers, has a quarter of this."""
WHAT = "The weight file"
NEITHER = "it is neither a pickle (protocol 2 or later), nor a torch file, nor safetensors"
AVERAGED = ("generator_smooth", "g_ema", "generator_ema", "netg_ema", "params_ema", "ema_model", "ema", "g_running")
"""Entries of a torch file that contain the generator with averaged weights, best first."""
WRAPPERS = ("state_dict", "model", "model_state_dict")
DEEPEST, MOST_GENERATORS, MOST_TABLES = 4, 16, 4_096
Record = TensorRecord | ArrayRecord
Table = dict[str, Record]


def content_of(path: Path, mark: int = 16) -> bytes:
    """The bytes of a weight file. Only the first `mark` bytes are read if they show another file type.

    Raises ConfigurationError if there is no regular file, DataError if it is too large, Refused for another type."""
    with open_regular(path, WHAT, ConfigurationError) as file:
        head = file.read(mark)
    if not is_known(head):
        raise Refused(NEITHER)
    return read_bounded(path, MOST_BYTES, WHAT)


def is_known(head: bytes) -> bool:
    return head[:1] == b"\x80" or head.startswith(torch_files.ZIP_MAGIC) or safetensors_files.is_safetensors(head)


def is_torch(head: bytes | memoryview) -> bool:
    return bytes(head[: len(torch_files.LEGACY_MAGIC)]).startswith((torch_files.ZIP_MAGIC, torch_files.LEGACY_MAGIC))


def torch_value(content: memoryview) -> Any:
    """The value in a file of torch.save; tensors are records."""
    if bytes(content[:4]) == torch_files.ZIP_MAGIC:
        return torch_files.read_zip(content)
    return torch_files.read_legacy(content)


def read_table(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a backbone's file by name. The type (safetensors or torch) is detected from the content. Wrappers
    such as `state_dict` and the prefix `module.` are removed. Raises ConfigurationError or DataError."""
    try:
        return table_in(content_of(path))
    except Refused as refused:
        raise DataError(f"{WHAT} '{path}' was refused: {refused}; get the published file again.") from None


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The same as tensors of torch."""
    import torch

    return {name: torch.from_numpy(array) for name, array in read_table(path).items()}


def read_records(path: Path) -> Records:
    """All tensors of a checkpoint of any known type, at any depth, by dotted name (`state_dict.module.conv1.weight`).
    Nothing is copied; `Records.arrays` reads the selected tensors. Raises ConfigurationError or DataError."""
    try:
        content = content_of(path)
        return Records(_flat(_value(memoryview(content))), len(content))
    except Refused as refused:
        raise DataError(f"{WHAT} '{path}' was refused: {refused}; get the published file again.") from None


@dataclass(frozen=True)
class Records:
    """Tensors of a file by dotted name, not yet read."""

    by_name: Table
    size_bytes: int

    def arrays(self, names: Mapping[str, str]) -> dict[str, np.ndarray]:
        """The tensors `names` (name in the result -> name in the file). Raises Refused."""
        chosen = {new: self.by_name[name] for new, name in names.items()}
        bounded(chosen.values(), self.size_bytes)
        return {new: numbers(names[new], record.array()) for new, record in chosen.items()}


def _flat(value: Any) -> Table:
    """Tensors by dotted name. Raises Refused if two have the same."""
    found: Table = {}
    for path, _, table in _tables(value):
        for key, record in table.items():
            name = ".".join((*path, key)) if isinstance(key, str) else ""
            if name and isinstance(record, Record):
                if name in found:
                    raise Refused(f"it has the tensor {ascii(name)[:80]} twice")
                found[name] = record
    return found


def _value(view: memoryview) -> Any:
    """The value of a safetensors file, a torch file or a plain pickle; tensors are records. Raises Refused."""
    if safetensors_files.is_safetensors(view[:16]):
        return safetensors_files.read_safetensors(view)[0]
    if is_torch(view):
        return torch_value(view)
    if bytes(view[:1]) != b"\x80":
        raise Refused(NEITHER)
    return pickles.read_plain(view)


def tensors_in(content: bytes, where: str) -> dict[str, np.ndarray]:
    """As `read_table`, for the bytes of a store's object. Raises DataError that begins with `where`."""
    try:
        return table_in(content)
    except Refused as refused:
        raise DataError(f"{where} was refused: {refused}; rerun the step that makes it.") from None


def table_in(content: bytes, entry: str = "") -> dict[str, np.ndarray]:
    """As `read_table`, for bytes; `entry` selects an entry of the file. Raises Refused."""
    value = _value(memoryview(content))
    if entry:
        value = value.get(entry) if isinstance(value, Mapping) else None
    while isinstance(value, Mapping) and (inner := next((value[w] for w in WRAPPERS if w in value), None)) is not None:
        value = inner
    table = _tensors(value)
    if all(name.startswith("module.") for name in table):
        table = {name.removeprefix("module."): record for name, record in table.items()}
    bounded(table.values(), len(content))
    return {name: numbers(name, record.array()) for name, record in table.items()}


def numbers(name: str, array: np.ndarray, dtype: type[np.generic] | None = None) -> np.ndarray:
    """A C-contiguous copy, as `dtype` if given. Raises Refused for NaN, infinity, and types other than real numbers."""
    if array.dtype.kind not in "fiub":
        raise Refused(f"its tensor {ascii(name)[:80]} has the type {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        copied = np.array(array, dtype, order="C")
    if not np.isfinite(copied).all():
        raise Refused(f"its tensor {ascii(name)[:80]} contains NaN or infinity")
    return copied


def generator_table(value: Any) -> tuple[str, Table]:
    """(path of the averaged generator in the file's value, "" for the value itself; its tensors).

    A generator is recognized by the tensor name that identifies its naming scheme (stylegan_names.py), at any depth and
    with any prefix (`module.`, `g_ema.`). Raises Refused."""
    found: list[tuple[int, str, Table]] = []
    for path, parents, table in _tables(value):
        prefixes = naming.prefixes(name for name in table if isinstance(name, str))
        if len(prefixes) + len(found) > MOST_GENERATORS:
            raise Refused(f"it contains more than {MOST_GENERATORS} generators")
        for prefix in prefixes:
            entry = ".".join((*path, prefix.rstrip("."))).strip(".")
            chosen = {k: v for k, v in table.items() if not prefix or (isinstance(k, str) and k.startswith(prefix))}
            state = {name.removeprefix(prefix): record for name, record in _tensors(chosen).items()}
            mean = next((p["latent_avg"] for p in parents if isinstance(p.get("latent_avg"), Record)), None)
            if mean is not None and "input.input" in state:
                state.setdefault("latent_avg", mean)
            found.append((_rank(entry), entry, state))
    if not found:  # naming.canonical reports it, with the first names of the first table
        return "", _tensors(next((table for _, _, table in _tables(value)), value))
    best = min(rank for rank, _, _ in found)
    chosen_ones = [(entry, state) for rank, entry, state in found if rank == best]
    if len(chosen_ones) > 1:
        entries = ", ".join(ascii(entry)[:40] for entry, _ in chosen_ones[:4])
        raise Refused(f"it contains several generators ({entries}), and none is named as the averaged one (g_ema)")
    return chosen_ones[0]


def _tables(value: Any) -> Iterator[tuple[tuple[str, ...], list[dict[Any, Any]], dict[Any, Any]]]:
    """Every dictionary that contains tensors: (path, enclosing dictionaries, the dictionary)."""
    waiting: list[tuple[tuple[str, ...], list[dict[Any, Any]], Any]] = [((), [], value)]
    for _ in range(MOST_TABLES):  # a file may contain the same dictionary in very many places
        if not waiting:
            return
        path, parents, table = waiting.pop(0)
        if not isinstance(table, dict):
            continue
        if any(isinstance(item, Record) for item in table.values()):
            yield path, parents, table
        if len(path) < DEEPEST:
            inner = [(key, item) for key, item in table.items() if isinstance(key, str) and isinstance(item, dict)]
            waiting += [((*path, key), [table, *parents], item) for key, item in inner[:64]]
    raise Refused(f"it contains more than {MOST_TABLES:,} nested dictionaries")


def _rank(entry: str) -> int:
    words = entry.lower().split(".")
    return next((place for place, name in enumerate(AVERAGED) if name in words), len(AVERAGED))


def _tensors(table: Any) -> Table:
    """`table` as tensors by name. Raises Refused if it has any other content."""
    if not isinstance(table, dict) or not table:
        raise Refused("it contains no tensors by name")
    for name, record in table.items():
        if not isinstance(name, str) or not isinstance(record, Record):
            raise Refused(f"its entry {ascii(name)[:80]} is not a tensor")
    return dict(table)
