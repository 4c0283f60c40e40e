"""Checks and measures a training step on a GPU: equal to a CPU, and pairs/s eager, fused and as a CUDA graph.

    python benchmarks/train_step.py [--backbone resnet50] [--size 224] [--pairs 32 128 512] [--seconds 2] [--compile]
    python benchmarks/train_step.py --equality [--size 112] [--fused]

In: random images and weights. Out: `--equality`: losses and gradient of one step of ResNet-18 with 8 pairs in fp32,
against float64 on the CPU: with PyTorch's default of TF32, with TF32 off, and with every convolution of a CPU rounded
to TF32, which tells whether rounding explains a difference. The same for a smooth network (GELU and average pooling):
without the kinks of ReLU and max pooling, rounding cannot switch a gradient on or off. Ends with 1 if the GPU without
TF32 is beyond LOSSES, beyond GRADIENT in the smooth network, or three times as far away as the CPU. Otherwise: pairs/s
of the whole step without loader, in bf16, in alternating rounds. Without a GPU the same code runs on the CPU, where the
settings do not differ.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from comface.networks.kernels import fused, plain
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import Batch
from comface.pretrain.draws import Draws
from comface.pretrain.network import ComFace, build_network
from comface.pretrain.objective import alphas_of, exact_float32, losses_of, views_of
from comface.pretrain.optimiser import build_optimizer
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes
from comface.pretrain.train_step import TrainStep

CPU = torch.device("cpu")
LOSSES, GRADIENT = 1e-5, 1e-3
"""Largest relative differences of a GPU without TF32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairs", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--seconds", type=float, default=2.0, help="measured per setting and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes a minute")
    parser.add_argument("--equality", action="store_true")
    parser.add_argument("--fused", action="store_true", help="the kernels in Triton's interpreter too, on a CPU")
    options = parser.parse_args()
    if options.equality:
        raise SystemExit(0 if equality(options.size, options.fused) else 1)
    for pairs in options.pairs:
        speeds(pairs, options)


def batch_of(pairs: int, size_px: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (pairs, size_px, size_px, 3), generator=draw).to(torch.uint8) for _ in range(2)]
    alphas = [torch.rand(pairs, generator=draw) * 10 - 5 for _ in range(2)]
    tensors = [*images, *alphas]
    return Batch(*(tensor.pin_memory() if torch.cuda.is_available() else tensor for tensor in tensors))


# Equality


class Found(NamedTuple):
    inter: float
    intra: float
    gradient: Tensor


def equality(size_px: int, interpreted: bool) -> bool:
    device = torch.device("cuda") if torch.cuda.is_available() else CPU
    passed = True
    for smooth in (False, True):
        step = partial(one_step, size_px, smooth)
        with plain():
            exact = step(CPU, torch.float64)
            rows = {"CPU, float32": step(CPU)}
            with rounded_convolutions():
                rows["CPU, convolutions rounded to TF32"] = step(CPU)
            if device != CPU:
                rows["GPU, TF32 (PyTorch's default)"] = step(device)
                with exact_float32():
                    rows["GPU, TF32 off"] = step(device)
        if not smooth and (device != CPU or interpreted):
            with exact_float32():
                rows["BatchNorm fused, TF32 off"] = step(device)
        kind = "GELU and average pooling" if smooth else "as it is"
        print(f"One step of ResNet-18 ({kind}), untrained, {size_px} px, 24 views; relative to float64 on the CPU")
        limit = GRADIENT if smooth else 3 * apart(rows["CPU, float32"], exact)[1]
        for name, found in rows.items():
            losses, gradient = apart(found, exact)
            within = losses <= LOSSES and gradient <= limit
            passed &= within or "TF32 off" not in name
            print(f"  {name:36s} losses {losses:8.1e}   gradient {gradient:8.1e}{'' if within else '   beyond'}")
    print(f"without TF32 the GPU equals the CPU: {'yes' if passed else 'NO'} (device: {device.type})")
    return passed


def apart(found: Found, exact: Found) -> tuple[float, float]:
    losses = max(abs(found[i] - exact[i]) / exact[i] for i in range(2))
    return losses, float((found.gradient - exact.gradient).norm() / exact.gradient.norm())


