"""Which code made an artifact: one digest over this package. It is provenance, and no part of an address.

Out: the sha256 over every source and data file of the package, by its path within it.
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
    """`code_digest` of a package that lies at `root` (another checkout, a test's copy)."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.parent.name != "__pycache__":
            digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()
