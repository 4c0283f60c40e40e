"""The memory that this process may use: of the machine, or of its container."""

from __future__ import annotations

import os
from pathlib import Path


def memory_limit_bytes(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Memory of this machine, or the limit of this process's container."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        text = limit.read_text().strip()
    except OSError:
        return whole
    return min(whole, int(text)) if text.isdigit() else whole