def one_step(size_px: int, smooth: bool, device: torch.device, dtype: torch.dtype = torch.float32) -> Found:
    config = PretrainConfig(backbone="resnet18", image_size_px=size_px, pairs_per_step=8, precision="fp32")
    batch = batch_of(8, size_px)
    with plain():
        views = views_of(batch, config, Draws(torch.Generator().manual_seed(1), 8), size_px, CPU)
    network = build_network(config, 10.0).to(device, dtype, memory_format=torch.channels_last).train()
    if smooth:
        smoothed(network)
    elif fused(views.to(device)):
        from comface.pretrain.fused_resnet import fuse

        fuse(network.backbone)
    seen = views.to(device, dtype).contiguous(memory_format=torch.channels_last)
    losses = losses_of(network, seen, alphas_of(batch, device), config, Processes(0, 1, device))
    losses.total.backward()
    flat = [p.grad.flatten().double().cpu() for p in network.parameters() if p.grad is not None]
    assert losses.inter is not None
    assert losses.intra is not None
    return Found(float(losses.inter.detach()), float(losses.intra.detach()), torch.cat(flat))


def smoothed(network: ComFace) -> None:
    """Replace ReLU and max pooling, also in the change head."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.GELU())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    linear = network.head.linear
    network.head.forward = lambda h_x, h_y: linear(functional.gelu(h_y - h_x)).squeeze(1)


def tf32(x: Tensor) -> Tensor:
    """Round float32 to TF32: 10 bits of mantissa, ties to even."""
    bits = x.detach().contiguous().view(torch.int32)
    return ((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


class _Convolution(torch.autograd.Function):
    """A convolution whose inputs are rounded to TF32, forward and backward, as tensor cores do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = (stride, padding)
        return functional.conv2d(tf32(x), tf32(weight), None, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (x, weight), (stride, padding), grad = ctx.saved_tensors, ctx.options, tf32(gradients[0])
        grad_x = nn.grad.conv2d_input(x.shape, tf32(weight), grad, stride, padding)
        return grad_x, nn.grad.conv2d_weight(tf32(x), weight.shape, grad, stride, padding), None, None


@contextlib.contextmanager
def rounded_convolutions() -> Iterator[None]:
    before = nn.Conv2d.forward
    nn.Conv2d.forward = lambda self, x: _Convolution.apply(x, self.weight, self.stride, self.padding)  # type: ignore
    try:
        yield
    finally:
        nn.Conv2d.forward = before  # type: ignore[method-assign]


# Speed


def speeds(pairs: int, options: argparse.Namespace) -> None:
    """Print pairs/s of every setting. A setting that fails is named, and the others go on."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda") if on_gpu else CPU
    batch = batch_of(pairs, options.size)
    settings = {"eager": (False, False), "eager, fused": (False, True), "graph": (True, False)}
    settings |= {"graph, fused": (True, True)} | ({"compiled": (False, True)} if options.compile else {})
    found, memory = defaultdict[str, list[float]](list), dict[str, float]()
    for _ in range(options.rounds):
        for name, (graph, kernels) in settings.items():
            gc.collect()  # the network and the graph of the setting before
            if on_gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            try:
                with exact_float32(), plain(not kernels):
                    step = step_of(batch, options, device, graph, name == "compiled")
                    per_s = pairs * rate(step, options.seconds, on_gpu)
                found[name].append(per_s)
            except RuntimeError as error:  # out of memory, above all
                print(f"{pairs} pairs, {name}: failed: {str(error).splitlines()[0]}")
            step = None
            memory[name] = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0
    print(f"\n{options.backbone}, {options.size} px, {pairs} pairs, bf16; pairs/s, medians of {options.rounds} rounds")
    for name, rates in found.items():
        median = statistics.median(rates)
        ratio = f"{median / statistics.median(found['eager']):.2f} of eager" if found["eager"] else ""
        print(f"  {name:16s}{median:10,.0f}   {ratio}   {memory[name]:.1f} GiB")


def step_of(
    batch: Batch, options: argparse.Namespace, device: torch.device, graph: bool, compiled: bool
) -> Callable[[], None]:
    pairs = len(batch.alpha_x_N)
    config = PretrainConfig(
        backbone=options.backbone, image_size_px=options.size, pairs_per_step=pairs, precision="bf16", cuda_graph=graph
    )
    network = build_network(config, 10.0).to(device, memory_format=torch.channels_last).train()
    if compiled:
        network.backbone = torch.compile(network.backbone, mode="reduce-overhead")
    step = TrainStep(network, build_optimizer(network, config), config, Processes(0, 1, device))
    at = Position(10**9)

    def once() -> None:
        step(batch, at)
        at.step += 1
        if at.step % 10 == 0:
            step.read()

    return once


def rate(step: Callable[[], None], seconds: float, on_gpu: bool) -> float:
    """Return steps per second; two steps before are not measured (recording, choice of kernels)."""
    for _ in range(2):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(5 if on_gpu else 1):
            step()
            count += 1
        if on_gpu:
            torch.cuda.synchronize()
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
