"""Where pre-training runs: in this process, under torchrun on this machine, or as a job of the cluster.

In: a `Work` (plan, shards, URI of the backbone). Out: nothing; when `train` returns, the training processes have
published the backbone. There are three launchers: `local.py` (one machine), and `attend.py` with `pytorchjob.py`
(kubeflow.org/v1) or `trainjob.py` (trainer.kubeflow.org/v1alpha1). docs/launcher.md lists how each failure ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from comface.launch.config import Placement

TOLD = "/dev/termination-log"
"""The file of a container's termination message (terminationMessagePath): at most 4 KiB."""


KEEPS_RUNNING = "the job keeps running"
"""Part of an error after which the job still runs: the exit handler keeps such a job (plan/from_parameters.py)."""


@dataclass(frozen=True)
class Work:
    """One pre-training: everything that its processes need, and nothing secret."""

    run: str
    plan: str
    shards: str
    """URI of the shards."""
    result: str
    """URI where the backbone will be published. The processes refuse to compute another one."""
    config: Placement
    done: Callable[[], bool]
    """Whether the backbone is published."""
    item: str = ""
    """Name of the training, if the run has several."""

    def arguments(self, told: str = TOLD) -> list[str]:
        """Arguments of comface.pretrain.worker. `told`: file for the message of the process that fails first."""
        return ["--result", self.result, "--told", told, self.plan, self.shards]


class Launcher(Protocol):
    def train(self, work: Work) -> None:
        """Returns when the processes have succeeded. Otherwise raises a ComfaceError with one message."""
        ...
