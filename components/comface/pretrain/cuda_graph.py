"""The backbone as a CUDA graph: its kernels are recorded once per size of the views and then replayed.

With few pairs per GPU a step is limited by the CPU, which launches a thousand kernels. A graph
launches those of the backbone, forward and backward, at once. Projection, losses, exchange of gradients and optimiser
stay outside, so the graph has no communication between processes and no learning rate, and is recorded again only for
views of another size.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from comface.pretrain.accumulation import buffers_kept
from comface.pretrain.config import PretrainConfig
from comface.pretrain.processes import Processes

logger = logging.getLogger(__name__)

WARM_UPS = 11
"""Passes before the recording, in which libraries choose their kernels; PyTorch's number for several processes."""


def replayable(config: PretrainConfig, processes: Processes) -> bool:
    """Whether the backbone can be a graph: on a GPU, in one part (a graph has one buffer for its gradients, and parts
    would overwrite each other's), and without communication inside (BatchNorm over all processes)."""
    apart = config.batchnorm == "local" or processes.count == 1
    return config.cuda_graph and processes.device.type == "cuda" and config.accumulate == 1 and apart


def replay(backbone: nn.Module, views_VCHW: Tensor, config: PretrainConfig) -> bool:
    """Let `backbone` replay a graph for views like `views_VCHW` while it is in training mode. Returns False, with a
    warning in the log, if that fails: then it launches its kernels as before."""
    launched_one_by_one(backbone)
    sample_VCHW = torch.empty_like(views_VCHW).copy_(views_VCHW)
    try:
        with (
            buffers_kept(backbone),
            _undone_if_it_fails() as pool,
            torch.autocast("cuda", torch.bfloat16, enabled=config.precision == "bf16", cache_enabled=False),
        ):
            torch.cuda.make_graphed_callables(
                backbone, (sample_VCHW,), num_warmup_iters=WARM_UPS, pool=pool, **_only_this_thread()
            )
    except (AssertionError, RuntimeError, TypeError) as error:  # of CUDA, or of PyTorch
        launched_one_by_one(backbone)
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        logger.warning(f"The backbone is not recorded as a CUDA graph, so small batches take longer: {said}")
        return False
    return True


def launched_one_by_one(backbone: nn.Module) -> None:
    """Remove the graph from `backbone`, if it has one, and free its memory."""
    if vars(backbone).pop("forward", None) is not None:
        gc.collect()  # what PyTorch makes of a graph is in a reference cycle


def _only_this_thread() -> dict[str, Any]:
    """The option with which other threads may use CUDA during the recording, if this PyTorch has it (2.11 has not)."""
    known = inspect.signature(torch.cuda.make_graphed_callables).parameters
    return {"capture_error_mode": "thread_local"} if "capture_error_mode" in known else {}


@contextlib.contextmanager
def _undone_if_it_fails() -> Iterator[Any]:
    """Yield a memory pool for a recording. If CUDA breaks a recording off, PyTorch stays on the stream of the
    recording, and its allocator frees no batch until the recording ends. So both are ended here. At the end the device
    is idle."""
    stream, pool = torch.cuda.current_stream(), torch.cuda.graph_pool_handle()
    try:
        yield pool
    except BaseException:
        torch.cuda.set_stream(stream)
        with contextlib.suppress(AttributeError, RuntimeError):  # RuntimeError: the recording is not under way
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        raise
    finally:
        torch.cuda.synchronize()
