"""Loader processes, which decode batches in advance, and the handling of their failures.

Loader processes start once per training, not once per epoch. An error in a loader process is raised in the training as
the same error, without a nested traceback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Generator, Iterable, Iterator
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.pretrain.data import Batch, PairImages
from comface.pretrain.draft import PREFETCH, loader_bytes
from comface.pretrain.processes import Processes

SHARED_MEMORY = "/dev/shm"


class _WithErrors(Dataset["Batch | ComfaceError"]):
    """Returns the items of `images`, or a ComfaceError as an item, because PyTorch would put a traceback into its text.
    A loader process moves its tensors to shared memory here. If shared memory is full, PyTorch's own thread would lose
    the batch and the training would wait forever."""

    def __init__(self, images: PairImages, in_processes: bool) -> None:
        self.images, self.in_processes = images, in_processes

    def __getitem__(self, item: int) -> Batch | ComfaceError:
        try:
            batch = self.images[item]
            return Batch(*(tensor.share_memory_() for tensor in batch)) if self.in_processes else batch
        except ComfaceError as error:
            return error
        except RuntimeError as error:
            if "shared memory" not in str(error):
                raise
            return ConfigurationError(
                f"{SHARED_MEMORY} is full, so a loader process cannot pass a batch to the training; raise "
                "pretrain.job.shared_memory_gib (Docker: --shm-size), or lower pretrain.loader_workers."
            )


def batches(images: PairImages, items: range, workers: int) -> Generator[Batch, None, None]:
    """Yield the batches `items`, decoded in advance by `workers` processes (0: in this process). Raises the errors of
    `images`, and TryAgain if a loader process was killed."""
    options: dict[str, Any] = {}
    if workers:
        options = {
            "prefetch_factor": PREFETCH,
            "multiprocessing_context": "fork",
            "worker_init_fn": _begin_loader,
        }
    pin = torch.cuda.is_available()
    others, at_death = set(active_children()), signal.getsignal(signal.SIGCHLD)
    with loader_failures():
        try:
            for item in DataLoader(
                _WithErrors(images, workers > 0), batch_size=None, sampler=items, num_workers=workers, pin_memory=pin,
                **options,
            ):  # fmt: skip
                if isinstance(item, ComfaceError):
                    raise item
                yield item
        except (ConnectionError, EOFError, FileNotFoundError) as error:  # the loader ended while it passed a batch
            if not workers:
                raise
            raise _ended(type(error).__name__) from None
        finally:
            with contextlib.suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGCHLD, at_death)  # PyTorch's handler could raise later, anywhere in the process
            _wake(set(active_children()) - others)


def _wake(loaders: Iterable[BaseProcess]) -> None:
    """Continue loader processes that were stopped (SIGSTOP, a frozen cgroup); otherwise PyTorch would wait for their
    end forever."""
    for process in loaders:
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)


def _begin_loader(_worker: int) -> None:
    """Reset the signal handlers of a forked loader. The training's handlers only record a request, so SIGTERM would not
    end the loader. SIGINT is ignored, because the training receives it too and ends its loaders. If the training ends
    first, the loader reports no error."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _unless_left


def _unless_left(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


@contextlib.contextmanager
def loader_failures() -> Iterator[None]:
    """Convert PyTorch's RuntimeError about a killed loader process to TryAgain. PyTorch raises it in a signal handler,
    so it can occur anywhere in the training."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).splitlines()[0] if str(error) else ""
        if not said.startswith("DataLoader worker"):
            raise
        raise _ended(said.rstrip(". ")) from None


def _ended(how: str) -> TryAgain:
    return TryAgain(
        f"A loader process ended unexpectedly ({how}), probably because memory ran out; lower "
        "pretrain.loader_workers or raise pretrain.job.memory_gib and shared_memory_gib, then run again."
    )


def check_shared_memory(
    workers: int, processes: Processes, pairs_per_step: int, image_size_px: int, folder: str = SHARED_MEMORY
) -> None:
    """Raises ConfigurationError if the batches of the loader processes do not fit into `folder` (shared memory).
    Otherwise the processes would be killed during a write."""
    if not workers or not os.path.isdir(folder):
        return
    needed = processes.local_count * loader_bytes(workers, pairs_per_step // processes.count, image_size_px)
    found = os.statvfs(folder)
    size_bytes = found.f_blocks * found.f_frsize
    if size_bytes < needed:
        raise ConfigurationError(
            f"{folder} has {size_bytes / 1e6:,.1f} MB, but the batches that {workers} loader workers prepare for each "
            f"of {processes.local_count} training process(es) need {needed / 1e6:,.1f} MB there; raise "
            "pretrain.job.shared_memory_gib (Docker: --shm-size), or lower pretrain.loader_workers."
        )
