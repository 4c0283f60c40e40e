"""The processes of one training: one under plain Python, several under `torchrun` (locally or in a PyTorchJob).

Only this module reads torchrun's environment variables RANK, LOCAL_RANK and LOCAL_WORLD_SIZE. WORLD_SIZE is read in
draft.py too, because it affects the artifact's address.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    rank: int
    count: int
    device: torch.device
    local_rank: int = 0
    """Index among the processes of the node."""
    local_count: int = 1
    """Number of processes of the node."""

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
        """Return True on every process if `flag` is true on any (a signal may reach only one of them)."""
        if self.count == 1:
            return flag
        word = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(word, distributed.ReduceOp.MAX)
        return bool(word.item())

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a scalar over all processes."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def wait(self) -> None:
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """Join the process group under torchrun, yield this process's ranks, and leave the group at the end."""
    count, rank = int(environment.get("WORLD_SIZE", "1")), int(environment.get("RANK", "0"))
    local_rank = int(environment.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if count > 1:
        distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes(rank, count, device, local_rank, int(environment.get("LOCAL_WORLD_SIZE", "1")))
    finally:
        if count > 1:
            distributed.destroy_process_group()
