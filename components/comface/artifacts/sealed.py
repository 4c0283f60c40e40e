"""JSON with a seal: a digest of its own content, so that a reader detects any changed bit.

In: a mapping. Out: its canonical text, in which `seal` is the sha256 of the text without the seal; and the reverse. A
reader serializes the parsed mapping again and compares every byte, including white space.
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
"""Size limit of a record (a model version, a promotion, a failure)."""


def sealed(value: Mapping[str, Any]) -> bytes:
    """The text of `value` with its seal. Non-finite numbers become null because JSON has no NaN."""
    return json_bytes({**value, SEAL: hashlib.sha256(json_bytes(value)).hexdigest()})


def unsealed(data: bytes) -> dict[str, Any]:
    """The mapping without its seal. Raises ValueError for bytes that `sealed` did not produce."""
    try:
        value = json.loads(data)
        if isinstance(value, dict) and SEAL in value:
            content = {name: each for name, each in value.items() if name != SEAL}
            if sealed(content) == data:
                return content
    except RecursionError:
        pass
    raise ValueError("the seal is not valid")


def read_sealed(store: Store, key: str, limit_bytes: int = RECORD_BYTES) -> dict[str, Any]:
    """The sealed mapping at `key`. Raises ValueError if the seal is still invalid after READINGS reads."""
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
