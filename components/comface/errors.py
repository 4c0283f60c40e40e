"""The errors a user can meet, in one tree, each with the exit code of its branch.

A message is one sentence: what happened, to which object, what to do. Anything that is not in this tree is a
defect of ours and ends with a traceback.

    ComfaceError
    ├── ConfigurationError  64  wrong configuration: mend it, then run again
    ├── DataError           65  data that cannot be trusted: image, label, shard, checkpoint, weight file
    ├── GateRefused         66  the challenger did not pass the gate (a recorded result, not a failure)
    ├── TryAgain            75  store unreachable, disk full, download refused: nothing is lost, run again
    └── Preempted          143  SIGTERM: work is checkpointed, run again
"""

from __future__ import annotations


class ComfaceError(Exception):
    exit_code = 1


class ConfigurationError(ComfaceError):
    exit_code = 64


class DataError(ComfaceError):
    exit_code = 65


class GateRefused(ComfaceError):
    exit_code = 66


class TryAgain(ComfaceError):
    exit_code = 75


class Preempted(ComfaceError):
    exit_code = 143
