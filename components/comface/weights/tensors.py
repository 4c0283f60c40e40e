"""Tensors of torch and numpy in pickles, as records over the file's bytes, with checked sizes.

In: the arguments that torch's and numpy's pickles pass. Out: numpy arrays. Memory is allocated only after a declared
size matches the bytes of the file.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from comface.weights.pickle_machine import Buildable, Global, Inert, Permitted, Refused, plain_set

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
    "torch.BFloat16Storage": "<V2",
    "torch.ComplexFloatStorage": "<c8",
    "torch.ComplexDoubleStorage": "<c16",
    "torch.QUInt8Storage": "|u1",
    "torch.QInt8Storage": "|i1",
    "torch.QInt32Storage": "<i4",
    "torch.storage.UntypedStorage": "|u1",
}
STORAGES |= {name.replace("torch.", "torch.cuda.", 1): dtype for name, dtype in STORAGES.items()}
"""Element types by storage class, including the CUDA classes of older files. numpy has no bfloat16: it is two opaque
bytes."""
_DTYPE = re.compile("f[248]|[iu][1248]|b1|c8|c16|f16|[USMm][0-9]{1,4}")
MOST_AXES = 8


@dataclass
class Storage:
    """Flat memory; `data` is set after the pickle that refers to it was read."""

    dtype: np.dtype[Any]
    count: int
    data: memoryview | bytes | Callable[[], bytes] | None = None
    """The bytes, or a function that reads them, so that unneeded tensors are not read."""
    read: np.ndarray | None = None
    """The values, read once for all tensors that are views of them."""

    def values(self) -> np.ndarray:
        if self.read is None:
            data = self.data() if callable(self.data) else self.data
            if data is None or len(data) != self.count * self.dtype.itemsize:
                raise Refused("a tensor in it does not have the size of its data")
            values = np.frombuffer(data, self.dtype)
            self.read = widened(values) if self.dtype.kind == "V" else values
        return self.read


def widened(bfloat16: np.ndarray) -> np.ndarray:
    """bfloat16 (two opaque bytes each) as float32, exactly: a bfloat16 is the upper half of a float32."""
    return (bfloat16.view("<u2").astype("<u4") << 16).view("<f4")


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
            return np.zeros(self.shape, values.dtype)
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
        data = _encoded((data,)) if isinstance(data, str) else data  # a short str of Python 2
        if not isinstance(dtype, DtypeRecord) or not isinstance(data, memoryview | bytes):
            raise Refused("an array in it is malformed or contains objects")
        if math.prod(_sizes(shape)) * dtype.numpy.itemsize != len(data):
            raise Refused("an array in it does not have the size of its data")
        self.values = np.frombuffer(data, dtype.numpy).reshape(shape, order="F" if fortran else "C")

    @property
    def size_bytes(self) -> int:
        return 0 if self.values is None else self.values.nbytes

    def array(self) -> np.ndarray:
        if self.values is None:
            raise Refused("an array in it has no data")
        if self.values.dtype.kind not in "fiub":
            raise Refused(f"an array in it has the type {self.values.dtype}, not numbers")
        return self.values


@dataclass
class DtypeRecord(Buildable):
    """numpy.dtype('f4', …), then a state whose second entry is the byte order."""

    code: str
    order: str = "|"

    def build(self, state: Any) -> None:
        if self.code[0] in "Mm":  # dates also have a unit, which is not needed
            return
        plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
        if not plain or state[1] not in ("<", ">", "|", "="):
            raise Refused("an array in it contains objects or records")
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
    """torch._utils._rebuild_tensor and _v2: a dense view of a storage, within its bounds."""
    if len(arguments) not in (4, 6, 7) or not isinstance(storage := arguments[0], Storage):
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
        raise Refused("it refers to an object that is not a tensor")
    kind, key, count = reference[1], reference[2], reference[4]
    kind = kind.name if isinstance(kind, Global) else None
    if kind not in STORAGES or not isinstance(key, str) or type(count) is not int or count < 0:
        raise Refused("the memory of a tensor in it is malformed")
    return key, Storage(np.dtype(STORAGES[kind]), count)


def bounded(records: Iterable[TensorRecord | ArrayRecord], limit_bytes: int) -> None:
    """Raises Refused if the tensors together are larger than the file, that is, if several share the same bytes."""
    if sum(record.size_bytes for record in records) > limit_bytes:
        raise Refused("its tensors are larger than the file")


def _is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements fill contiguous memory exactly once, in some order of the axes."""
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
    sizes: tuple[int, ...] = value
    return sizes


def _dtype(arguments: tuple[Any, ...]) -> DtypeRecord:
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise Refused(f"an array in it has the type {ascii(code)[:40]}, not numbers")
    return DtypeRecord(code)


def _scalar(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 2 or not isinstance(arguments[0], DtypeRecord):
        raise Refused("a number in it is malformed")
    dtype, data = arguments[0].numpy, arguments[1]
    data = _encoded((data,)) if isinstance(data, str) else data  # a str of Python 2
    if not isinstance(data, memoryview | bytes) or len(data) != dtype.itemsize:
        raise Refused("a number in it is malformed")
    return np.frombuffer(data, dtype)[0].item() if dtype.kind in "fiub" else Inert("numpy.generic")


def _from_buffer(arguments: tuple[Any, ...]) -> ArrayRecord:
    """numpy's `_frombuffer` (protocol 5): bytes, type, shape, order."""
    if len(arguments) != 4 or arguments[3] not in ("C", "F"):
        raise Refused("an array in it is malformed")
    record = ArrayRecord()
    record.build((1, arguments[2], arguments[1], arguments[3] == "F", arguments[0]))
    return record


def _ordered(arguments: tuple[Any, ...]) -> OrderedRecord:
    """An empty dictionary, or (Python 2) one from a list of pairs."""
    record, pairs = OrderedRecord(), arguments[0] if len(arguments) == 1 else []
    if len(arguments) > 1 or not isinstance(pairs, list):
        raise Refused("a dictionary in it is malformed")
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise Refused("a dictionary in it is malformed")
        record[pair[0]] = pair[1]
    return record


def _set(arguments: tuple[Any, ...]) -> set[Any]:
    return plain_set(arguments[0] if arguments else ())


def _encoded(arguments: tuple[Any, ...]) -> bytes:
    """Bytes as protocols before 3 write them: Latin-1 text."""
    if not 1 <= len(arguments) <= 2 or not isinstance(arguments[0], str) or arguments[1:] not in ((), ("latin1",)):
        raise Refused("bytes in it are malformed")
    try:
        return arguments[0].encode("latin-1")
    except UnicodeEncodeError:
        raise Refused("bytes in it are malformed") from None


ORDERED = {
    "collections.OrderedDict": Permitted(call=_ordered, once=True),
    "collections.defaultdict": Permitted(call=lambda arguments: OrderedRecord()),
    "builtins.set": Permitted(call=_set, once=True),
    "builtins.frozenset": Permitted(call=_set, once=True),
    "_codecs.encode": Permitted(call=_encoded, once=True),
}
"""Containers, as protocols 2 to 5 write them."""
TORCH_TENSORS = {
    "torch._utils._rebuild_tensor": Permitted(call=rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": Permitted(call=rebuild_tensor),
    "torch._utils._rebuild_parameter": Permitted(call=rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": Permitted(call=rebuild_parameter),
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
    **{f"numpy.{core}.numeric._frombuffer": Permitted(call=_from_buffer) for core in ("core", "_core")},
}
