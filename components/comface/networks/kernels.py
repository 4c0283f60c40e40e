"""Which code processes a tensor: a Triton kernel, or PyTorch operations, which are also the kernel's reference.

A module with kernels imports triton, so it is imported only inside `if fused(x):`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

OLDEST = (8, 0)
"""Compute capability from which on the kernels run: A100."""

OLDEST_TRITON = (3, 6)
"""The oldest version for which the kernels were compiled."""

_allowed: ContextVar[bool] = ContextVar("kernels allowed", default=True)


def fused(x: Tensor) -> bool:
    """True if the kernels process `x`: on CUDA, and with TRITON_INTERPRET=1 (Triton's slow interpreter, for tests) on
    any device. The interpreter must be on when a module with kernels is imported."""
    if not _allowed.get():
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return find_spec("triton") is not None
    return x.device.type == "cuda" and _runs_on(x.device.index or 0)


@contextmanager
def plain(wanted: bool = True) -> Iterator[None]:
    """Within it, PyTorch operations process all tensors (`wanted` false: no change), to compare with the kernels."""
    token = _allowed.set(_allowed.get() and not wanted)
    try:
        yield
    finally:
        _allowed.reset(token)


@cache
def _runs_on(device: int) -> bool:
    """Triton compiles C code when it starts, so without a compiler (or its cached result) it does not start."""
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    if torch.version.hip is not None or capability < OLDEST:
        reason = "the kernels need an NVIDIA GPU of compute capability 8.0 or newer"
    elif find_spec("triton") is None:
        reason = "the package triton is not installed"
    else:
        try:
            import triton
            from triton.runtime import driver

            if tuple(int(part) for part in triton.__version__.split(".")[:2]) >= OLDEST_TRITON:
                driver.active.get_current_target()
                return True
            reason = f"the kernels need triton 3.6 or newer, not {triton.__version__}"
        except Exception as error:  # of Triton, of the compiler, of the loader
            reason = f"Triton does not start ({error})"
    logger.warning(f"Rendering and training take longer on {name}, without Triton kernels: {reason}.")
    return False
