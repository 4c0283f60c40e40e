"""Where pre-training runs: in this process, under torchrun on this machine, or as a job of the cluster.

In: a `Work` (plan, shards, where the backbone will lie). Out: nothing; when `train` returns, the training processes
have published the backbone. The three launchers: `local.py` (one machine), `attend.py` with `pytorchjob.py`
(kubeflow.org/v1) or `trainjob.py` (trainer.kubeflow.org/v1alpha1). What a job does in which case: docs/launcher.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from comface.launch.config import Placement

TOLD = "/dev/termination-log"
"""Where Kubernetes looks for a container's last words (terminationMessagePath), 4 KiB at most."""


GOES_ON = "what runs there goes on"
"""Said where a launcher ends and its job goes on: the exit handler (plan/from_parameters.py) keeps that job."""


@dataclass(frozen=True)
class Work:
    """One pre-training: everything that its processes need, and nothing secret."""

    run: str
    plan: str
    shards: str
    """URI of the shards."""
    result: str
    """URI where the backbone will be published; its processes refuse to work for another."""
    config: Placement
    done: Callable[[], bool]
    """Whether the backbone is published."""

    def arguments(self, told: str = TOLD) -> list[str]:
        """What comface.pretrain.worker is given; `told`: file for the sentence of the process that fails first."""
        return ["--result", self.result, "--told", told, self.plan, self.shards]


class Launcher(Protocol):
    def train(self, work: Work) -> None:
        """Returns when the processes have ended well. Raises a ComfaceError, one sentence, otherwise."""
        ...
