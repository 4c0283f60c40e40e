"""Records the known outputs anew: python tests/golden/record.py (after a step's REVISION was raised)."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from small_run import FETCHED, small_run

KNOWN = Path(__file__).with_name("known.json")

if __name__ == "__main__":
    if not FETCHED:
        raise SystemExit("The known outputs need the fetched weights: run `comface fetch` first.")
    with tempfile.TemporaryDirectory() as scratch:
        made = small_run(Path(scratch))
    lines = [f"{json.dumps(name)}: {json.dumps(dataclasses.asdict(each))}" for name, each in made.items()]
    KNOWN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
