"""JSON that carries a digest of itself, so that any changed bit is found by whoever reads it next.

In: a mapping. Out: its text, with the sha256 of the text without it under `seal`; and back. The text is the only one
that the mapping has: a reader writes what it understood again and compares all bytes, blanks and spelling included.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from comface.store import READINGS, Store

SEAL = "seal"
RECORD_BYTES = 1 << 20
"""The largest record (a version, a promotion, a failure) that is read."""


def sealed(value: Mapping[str, Any]) -> bytes:
    """Numbers that are not finite become null: JSON has no NaN."""
    return json_bytes({**value, SEAL: hashlib.sha256(json_bytes(value)).hexdigest()})


def unsealed(data: bytes) -> dict[str, Any]:
    """The mapping, without its seal. Raises ValueError for anything that `sealed` did not give."""
    try:
        value = json.loads(data)
        if isinstance(value, dict) and SEAL in value:
            content = {name: each for name, each in value.items() if name != SEAL}
            if sealed(content) == data:
                return content
    except RecursionError:
        pass
    raise ValueError("the seal does not hold")


def read_sealed(store: Store, key: str, limit_bytes: int = RECORD_BYTES) -> dict[str, Any]:
    """What lies sealed at `key`. Raises ValueError where the seal does not hold, however often it is read."""
    for _ in range(READINGS - 1):
        with contextlib.suppress(ValueError):
            return unsealed(store.read(key, limit_bytes))
    return unsealed(store.read(key, limit_bytes))


def json_bytes(value: Any) -> bytes:
    return (json.dumps(_finite(value), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
