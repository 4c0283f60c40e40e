"""The backbone as a CUDA graph: its kernels are recorded once per size of the views and then replayed.

With few pairs per GPU a step is limited by the CPU, which launches a thousand kernels. A graph
launches those of the backbone, forward and backward, at once. Projection, losses, exchange of gradients and optimiser
stay outside, so the graph has no communication between processes and no learning rate, and is recorded again only for
views of another size.
"""

from __future__ import annotations

import logging

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
            torch.autocast("cuda", torch.bfloat16, enabled=config.precision == "bf16", cache_enabled=False),
        ):
            # thread_local: the thread that copies batches to the GPU may go on meanwhile.
            torch.cuda.make_graphed_callables(
                backbone, (sample_VCHW,), num_warmup_iters=WARM_UPS, capture_error_mode="thread_local"
            )
    except (AssertionError, RuntimeError, TypeError) as error:  # of CUDA, of PyTorch, or an older PyTorch
        launched_one_by_one(backbone)
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        logger.warning(f"The backbone is not recorded as a CUDA graph, so small batches take longer: {said}")
        return False
    return True


def launched_one_by_one(backbone: nn.Module) -> None:
    """Remove the graph from `backbone`, if it has one."""
    vars(backbone).pop("forward", None)
