"""The cores that this process may use, and work on several of them in order, with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""`QUOTA PERIOD` in microseconds, or `max PERIOD`: the CPU limit of a container."""
GPU_FILE = Path("/dev/nvidiactl")
"""Exists if the machine or the container has a GPU of NVIDIA; tells so without importing torch."""


def usable_cores(limit: Path = CGROUP_LIMIT) -> int:
    """OMP_NUM_THREADS if it is set (execution/ sets it where steps share the cores), else the cores of this process
    within the container's limit."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = limit.read_text("ascii").split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no limit, or no cgroup v2
        return cores


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield function(item) in the order of `items`, computed in `workers` threads. At most twice as many items are
    taken ahead, so memory does not grow with their number."""
    if workers < 2:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
