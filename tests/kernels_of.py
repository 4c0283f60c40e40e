"""What the tests of Triton kernels share: drawn tensors, and the compilation of what a program launches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

COMPILING = """
import sys
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction


class Driver:
    def get_current_target(self):
        return GPUTarget("cuda", int(sys.argv[1]), 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


driver.set_active(Driver())
launch, compiled = JITFunction.run, set()


def run(kernel, *arguments, warmup=False, **options):
    launch(kernel, *arguments, warmup=True, **options)
    compiled.add(kernel.fn.__name__)


JITFunction.run = run
"""


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def compiled(program: str, capability: int, cache: Path) -> list[str]:
    """The kernels that `program` launches, compiled for this capability without a GPU, by name."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", f"{COMPILING}\n{program}\nprint(*sorted(compiled))", str(capability)],
        env={**environment, "TRITON_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [*cache.rglob("*.cubin")]
    return done.stdout.split()
