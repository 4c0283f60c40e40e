"""Read safetensors files, checking every size in the header before any tensor is read.

In: the file's bytes. Out: tensors by name, as records over those bytes, and the header's metadata.
"""

from __future__ import annotations

import json
import math
from itertools import accumulate
from typing import Any

import numpy as np

from comface.weights.pickle_machine import Refused
from comface.weights.tensors import MOST_AXES, Storage, TensorRecord

LONGEST_HEADER = 2**20
"""The header of the largest public file has a fiftieth of this."""
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<V2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def is_safetensors(head: bytes | memoryview) -> bool:
    """Whether the first 16 bytes are those of safetensors: a length, then a JSON object."""
    return len(head) > 9 and head[8] == ord("{") and (head[9] in b'" \t\n}')


def read_safetensors(content: memoryview) -> tuple[dict[str, TensorRecord], dict[str, Any]]:
    """(tensors by name, metadata). Raises Refused."""
    size = int.from_bytes(content[:8], "little")
    if size > LONGEST_HEADER:
        raise Refused(f"its safetensors header claims {size:,} bytes, more than the limit of {LONGEST_HEADER:,}")
    if size > len(content) - 8:
        raise Refused("it ends too early (truncated, or a size in it is wrong)")
    try:
        header = json.loads(bytes(content[8 : 8 + size]))
    except (ValueError, RecursionError):
        raise Refused("its header is not JSON") from None
    if not isinstance(header, dict):
        raise Refused("its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    data = content[8 + size :]
    return {name: _record(name, entry, data) for name, entry in header.items()}, metadata


def _record(name: str, entry: Any, data: memoryview) -> TensorRecord:
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise Refused(f"its tensor {ascii(name)[:80]} is malformed") from None
    numbers = [*shape, start, end] if isinstance(shape, list) and len(shape) <= MOST_AXES else [None]
    if not isinstance(kind, str) or not all(type(n) is int and 0 <= n < 2**40 for n in numbers):
        raise Refused(f"its tensor {ascii(name)[:80]} is malformed")
    if kind not in DTYPES:
        raise Refused(f"its tensor {ascii(name)[:80]} has the unsupported type {ascii(kind)[:20]}")
    dtype, count = np.dtype(DTYPES[kind]), math.prod(shape)
    if not start <= end <= len(data) or count * dtype.itemsize != end - start:
        raise Refused(f"its tensor {ascii(name)[:80]} does not have the size of its data")
    stride = tuple(accumulate([1, *reversed(shape[1:])], lambda a, b: a * b))[::-1] if shape else ()
    return TensorRecord(Storage(dtype, count, data[start:end]), 0, tuple(shape), stride)
