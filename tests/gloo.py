"""Several training processes on one machine: forked, so that torch is imported once, and joined by gloo."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # DistributedDataParallel imports it, which takes seconds in each process
from torch import distributed

from comface.pretrain.processes import Processes


def together(count: int, work: Callable[[Processes], Any], folder: Path) -> list[Any]:
    """Run `work` in `count` real processes and return what each of them returned (tensors and plain values)."""
    if count == 1:
        return [work(Processes(0, 1, torch.device("cpu")))]
    folder.mkdir(parents=True, exist_ok=True)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_one, args=(rank, count, work, folder)) for rank in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    for child in children:
        child.kill()
    said = "\n".join(path.read_text() for path in sorted(folder.glob("*.failed")))
    assert [child.exitcode for child in children] == [0] * count, said
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


def _one(rank: int, count: int, work: Callable[[Processes], Any], folder: Path) -> None:
    try:
        meet = f"file://{folder}/meet"
        distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=count)
        torch.save(work(Processes(rank, count, torch.device("cpu"), rank, count)), folder / f"{rank}.pt")
        distributed.destroy_process_group()
    except BaseException:
        (folder / f"{rank}.failed").write_text(traceback.format_exc())
        raise
