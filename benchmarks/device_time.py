"""Times on a GPU, by events of its own clock."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

COPIED = 2**28
"""Bytes of the copy that measures the memory's rate."""


def milliseconds(run: Callable[[], object]) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def medians(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """Of alternating rounds; one more comes before them."""
    rows = [[milliseconds(run) for run in runs] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def memory_rate() -> float:
    """Bytes per second that a copy on the device reads and writes."""
    from_ = torch.empty(COPIED, dtype=torch.uint8, device="cuda")
    into = torch.empty_like(from_)
    return 2 * COPIED / (statistics.median(milliseconds(lambda: into.copy_(from_)) for _ in range(9)) / 1e3)
