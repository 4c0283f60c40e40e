"""Pre-training on this machine: in this process, or with torchrun and one process per GPU or per core.

In: a Work. Out: the log of its processes, on stderr. Kubernetes is not imported here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from comface.errors import ComfaceError, ConfigurationError, Preempted, error_of
from comface.launch import Work
from comface.launch.crash import last_error
from comface.runtime.cores import usable_cores
from comface.runtime.logs import for_children, relay

logger = logging.getLogger(__name__)
GRACE_S, LAST_LINES = 60, 400
"""Seconds; torchrun itself waits 30 s for its processes."""
FAILED = "failed (exitcode: "
"""Part of the line with which torchrun begins its report about a process that failed."""


class InProcess:
    """`pretrain`: the step itself."""

    def __init__(self, pretrain: Callable[[], object]) -> None:
        self.pretrain = pretrain

    def train(self, work: Work) -> None:
        self.pretrain()


class Torchrun:
    """`environment`: variables of the processes that differ from those of this process."""

    def __init__(self, processes: int, environment: Mapping[str, str] | None = None) -> None:
        self.processes, self.environment = processes, environment or {}

    def train(self, work: Work) -> None:
        """Raises the error of the process that failed first; Preempted after SIGTERM, with a checkpoint written."""
        with tempfile.TemporaryDirectory(prefix="comface-") as folder:
            told = Path(folder, "told")
            told.touch()
            command = [
                sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(self.processes),
                "-m", "comface.pretrain.worker", *work.arguments(str(told)),
            ]  # fmt: skip
            # Through a pipe: the processes end when its reader ends, for example because this process is killed.
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
                env={**os.environ, "PYTHONSAFEPATH": "1", **self.environment, **for_children()},
            )  # fmt: skip
            with child, stopping(child) as stopped:
                assert child.stdout is not None
                last: deque[str] = deque(maxlen=LAST_LINES)
                report: list[str] = []  # torchrun's own, with a traceback, about a process whose error may be told
                for line in child.stdout:
                    last.append(line)
                    if report or FAILED in line:
                        report.append(line)
                    else:
                        relay(line.rstrip("\n"), logger)
                child.wait()
            words = told.read_text("utf-8")
            if not words:
                for line in report:
                    relay(line.rstrip("\n"), logger)
            if child.returncode:
                if stopped() and not words:
                    raise Preempted("Pre-training was asked to stop; its last checkpoint is kept, run it again.")
                raise failure(words, "".join(last))


def failure(told: str, last: str) -> ComfaceError:
    """`told`: what `comface.launch.causes.last_words` wrote, or nothing; `last`: the last lines of the log."""
    if told:
        words = json.loads(told)
        return error_of(words["exit_code"], words["sentence"])
    return ComfaceError(
        f"A process of the training failed: {last_error(last) or 'it left no message'}; see the log above."
    )


@contextlib.contextmanager
def stopping(child: subprocess.Popen[str]) -> Iterator[Callable[[], bool]]:
    """Forwards SIGTERM to torchrun, which forwards it to its processes; the child never outlives this process. Yields a
    function that tells whether SIGTERM has arrived."""
    asked = False  # a threading.Event has a lock, which a second SIGTERM could find taken by the first
    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return

    def forward(*_: object) -> None:
        nonlocal asked
        asked = True
        child.terminate()

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGTERM, before)
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
            child.kill()


def local_launcher(
    nodes: int,
    gpus_per_node: int,
    pretrain: Callable[[], object],
    environment: Mapping[str, str] = os.environ,
    cpu_processes: int = 1,
) -> InProcess | Torchrun:
    """`cpu_processes`: their number if gpus_per_node is 0. Raises ConfigurationError if this machine has fewer nodes or
    GPUs."""
    processes = gpus_per_node or cpu_processes
    if "TORCHELASTIC_RUN_ID" in environment:
        return InProcess(pretrain)
    if nodes > 1:
        raise ConfigurationError(
            f"Pre-training requests {nodes} nodes, but this is one machine; set pretrain.nodes=1 and "
            "pretrain.gpus_per_node to the number of its GPUs (0: train on the CPU)."
        )
    if gpus_per_node:
        _check_gpus(gpus_per_node)
    if processes == 1:
        return InProcess(pretrain)
    return Torchrun(processes) if gpus_per_node else Torchrun(processes, _sharing_cores(processes))


def gpus_of_machine() -> int:
    """The number of GPUs that PyTorch can use here."""
    from torch.cuda import device_count

    return device_count()


def _check_gpus(wanted: int) -> None:
    asked, found = f"Pre-training requests {wanted} GPU{'s' if wanted > 1 else ''}", gpus_of_machine()
    if not found:
        raise ConfigurationError(
            f"{asked}, but PyTorch finds none on this machine; check `nvidia-smi`, or use --profile laptop, which "
            "needs none (pretrain.gpus_per_node=0 trains on the CPU)."
        )
    if found < wanted:
        raise ConfigurationError(f"{asked}, but this machine has {found}; set pretrain.gpus_per_node.")


def _sharing_cores(processes: int) -> dict[str, str]:
    """Environment of each process, where several train on the cores of this machine and not on its GPU."""
    return {"OMP_NUM_THREADS": str(max(1, usable_cores() // processes)), "CUDA_VISIBLE_DEVICES": ""}
