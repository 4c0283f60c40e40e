"""Read files of torch.save without torch, in both layouts: a zip with data.pkl, or (before 1.6) five pickles and data.

In: the file's bytes. Out: the pickled value with tensors as records over those bytes. NVIDIA's pickles also use the
older layout, once per tensor.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Mapping
from typing import Any

from comface.weights.inert import or_inert
from comface.weights.pickle_machine import Machine, Names, Permitted, Refused
from comface.weights.tensors import NUMPY, ORDERED, TORCH_STORAGES, TORCH_TENSORS, Storage, storage_of

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The first pickle of the older layout: the number 0x1950a86a20f9469cfc6c."""
LEGACY_PROTOCOL = 1001
NEEDED: Mapping[str, Permitted] = {**ORDERED, **TORCH_TENSORS, **TORCH_STORAGES, **NUMPY}
NAMED = or_inert(NEEDED)
DAMAGED = (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, OSError, EOFError, RuntimeError)
"""Exceptions that zipfile raises for a damaged archive."""


class _Storages:
    """The storage of each key, shared by all references to it."""

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}

    def __call__(self, reference: Any) -> Any:
        if isinstance(reference, tuple) and len(reference) == 4 and reference[0] == "module":
            return reference[1]  # a class with its source code; the older layout stores it for whole modules
        key, storage = storage_of(reference)
        known = self.by_key.setdefault(key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise Refused("it describes the memory of one tensor in two ways")
        return known


def check_zip(archive: zipfile.ZipFile, size_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name. Raises Refused for an archive that could need more memory than its size."""
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in archive.infolist()):
        raise Refused("it is a compressed archive, which torch never writes")
    if sum(entry.file_size for entry in archive.infolist()) > size_bytes:
        raise Refused("its entries claim to be larger than the file")
    return entries


def read_zip(data: memoryview) -> Any:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = check_zip(archive, len(data))
        pickles = [name for name in entries if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(pickles) != 1:
            raise Refused("it is an archive, but not one of torch.save")
        prefix = pickles[0].removesuffix("data.pkl")
        if f"{prefix}byteorder" in entries and archive.read(f"{prefix}byteorder") != b"little":
            raise Refused("its numbers are big-endian")
        storages = _Storages()
        value = Machine(memoryview(archive.read(pickles[0])), NAMED, storages).read()
    except DAMAGED:
        raise Refused("its archive is damaged") from None
    for key, storage in storages.by_key.items():
        entry = entries.get(f"{prefix}data/{key}")
        if entry is None:
            raise Refused("its archive is damaged")
        if entry.file_size != storage.count * storage.dtype.itemsize:
            raise Refused("a tensor in it does not have the size of its data")
        storage.data = functools.partial(_read_entry, archive, entry)
    return value


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(entry)
    except DAMAGED:
        raise Refused("its archive is damaged") from None


def read_legacy(data: memoryview, named: Names = NAMED) -> Any:
    if bytes(data[: len(LEGACY_MAGIC)]) != LEGACY_MAGIC:
        raise Refused("a tensor in it is not in torch's layout")
    storages = _Storages()
    protocol, position = _next(data, len(LEGACY_MAGIC))
    system, position = _next(data, position)
    little = isinstance(system, dict) and system.get("little_endian") is True
    if protocol != LEGACY_PROTOCOL or not little:
        raise Refused("its torch layout is unknown, or big-endian")
    machine = Machine(data, named, storages, position)
    value = machine.read()
    keys, position = _next(data, machine.position)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages.by_key):
        raise Refused("its list of tensors does not match its tensors")
    for key in keys:
        storage = storages.by_key[str(key)]
        count = int.from_bytes(data[position : position + 8], "little")
        end = position + 8 + storage.count * storage.dtype.itemsize
        if count != storage.count or end > len(data):
            raise Refused("a tensor in it does not have the size of its data")
        storage.data = data[position + 8 : end]
        position = end
    return value


def load_from_bytes(arguments: tuple[Any, ...]) -> Storage:
    """torch.storage._load_from_bytes, restricted to one storage in the older layout (torch unpickles anything)."""
    if len(arguments) != 1 or not isinstance(arguments[0], memoryview | bytes):
        raise Refused("a tensor in it is malformed")
    storage = read_legacy(memoryview(arguments[0]), TORCH_STORAGES.get)
    if not isinstance(storage, Storage):
        raise Refused("a tensor in it contains values that are not numbers")
    return storage


def _next(data: memoryview, position: int) -> tuple[Any, int]:
    machine = Machine(data, lambda name: None, None, position)
    return machine.read(), machine.position
