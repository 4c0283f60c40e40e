"""The processes of one training: plain Python is one, `torchrun` (alone, or inside a PyTorchJob) makes several.

The only reader of torchrun's environment variables (RANK, LOCAL_RANK, LOCAL_WORLD_SIZE; WORLD_SIZE
decides the artifact's address too, in draft.py).
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
    """Place among the processes of its node."""
    local_count: int = 1
    """How many processes its node has."""

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def share(self) -> slice:
        """This process's pairs of a batch: every count-th one from rank on."""
        return slice(self.rank, None, self.count)

    def gather_views(self, z_2ND: Tensor) -> Tensor:
        """All processes' z in the order of equation (1): first views of all, then second views of all.

        Gradients flow into this process's own rows only; times `count`, since DistributedDataParallel averages, their
        sum over processes is the gradient of the whole batch's loss."""
        if self.count == 1:
            return z_2ND
        parts = [torch.empty_like(z_2ND) for _ in range(self.count)]
        distributed.all_gather(parts, z_2ND.contiguous())
        parts[self.rank] = z_2ND
        halves = [part.chunk(2) for part in parts]
        return torch.cat([h[0] for h in halves] + [h[1] for h in halves])

    def agree(self, flag: bool) -> bool:
        """True on every process when it is true on any (a signal may reach only one of them)."""
        if self.count == 1:
            return flag
        word = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(word, distributed.ReduceOp.MAX)
        return bool(word.item())

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over all processes, the same on each of them."""
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
    """This process's place among its peers; joins them under torchrun, and leaves them at the end."""
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
