"""Tables of tensors by name: which bytes of a weight file may be read, and which table in it is the one that is meant.

In: a file that a person names. Out: its bytes, bounded; the tensors of a backbone, or of the generator whose weights
were averaged, wherever in a training's file they stand. Every command that reads weights reads them here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from comface.errors import ConfigurationError, DataError
from comface.files import open_regular, read_bounded
from comface.weights import safetensors_files, torch_files
from comface.weights import stylegan_names as naming
from comface.weights.pickle_machine import Refused
from comface.weights.tensors import ArrayRecord, TensorRecord, bounded

if TYPE_CHECKING:
    import torch

MOST_BYTES = 4 * 2**30
"""A training's whole state of StyleGAN2 at 1024 px, discriminator and optimisers included, has a quarter."""
WHAT = "The weight file"
NEITHER = "it is neither a pickle (of protocol 2 or later), nor a torch file, nor safetensors"
AVERAGED = ("generator_smooth", "g_ema", "generator_ema", "netg_ema", "params_ema", "ema_model", "ema", "g_running")
"""Entries of a torch file that hold the generator whose weights were averaged, best first."""
WRAPPERS = ("state_dict", "model", "model_state_dict")
DEEPEST, MOST_GENERATORS, MOST_TABLES = 4, 16, 4_096
Record = TensorRecord | ArrayRecord
Table = dict[str, Record]


def content_of(path: Path, mark: int = 16) -> bytes:
    """The bytes of a weight file; of one that is none by its first bytes, only those are read.

    Raises ConfigurationError where there is no regular file, DataError where it is too large."""
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
    """What a file of torch.save holds; tensors are records."""
    if bytes(content[:4]) == torch_files.ZIP_MAGIC:
        return torch_files.read_zip(content)
    return torch_files.read_legacy(content)


def read_table(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a backbone's file by name: safetensors or torch, told by content. `state_dict` around them and
    `module.` before their names are taken off. Raises ConfigurationError or DataError."""
    try:
        return table_in(content_of(path))
    except Refused as refused:
        raise DataError(f"{WHAT} '{path}' was refused: {refused}; get the published file again.") from None


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The same as tensors of torch."""
    import torch

    return {name: torch.from_numpy(array) for name, array in read_table(path).items()}


def tensors_in(content: bytes, where: str) -> dict[str, np.ndarray]:
    """As `read_table`, of an object of the store. Raises DataError, naming it."""
    try:
        return table_in(content)
    except Refused as refused:
        raise DataError(f"{where} was refused: {refused}; make it again.") from None


def table_in(content: bytes, entry: str = "") -> dict[str, np.ndarray]:
    """As `read_table`, of bytes; `entry` picks one of a file with several. Raises Refused."""
    view = memoryview(content)
    if safetensors_files.is_safetensors(content[:16]):
        value: Any = safetensors_files.read_safetensors(view)[0]
    elif is_torch(view):
        value = torch_value(view)
    else:
        raise Refused("it is neither a torch file nor safetensors")
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
    """A copy, in the order of C. Raises Refused for NaN, infinity, and what is no real number."""
    if array.dtype.kind not in "fiub":
        raise Refused(f"its tensor {ascii(name)[:80]} holds numbers of the type {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        copied = np.array(array, dtype, order="C")
    if not np.isfinite(copied).all():
        raise Refused(f"its tensor {ascii(name)[:80]} holds NaN or infinity")
    return copied


def generator_table(value: Any) -> tuple[str, Table]:
    """Where the averaged generator stands in what a file holds ("" where it is the file itself), and its tensors.

    It is known by a tensor that every layout has one of (naming.MARKS), at any depth and behind any prefix
    (`module.`, `g_ema.`). Raises Refused."""
    found: list[tuple[int, str, Table]] = []
    for path, parents, table in _tables(value):
        prefixes = naming.prefixes(name for name in table if isinstance(name, str))
        if len(prefixes) + len(found) > MOST_GENERATORS:
            raise Refused(f"it holds more than {MOST_GENERATORS} generators")
        for prefix in prefixes:
            entry = ".".join((*path, prefix.rstrip("."))).strip(".")
            chosen = {k: v for k, v in table.items() if not prefix or (isinstance(k, str) and k.startswith(prefix))}
            state = {name.removeprefix(prefix): record for name, record in _tensors(chosen).items()}
            mean = next((p["latent_avg"] for p in parents if isinstance(p.get("latent_avg"), Record)), None)
            if mean is not None and "input.input" in state:
                state.setdefault("latent_avg", mean)
            found.append((_rank(entry), entry, state))
    if not found:  # which naming.canonical then says, with the first names of the first table
        return "", _tensors(next((table for _, _, table in _tables(value)), value))
    best = min(rank for rank, _, _ in found)
    chosen_ones = [(entry, state) for rank, entry, state in found if rank == best]
    if len(chosen_ones) > 1:
        entries = ", ".join(ascii(entry)[:40] for entry, _ in chosen_ones[:4])
        raise Refused(f"it holds several generators ({entries}), and none is named as the averaged one (g_ema)")
    return chosen_ones[0]


def _tables(value: Any) -> Iterator[tuple[tuple[str, ...], list[dict[Any, Any]], dict[Any, Any]]]:
    """Every dictionary with tensors in it: its path, the dictionaries around it, itself."""
    waiting: list[tuple[tuple[str, ...], list[dict[Any, Any]], Any]] = [((), [], value)]
    for _ in range(MOST_TABLES):  # a file may hold one dictionary in a great many places
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
    raise Refused(f"it holds more than {MOST_TABLES:,} dictionaries within one another")


def _rank(entry: str) -> int:
    words = entry.lower().split(".")
    return next((place for place, name in enumerate(AVERAGED) if name in words), len(AVERAGED))


def _tensors(table: Any) -> Table:
    """Raises Refused where it holds anything else than tensors by name."""
    if not isinstance(table, dict) or not table:
        raise Refused("it holds no tensors by name")
    for name, record in table.items():
        if not isinstance(name, str) or not isinstance(record, Record):
            raise Refused(f"its entry {ascii(name)[:80]} is no tensor")
    return dict(table)
