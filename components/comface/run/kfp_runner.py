"""KFP's local runner in a process group of its own: `python -m comface.run.kfp_runner`, which `comface run` starts.

In: on standard input one line of JSON (the pipeline's text, its arguments, a folder). Out: on standard output what the
runner and its steps say; exit code 0, FAILED when a step failed, 1 after a defect. The steps, and whatever they start,
belong to the group, so that one signal reaches them all. Standard input stays open as long as `comface run` lives:
when that has ended, however it ended, this process ends the group.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

FAILED = 3
GRACE_S = 5.0
"""How long a step that was asked to stop has for its checkpoint."""


def end_group(group: int) -> None:
    """Ask the processes of `group` to stop; kill what is left of it when they have, or after GRACE_S."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: not permitted where all are zombies
        asked = _members(group)
        try:
            os.killpg(group, signal.SIGTERM)
            until = time.monotonic() + GRACE_S
            while asked & _members(group) and time.monotonic() < until:
                time.sleep(0.05)
        finally:  # a second signal ends the wait
            os.killpg(group, signal.SIGKILL)


def _members(group: int) -> set[int]:
    """The living processes of `group` but its leader (as Linux tells in /proc)."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, owner = entry.read_text("utf-8").rpartition(")")[2].split()[:3]
            if int(owner) == group and state != "Z":
                found.add(int(entry.parent.name))
    return found - {group}


def _end_with_parent() -> None:
    while sys.stdin.read(1):
        pass
    end_group(os.getpgrp())


def _run(pipeline: str, arguments: dict[str, Any], folder: str) -> int:
    from kfp import components, local

    workspace = Path(folder, "workspace")  # without one the runner makes one in /tmp, and leaves it there
    workspace.mkdir(parents=True)
    runner = local.SubprocessRunner(use_venv=False)
    local.init(runner=runner, pipeline_root=folder, workspace_root=str(workspace))
    try:
        components.load_component_from_text(pipeline)(**arguments)
    except RuntimeError as error:
        if "finished with status" not in str(error):
            raise
        return FAILED
    return 0


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: None)  # the steps stop; this process reads their last words
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return _run(**request)


if __name__ == "__main__":
    sys.exit(main())
