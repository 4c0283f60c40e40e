"""Checks and times the Triton kernel of StyleGAN3's filtered leaky ReLU against PyTorch, for each layer's shape.

    python benchmarks/filtered_relu.py [--networks t r] [--batch 4] [--rounds 3] [--exact]
    python benchmarks/filtered_relu.py --compile 90

On a GPU: every layer of the published networks at full size in the types of `precision: fast` (float16, or TF32), with
`--exact` in float32; equal within rounding; milliseconds of kernel and PyTorch, medians of alternating rounds; the
share of the memory's rate that the kernel reaches; milliseconds of the layer's convolution for comparison. On a CPU
with TRITON_INTERPRET=1: layers of different kinds, small, without times.

`--compile` needs no GPU: compiles what the networks need for this compute capability (80: A100, 90: H100 and H200), and
prints the registers of each kernel, the bytes of its stack (what did not fit into registers), and the instructions of
its loop per value.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from device_time import medians, memory_rate
from torch import Tensor
from torch.nn import functional

from comface.generators.stylegan.generator import tf32
from comface.generators.stylegan.resampling import Filters, filtered_leaky_relu
from comface.generators.stylegan.stylegan3 import (
    AT_ONCE_BYTES,
    HALVES,
    LayerPlan,
    StyledLayer,
    StyleGan3Config,
    layer_plans,
)
from comface.networks.kernels import fused

CUDA = torch.cuda.is_available()
NETWORKS = {
    "t": StyleGan3Config(),
    "r": StyleGan3Config(channel_base=65536, channel_max=1024, kernel=1, radial=True),
}
ROUNDED = {"float16": 4e-3, "TF32": 4e-3, "float32": 5e-6}
"""Largest difference relative to the largest value: float16 or TF32 between the two products along x."""


def filters_of(config: StyleGan3Config, plan: LayerPlan, device: str = "cpu") -> Filters:
    return StyledLayer(plan, config.kernel, 8, config.clamp).to(device).filters()


def type_of(config: StyleGan3Config, plan: LayerPlan, exact: bool) -> str:
    return "float32" if exact else "float16" if plan.after.rate * 2**HALVES > config.image_size_px else "TF32"


def layers(network: str, exact: bool) -> Iterator[tuple[StyleGan3Config, LayerPlan, str]]:
    config, seen = NETWORKS[network], set()
    for plan in layer_plans(config)[:-1]:
        kind = plan.up, plan.down, plan.radial, plan.padding, type_of(config, plan, exact)
        if CUDA or kind not in seen:
            yield config, plan, type_of(config, plan, exact)
        seen.add(kind)


def check(config: StyleGan3Config, plan: LayerPlan, kind: str, batch: int, rounds: int, rate: float) -> list[float]:
    """Prints a row. Returns the difference over the tolerance, and milliseconds per image of kernel, PyTorch and
    convolution."""
    from comface.generators.stylegan.fused_filter import FusedFilter

    device, dtype = "cuda" if CUDA else "cpu", torch.float16 if kind == "float16" else torch.float32
    size = plan.before.size + config.kernel - 1 if CUDA else 18 - min(0, sum(plan.padding)) // plan.up
    channels, inputs = (-(-band.channels // 8) * 8 if CUDA else 3 for band in (plan.after, plan.before))
    memory_format = torch.contiguous_format if kind == "float32" else torch.channels_last
    filters = filters_of(config, plan, device)
    x_NCHW = torch.randn(batch, channels, size, size, device=device).to(dtype, memory_format=memory_format)
    ones_NC, bias_C = torch.ones(batch, channels, device=device), torch.zeros(channels, device=device)
    kernel = FusedFilter(filters, x_NCHW.device, dtype)

    def ours() -> Tensor:
        return kernel(x_NCHW, ones_NC, bias_C, ones_NC, tf32=kind == "TF32")

    def pytorch(x_NCHW: Tensor = x_NCHW) -> Tensor:
        return filtered_leaky_relu(x_NCHW, filters, AT_ONCE_BYTES[device])

    with tf32(False):
        wanted = pytorch(x_NCHW.float().contiguous())
    apart = ((ours() - wanted).abs().max() / wanted.abs().max()).item()
    good = apart <= ROUNDED[kind]
    row = f"| {plan.name} | {plan.up}, {plan.down}{', radial' if plan.radial else ''} | {kind} | {apart:.0e}"
    row += " |" if good else " TOO LARGE |"
    if not CUDA:
        print(row, flush=True)
        return [apart / ROUNDED[kind]]
    values = wanted.numel() + x_NCHW.numel()
    del wanted
    before_NCHW = torch.randn(batch, inputs, *[plan.before.size] * 2, device=device, dtype=dtype)
    weight = torch.randn(channels, inputs, *[config.kernel] * 2, device=device, dtype=dtype)
    before_NCHW, weight = (each.contiguous(memory_format=memory_format) for each in (before_NCHW, weight))
    with tf32(kind == "TF32"):
        own, theirs, convolution = medians(
            rounds, ours, pytorch, lambda: functional.conv2d(before_NCHW, weight, padding=config.kernel - 1)
        )
    share = values * dtype.itemsize / (own / 1e3) / rate
    tile = next(iter(kernel.fastest.values()))
    print(
        f"{row} {own:.3f} | {theirs:.3f} | {theirs / own:.1f} | {share:.0%} | {convolution:.3f} | "
        f"{tile.channels} channels, {tile.warps} warps |",
        flush=True,
    )
    return [apart / ROUNDED[kind], own / batch, theirs / batch, convolution / batch]


def compare(networks: list[str], batch: int, rounds: int, exact: bool) -> bool:
    good, rate = True, memory_rate() if CUDA else 0.0
    for network in networks:
        print(f"StyleGAN3-{network.upper()}, 1024 px, {batch} images, milliseconds of the batch" if CUDA else network)
        print(
            "| layer | up, down | type | largest difference / largest value | kernel | PyTorch | ratio "
            "| of the memory's rate | convolution | tile |\n|---|---|---|---|---|---|---|---|---|---|"
        )
        rows = [check(config, plan, kind, batch, rounds, rate) for config, plan, kind in layers(network, exact)]
        good = good and all(row[0] <= 1 for row in rows)
        if CUDA:
            own, theirs, convolution = (sum(row[i] for row in rows) for i in (1, 2, 3))
            print(
                f"all layers of an image: kernels {own:.2f} ms, PyTorch {theirs:.2f} ms ({theirs / own:.1f} times as "
                f"long), convolutions {convolution:.2f} ms"
            )
    return good


def compile_without_gpu(capability: int, networks: list[str], exact: bool) -> None:
    """What the networks need, with a driver that only says for which GPU."""
    import triton
    from triton.backends.compiler import GPUTarget

    class Driver:
        def get_current_device(self) -> int:
            return 0

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", capability, 32)

        def get_current_stream(self, device: int) -> int:
            return 0

    triton.runtime.driver.set_active(Driver())
    from comface.generators.stylegan import fused_filter

    with ThreadPoolExecutor() as pool, triton.AsyncCompileMode(pool):
        for config, plan, kind in itertools.chain(*(layers(network, exact) for network in networks)):
            dtype = torch.float16 if kind == "float16" else torch.float32
            kernel = fused_filter.FusedFilter(filters_of(config, plan), torch.device("cpu"), dtype)
            kernel.compile(8, kind != "float32", dtype, kind == "TF32")
    print(
        "| type | up, down | terms | channels, warps | registers | stack, bytes | instructions per value |\n"
        "|---|---|---|---|---|---|---|"
    )
    (cache,) = fused_filter._filtered.device_caches.values()
    for compiled in cache[0].values():
        print(described(compiled, fused_filter._filtered.arg_names), flush=True)


def described(kernel: Any, arguments: list[str]) -> str:
    """A row about a compiled kernel."""
    import triton

    constant = {arguments[place]: value for (place,), value in kernel.src.constants.items()}
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        listed = [
            subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("-res-usage", "-sass")
        ]
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", listed[0])[0]
    places = [int(place, 16) for place in re.findall(r"^\s*/\*([0-9a-f]{4,})\*/ +\S", listed[1], re.M)]
    jumps = re.findall(r"/\*([0-9a-f]{4,})\*/[^;]*BRA[^;]*?(0x[0-9a-f]+)", listed[1])
    _, begin, end = max((int(source, 16) - int(to, 16), int(to, 16), int(source, 16)) for source, to in jumps)
    values = constant["BC"] * constant["BW"] * constant["CYCLE"] // constant["DOWN"] / (32 * kernel.metadata.num_warps)
    kind = {"*fp16": "float16", "*fp32": constant["PRECISION"]}[kernel.src.signature["x"]]
    return (
        f"| {kind} | {constant['UP']}, {constant['DOWN']} | {constant['TERMS']} | {constant['BC']}, "
        f"{kernel.metadata.num_warps} | {registers} | {stack} | "
        f"{sum(begin <= place <= end for place in places) / values:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=4 if CUDA else 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exact", action="store_true", help="float32 without TF32")
    parser.add_argument("--compile", type=int, metavar="CAPABILITY", help="only compile, without a GPU")
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.compile:
        compile_without_gpu(options.compile, options.networks, options.exact)
        return
    if not fused(torch.zeros(1, device="cuda" if CUDA else "cpu")):
        raise SystemExit("The kernels need a GPU with triton, or TRITON_INTERPRET=1.")
    with torch.inference_mode():
        good = compare(options.networks, options.batch, options.rounds, options.exact)
    print("the kernel equals PyTorch's result in every layer" if good else "a layer differs")
    if not good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
