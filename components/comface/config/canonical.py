"""One text for one value, so that its digest is a name for it."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
