"""KFP's local runner in its own process group: `python -m comface.run.kfp_runner`, started by `comface run`.

In: on standard input one line of JSON (the pipeline's text, its arguments, a folder). Out: on standard output the
output of the runner and its steps; exit code 0, FAILED if a step failed, 1 after a defect. The steps and their child
processes belong to the group, so one signal reaches all of them. Standard input stays open while `comface run` is
alive: when it ends, for whatever reason, this process ends the group.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

FAILED = 3
GRACE_S = 5.0
"""How long a step may take to write its checkpoint after SIGTERM."""


def end_group(group: int) -> None:
    """Sends SIGTERM to the processes of `group`, and SIGKILL when they have ended or after GRACE_S."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: not permitted if all are zombies
        asked = _members(group)
        try:
            os.killpg(group, signal.SIGTERM)
            until = time.monotonic() + GRACE_S
            while asked & _members(group) and time.monotonic() < until:
                time.sleep(0.05)
        finally:  # a second signal ends the wait
            os.killpg(group, signal.SIGKILL)


def _members(group: int) -> set[int]:
    """The running processes of `group` except its leader (from Linux' /proc)."""
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

    workspace = Path(folder, "workspace")  # otherwise the runner creates one in /tmp and does not delete it
    workspace.mkdir(parents=True)
    runner = local.SubprocessRunner(use_venv=False)
    # The names of tiles and other settings are for KFP's UI; the runner warns about each of them.
    warnings.filterwarnings("ignore", "Task .* have no effect in the current local runner")
    local.init(runner=runner, pipeline_root=folder, workspace_root=str(workspace))
    try:
        components.load_component_from_text(pipeline)(**arguments)
    except RuntimeError as error:
        if "finished with status" not in str(error):
            raise
        return FAILED
    return 0


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: None)  # the steps stop; this process reads their last output
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return _run(**request)


if __name__ == "__main__":
    sys.exit(main())
