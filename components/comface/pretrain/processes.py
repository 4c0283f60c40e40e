"""The processes of one training: one under plain Python, several under `torchrun` (locally or in a PyTorchJob).

Only this module reads torchrun's environment variables RANK, LOCAL_RANK and LOCAL_WORLD_SIZE. WORLD_SIZE is read in
draft.py too, because it affects the artifact's address.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed

from comface.errors import ComfaceError, Preempted, error_of

T = TypeVar("T")
PEERS = timedelta(minutes=10)
"""How long a process waits for the others. If a node stops answering, its peers end after this time, and the job
starts them again."""


@dataclass(frozen=True)
class Processes:
    rank: int
    count: int
    device: torch.device
    local_rank: int = 0
    """Index among the processes of the node."""
    local_count: int = 1
    """Number of processes of the node."""
    hosts: distributed.ProcessGroup | None = None
    """The same processes, joined by gloo, for values of the hosts; None: the default group, which is gloo on a CPU."""

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def share(self) -> slice:
        """The pairs of a batch that belong to this process: every `count`-th pair, starting at `rank`."""
        return slice(self.rank, None, self.count)

    def gather_views(self, z_2ND: Tensor) -> Tensor:
        """Gather z of all processes in the order of equation (1): the first views of all, then the second views of all.

        Gradients flow into the rows of this process only. DistributedDataParallel averages the gradients, so the loss
        must be multiplied by `count` to give the gradient of the loss of the whole batch."""
        if self.count == 1:
            return z_2ND
        parts = [torch.empty_like(z_2ND) for _ in range(self.count)]
        distributed.all_gather(parts, z_2ND.contiguous())
        parts[self.rank] = z_2ND
        halves = [part.chunk(2) for part in parts]
        return torch.cat([h[0] for h in halves] + [h[1] for h in halves])

    def agree(self, flag: bool) -> bool:
        """Return True on every process if `flag` is true on any (a signal may reach only one of them). It waits for the
        other processes, but not for the device: gloo exchanges the flag on the CPU."""
        if self.count == 1:
            return flag
        word = torch.tensor(float(flag))
        distributed.all_reduce(word, distributed.ReduceOp.MAX, self.hosts)
        return bool(word.item())

    def first_error(self, error: ComfaceError | None) -> ComfaceError | None:
        """Return on every process the error of the first one that has any, in the order of their ranks; None if none
        has one. A request to stop counts last."""
        if self.count == 1 or not self.agree(error is not None):
            return error
        found: list[tuple[int, str] | None] = [None] * self.count
        told = None if error is None else (error.exit_code, str(error))
        distributed.all_gather_object(found, told, self.hosts)
        code, sentence = min((each for each in found if each), key=lambda each: each[0] == Preempted.exit_code)
        return error_of(code, sentence)

    def as_first(self, number: int) -> int:
        """Return the number of the first process on every process."""
        if self.count == 1:
            return number
        word = torch.tensor(number)
        distributed.broadcast(word, 0, self.hosts)
        return int(word.item())

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a scalar over all processes."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def jointly(self, action: Callable[[], T]) -> T:
        """Return what `action` returns, after all processes have called it. If it raises an error in any process, all
        raise it, so that none waits for one that is gone."""
        result: T | None = None
        error: ComfaceError | None = None
        try:
            result = action()
        except ComfaceError as caught:
            error = caught
        if (first := self.first_error(error)) is not None:
            raise first
        return cast(T, result)


@contextmanager
def joined(environment: Mapping[str, str] = os.environ, data_timeout_s: float = 0.0) -> Iterator[Processes]:
    """Join the process group under torchrun, yield this process's ranks, and leave the group at the end.
    `data_timeout_s`: how long a process may wait for a batch; the others wait for it longer, to hear why it ended."""
    timeout = max(PEERS, timedelta(seconds=2 * data_timeout_s))
    count, rank = int(environment.get("WORLD_SIZE", "1")), int(environment.get("RANK", "0"))
    local_rank = int(environment.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    hosts: distributed.ProcessGroup | None = None
    if count > 1:
        distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timeout)
        hosts = distributed.new_group(timeout=timeout, backend="gloo") if on_gpu else None  # type: ignore[assignment]
    try:
        yield Processes(rank, count, device, local_rank, int(environment.get("LOCAL_WORLD_SIZE", "1")), hosts)
    finally:
        if count > 1:
            distributed.destroy_process_group()
