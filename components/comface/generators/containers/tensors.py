"""Tensors inside pickles, as records over the file's own bytes: torch's and numpy's, checked against what is there.

In: what the pickles of torch and numpy hand over. Out: numpy arrays; nothing is allocated before a declared size has
been found to fit the bytes that back it.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from comface.generators.containers.machine import Buildable, Permitted, Refused

STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
}
_DTYPE = re.compile("f[248]|[iu][1248]|b1")
MOST_AXES = 8


@dataclass
class Storage:
    """Flat memory; `data` comes after the pickle that refers to it."""

    dtype: np.dtype[Any]
    count: int
    data: memoryview | bytes | None = None

    def values(self) -> np.ndarray:
        if self.data is None or len(self.data) != self.count * self.dtype.itemsize:
            raise Refused("a tensor in it has another size than its data")
        return np.frombuffer(self.data, self.dtype)


@dataclass(frozen=True)
class TensorRecord:
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def array(self) -> np.ndarray:
        """A view of the file."""
        values = self.storage.values()
        if math.prod(self.shape) == 0:
            return np.zeros(self.shape, self.storage.dtype)
        strides = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides, writeable=False)


@dataclass
class ArrayRecord(Buildable):
    """numpy's `_reconstruct`, then a state (version, shape, dtype, Fortran order, bytes)."""

    values: np.ndarray | None = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or self.values is not None:
            raise Refused("an array in it is malformed")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, DtypeRecord) or not isinstance(data, memoryview | bytes):
            raise Refused("an array in it is malformed, or holds objects")
        if math.prod(_sizes(shape)) * dtype.numpy.itemsize != len(data):
            raise Refused("an array in it has another size than its data")
        self.values = np.frombuffer(data, dtype.numpy).reshape(shape, order="F" if fortran else "C")

    @property
    def size_bytes(self) -> int:
        return 0 if self.values is None else self.values.nbytes

    def array(self) -> np.ndarray:
        if self.values is None:
            raise Refused("an array in it has no data")
        return self.values


@dataclass
class DtypeRecord(Buildable):
    """numpy.dtype('f4', …), then a state whose second entry is the byte order."""

    code: str
    order: str = "|"

    def build(self, state: Any) -> None:
        plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
        if not plain or state[1] not in ("<", ">", "|", "="):
            raise Refused("an array in it holds objects or records")
        self.order = state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order.replace("|", "<") + self.code)


class OrderedRecord(OrderedDict[Any, Any], Buildable):
    """collections.OrderedDict; the state (`_metadata` of a state dict) is not needed."""

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise Refused("a dictionary in it is malformed")


def rebuild_tensor(arguments: tuple[Any, ...]) -> TensorRecord:
    """torch._utils._rebuild_tensor_v2: a dense view of a storage, within its bounds."""
    if len(arguments) not in (6, 7) or not isinstance(storage := arguments[0], Storage):
        raise Refused("a tensor in it is malformed")
    offset, shape, stride = arguments[1], _sizes(arguments[2]), _sizes(arguments[3])
    if type(offset) is not int or offset < 0 or len(shape) != len(stride):
        raise Refused("a tensor in it is malformed")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if count and (count > storage.count or last >= storage.count or not _is_dense(shape, stride)):
        raise Refused("a tensor in it is larger than its data")
    return TensorRecord(storage, offset, shape, stride)


def rebuild_parameter(arguments: tuple[Any, ...]) -> TensorRecord:
    if not arguments or not isinstance(arguments[0], TensorRecord):
        raise Refused("a parameter in it is malformed")
    return arguments[0]


def storage_of(reference: Any) -> tuple[str, Storage]:
    """Key and empty storage of torch's persistent id ('storage', type, key, device, count, …)."""
    if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
        raise Refused("it refers to something that is no tensor")
    kind, key, count = getattr(reference[1], "name", None), reference[2], reference[4]
    if kind not in STORAGES or not isinstance(key, str) or type(count) is not int or count < 0:
        raise Refused("a tensor's memory in it is malformed")
    return key, Storage(np.dtype(STORAGES[kind]), count)


def _is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements fill a stretch of memory once each, in some order of axes."""
    expected = 1
    for step, size in sorted((step, size) for step, size in zip(stride, shape, strict=True) if size != 1):
        if step != expected:
            return False
        expected *= size
    return True


def _sizes(value: Any) -> tuple[int, ...]:
    plain = isinstance(value, tuple) and len(value) <= MOST_AXES
    if not plain or not all(type(size) is int and 0 <= size < 2**40 for size in value):
        raise Refused("a tensor in it has an impossible shape")
    return value


def _dtype(arguments: tuple[Any, ...]) -> DtypeRecord:
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise Refused(f"an array in it has the type {ascii(code)[:40]}, not numbers")
    return DtypeRecord(code)


def _scalar(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 2 or not isinstance(arguments[0], DtypeRecord) or not isinstance(arguments[1], memoryview):
        raise Refused("a number in it is malformed")
    if len(arguments[1]) != arguments[0].numpy.itemsize:
        raise Refused("a number in it is malformed")
    return np.frombuffer(arguments[1], arguments[0].numpy)[0].item()


def _ordered(arguments: tuple[Any, ...]) -> OrderedRecord:
    if arguments:
        raise Refused("a dictionary in it is malformed")
    return OrderedRecord()


ORDERED = {"collections.OrderedDict": Permitted(call=_ordered)}
TORCH_TENSORS = {
    "torch._utils._rebuild_tensor_v2": Permitted(call=rebuild_tensor),
    "torch._utils._rebuild_parameter": Permitted(call=rebuild_parameter),
}
TORCH_STORAGES = {name: Permitted() for name in STORAGES}
NUMPY = {
    "numpy.dtype": Permitted(call=_dtype),
    "numpy.ndarray": Permitted(),
    **{
        f"numpy.{core}.multiarray.{name}": handler
        for core in ("core", "_core")
        for name, handler in (
            ("_reconstruct", Permitted(call=lambda arguments: ArrayRecord())),
            ("scalar", Permitted(call=_scalar)),
        )
    },
}
