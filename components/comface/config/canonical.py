"""Canonical JSON: equal values have equal text, so that a digest of the text identifies the value."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> str:
    """The canonical JSON of `value`: sorted keys, no white space. Raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
