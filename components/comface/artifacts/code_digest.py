"""Digest of this package's code, recorded as provenance in each manifest. It is not part of an artifact's address.

Out: the sha256 over the relative path and content of every source and data file of the package.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[1]


@functools.cache
def code_digest() -> str:
    return digest_of(ROOT)


def digest_of(root: Path) -> str:
    """`code_digest` for the package at `root` (another checkout, a copy made by a test)."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.parent.name != "__pycache__":
            digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()
