"""Records some steps of a training with PyTorch's profiler, if `pretrain.profile_steps` is set.

Out, beside the curves: `trace-STEP.json.gz` (open it at ui.perfetto.dev or in chrome://tracing) and `trace-STEP.txt`,
the operations that take most time. The traces contain names and times, no image.
"""

from __future__ import annotations

import gzip
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import profiler

from comface.errors import ComfaceError
from comface.pretrain.config import PretrainConfig
from comface.pretrain.position import Position
from comface.store import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")
SKIPPED = 10
"""Steps before the recorded ones: the first steps compile, allocate and start loaders."""
ROWS = 40


def profiled(feed: Iterator[T], config: PretrainConfig, store: Store | None, at: Position) -> Iterator[T]:
    """Yield from `feed`, and record what happens between its items. Only the first process has a `store`."""
    if not config.profile_steps or store is None:
        yield from feed
        return
    kinds = [profiler.ProfilerActivity.CPU]
    kinds += [profiler.ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    schedule = profiler.schedule(skip_first=SKIPPED - 1, wait=0, warmup=1, active=config.profile_steps, repeat=1)
    with profiler.profile(
        activities=kinds, schedule=schedule, on_trace_ready=lambda profile: _write(profile, store, at)
    ) as profile:
        for item in feed:
            yield item
            profile.step()


def _write(profile: profiler.profile, store: Store, at: Position) -> None:
    name = f"trace-{at.steps_done}"
    order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    with tempfile.TemporaryDirectory(prefix="comface-") as folder:
        path = Path(folder, "trace.json")
        profile.export_chrome_trace(str(path))
        trace = gzip.compress(path.read_bytes())
    table = profile.key_averages().table(sort_by=order, row_limit=ROWS, max_name_column_width=80)
    try:
        store.write(f"{name}.json.gz", trace)
        store.write(f"{name}.txt", table.encode())
    except ComfaceError as error:
        logger.warning(f"The profile was not written, and the training continues: {error}")
    else:
        logger.info(f"The profile of the steps before step {at.steps_done} is in {store.uri}/{name}.json.gz and .txt")
