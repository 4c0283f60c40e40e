"""Measures pre-training: the phases of a step, lightly's SimCLR beside it, equation (1), and a projection of the
paper's training.

    python benchmarks/pretrain.py [--device cpu|cuda] [--parts steps,data,compare,loss,projection] [--rounds 3]
        [--seconds 1] [--workers N] [--set pretrain.FIELD=VALUE]

In: generated images. Out: tables of medians over rounds. Rounds alternate between what is compared, so that changes in
machine load affect all equally; every ratio is of one round.

    steps       phases of a step of the profile `laptop` on a CPU, with precision, threads, wait policy and processes.
                Every setting runs in a process of its own, because OpenMP reads its variables when it is loaded
    data        the data path of the product with several numbers of loader processes
    compare     data only, compute only and end to end beside lightly's SimCLR (simclr.py)
    loss        equation (1) beside lightly's NTXentLoss
    projection  hours of the paper's training on 32 A100, with its assumptions

On a CPU all parts run, on a GPU (`--device cuda`) the last three. lightly is not a dependency; without it, the product
is measured alone:

    pip install --target DIR --no-deps lightly lightly-utils aenum lightning-utilities
    PYTHONPATH=DIR python benchmarks/pretrain.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from simclr import BOTH, ENDLESS, SHIPPED, WITHOUT, Case, compare, in_rounds, make_shards, pair_images
from torch import Tensor

from comface.artifacts.manifest import Artifact, open_artifact
from comface.plan.configuration import resolve
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import Batch
from comface.pretrain.loaders import batches
from comface.pretrain.losses import inter_personal_loss
from comface.pretrain.network import build_network
from comface.pretrain.optimiser import build_optimizer
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes, joined
from comface.pretrain.train_step import TrainStep

PHASES = ("load", "augment", "forward", "backward", "optimizer")
"""Read and decode; to float, three views; network; losses and their gradients; update of the weights."""


class Setting(NamedTuple):
    name: str
    precision: str = "fp32"
    threads: int = 1
    passive: bool = True
    processes: int = 1
    joint: bool = False
    """Whether the processes are of one training."""


SETTINGS = (
    Setting("fp32, 1 thread"),
    Setting("fp32, 2 threads that sleep", threads=2),
    Setting("fp32, 2 threads that spin", threads=2, passive=False),
    Setting("fp32, 2 runs of 1 thread", processes=2),
    Setting("fp32, 1 run, 2 processes", processes=2, joint=True),
    Setting("bf16, 1 thread", "bf16"),
    Setting("bf16, 2 threads that sleep", "bf16", threads=2),
)


PARTS = ("steps", "data", "compare", "loss", "projection")
ON_A_GPU = ("compare", "loss", "projection")
CASES = {
    "cpu": (Case("narrow", 64, 48, 40), Case("resnet18", 64, 64, 64)),
    "cuda": (Case("resnet50", 256, 224, 32), Case("resnet50", 256, 224, 128), Case("resnet50", 256, 224, 512)),
}
PAPERS_VIEWS = Case("narrow", 256, 224, 16)
"""On a CPU, only its data path is compared."""
CLAIMS = {"data": 3.5, "whole": 1.3, "loss": 2.0}
"""What the product must reach on a CPU: ratios to lightly (data: without antialiasing on either side)."""
PAIRS = 378e6
"""31.5 M training images, each once as x in 12 epochs."""
GPUS, SCALING = 32, 0.9
"""Of the paper; the assumed efficiency of 32 GPUs, whose gradients cross the network."""
PUBLISHED = (823.0, "one A100, DeepLearningExamples: 2,470 images/s, three views per pair")
AS_A100 = (2.0, 2.5)
"""Assumed: how many times as fast as an A100 the GPU of the measurement is (an H200)."""
SCHEDULE = ((3, 128), (6, 160), (9, 192))
"""Last epoch and side of views of each stage of the resolution schedule; 224 px from then on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--parts", default="", help=f"of {', '.join(PARTS)}; default: all that the device has")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="measured per setting and round")
    parser.add_argument("--workers", type=int, help="loader processes of `compare`; default: 0, on a GPU 8")
    parser.add_argument("--pairs", type=int, action="append", help="in `compare`, only the cases of this size")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--shards", metavar="URI", help=argparse.SUPPRESS)  # in a process of a setting
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.workers = (8 if on_gpu else 0) if options.workers is None else options.workers
    config = resolve("paper" if on_gpu else "laptop", options.overrides).pretrain
    if options.shards:
        print_step_seconds(config, open_artifact(options.shards), options.seconds)
        return
    if not on_gpu:
        torch.set_num_threads(1)
    parts = options.parts.split(",") if options.parts else ON_A_GPU if on_gpu else PARTS
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder, "steps"), 64, 64) if {"steps", "data"} & set(parts) else None
        if "steps" in parts and shards:
            print_steps(config, shards, options)
        if "data" in parts and shards:
            print_data_path(config, shards, options)
        if "compare" in parts:
            rates = print_comparison(config, Path(folder), options)
    if "loss" in parts:
        print_losses(config, options)
    if "projection" in parts:
        print_projection(rates, options.device)


def print_comparison(config: PretrainConfig, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Print the comparison of every case with lightly. Return ours end to end in pairs/s by case, if it is the paper's
    network on a GPU."""
    if not find_spec("lightly"):
        print("\nlightly is not installed, so only the product is measured (see the docstring of this file)")
    rates: dict[str, float] = {}
    for number, case in enumerate(CASES[options.device]):
        if options.pairs and case.pairs not in options.pairs:
            continue
        try:
            found = compare(case, config, folder / str(number), options, ("data", "compute", "whole"))
        except torch.cuda.OutOfMemoryError as error:
            print(f"\n{case}: not measured to its end: {str(error).splitlines()[0]}")
            continue
        rates[str(case)] = found[BOTH]
        print_claims(found, options.device)
    if options.device == "cpu" and not options.pairs:
        print_claims(compare(PAPERS_VIEWS, config, folder / "paper", options, ("data",)), options.device)
    return rates


def print_claims(found: Mapping[str, float], device: str) -> None:
    for name, ratio in found.items():
        part, _, beside = name.partition(": ")
        like_for_like = beside == (WITHOUT if part == "data" else SHIPPED)
        if device == "cpu" and part in CLAIMS and like_for_like:
            held = "holds" if ratio >= CLAIMS[part] else "DOES NOT HOLD"
            print(f"  {part} at least {CLAIMS[part]} times lightly's: {held} ({ratio:.2f})")


def print_projection(rates: Mapping[str, float], device: str) -> None:
    """Hours of the paper's training, from a published rate and, on a GPU, from the rates that were measured."""
    size = dict.fromkeys(range(1, 13), 224)
    for end, px in reversed(SCHEDULE):
        size |= dict.fromkeys(range(1, end + 1), px)
    share = sum((px / 224) ** 2 for px in size.values()) / len(size)
    print(f"\nThe paper's training on {GPUS} A100: {PAIRS / 1e6:.0f} M pairs. Assumed: each GPU has {SCALING:.0%} of")
    print(f"the rate of one alone; with the schedule {SCHEDULE} of views, a pair costs")
    print(f"in proportion to its pixels ({share:.0%} of the time).\n")

    def row(name: str, pairs_per_s: float) -> None:
        hours = PAIRS / (GPUS * SCALING * pairs_per_s) / 3600
        print(
            f"  {name:88s}{pairs_per_s:7,.0f} pairs/s per A100 {hours:6.1f} h, with the schedule {hours * share:5.1f} h"
        )

    row(PUBLISHED[1], PUBLISHED[0])
    if device == "cuda":
        for name, rate in rates.items():
            for factor in AS_A100:
                row(f"measured here, {name}; this GPU as {factor} A100", rate / factor)


def print_step_seconds(config: PretrainConfig, shards: Artifact, seconds: float) -> None:
    """Print, as JSON, the median seconds per phase of a training step in this process; under torchrun of the first."""
    with joined() as processes:
        found = step_seconds(config, shards, seconds, processes)
        if processes.first:
            print(json.dumps(found))


def step_seconds(config: PretrainConfig, shards: Artifact, seconds: float, processes: Processes) -> dict[str, float]:
    """Median seconds per phase of a training step. Every mark names what has passed since the last."""
    network = build_network(config, 10.0).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(network, config)
    passed: dict[str, list[float]] = defaultdict(list)
    last = time.perf_counter()

    def mark(phase: str) -> None:
        nonlocal last
        now = time.perf_counter()
        passed[phase].append(now - last)
        last = now

    network.register_forward_pre_hook(lambda *_: mark("augment"))
    network.register_forward_hook(lambda *_: mark("forward"))
    optimizer.register_step_pre_hook(lambda *_: mark("backward"))
    optimizer.register_step_post_hook(lambda *_: mark("optimizer"))
    step = TrainStep(network, optimizer, config, processes)
    feed = batches(pair_images(shards, config, processes), range(ENDLESS), 0)

    def marked(count: int) -> Iterator[Batch]:
        for batch in itertools.islice(feed, count):
            mark("load")
            yield batch
            mark("between")

    def train(count: int) -> None:
        mark("between")
        for batch in marked(count):
            step(batch, Position(ENDLESS))
            step.read()

    train(1)  # warm-up: memory allocation, kernel selection
    passed.clear()
    started = time.perf_counter()
    while not processes.agree(time.perf_counter() - started > seconds):
        train(1)
    return {phase: statistics.median(passed[phase]) for phase in PHASES}


def print_steps(config: PretrainConfig, shards: Artifact, options: argparse.Namespace) -> None:
    found: dict[str, list[list[dict[str, float]]]] = defaultdict(list)
    for _ in range(options.rounds):
        for setting in SETTINGS:
            found[setting.name].append(run_setting(setting, shards, options))
    size = f"{config.image_size_px} px, {config.pairs_per_step} pairs per step, 3 views per pair"
    print(f"\nA training step: {config.backbone}, {size}; ms, medians of {options.rounds} rounds, {machine()}\n")
    print(f"{'':28s}" + "".join(f"{phase:>11s}" for phase in (*PHASES, "step")) + f"{'pairs/s (range)':>24s}")
    for setting in SETTINGS:
        rounds = found[setting.name]
        runs = [run for each in rounds for run in each]
        cells = [statistics.median(run[phase] for run in runs) for phase in PHASES]
        rates = [sum(config.pairs_per_step / sum(run.values()) for run in each) for each in rounds]
        line = "".join(f"{1000 * seconds:11.1f}" for seconds in (*cells, sum(cells)))
        rate = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"
        print(f"{setting.name:28s}{line}{rate:>24s}")


def run_setting(setting: Setting, shards: Artifact, options: argparse.Namespace) -> list[dict[str, float]]:
    """Run the processes of a setting in parallel, and return the measurements of each."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment["OMP_NUM_THREADS"] = str(setting.threads)
    if setting.passive:
        environment |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    overrides = [*options.overrides, f"pretrain.precision={setting.precision}"]
    command = [__file__, "--shards", shards.uri, "--seconds", str(options.seconds)]
    command += [word for override in overrides for word in ("--set", override)]
    if setting.joint:
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={setting.processes}", *command]
    running = [
        subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(1 if setting.joint else setting.processes)
    ]
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"The setting '{setting.name}' failed; see its message above.")
    return [json.loads(output) for output in outputs]


def print_data_path(config: PretrainConfig, shards: Artifact, options: argparse.Namespace) -> None:
    print("\nData path: draw pairs, read, check, decode (64 px JPEG)\n")
    images = pair_images(shards, config)

    def rate(workers: int) -> float:
        steps = max(8, int(options.seconds * 2000 / config.pairs_per_step))
        feed = batches(images, range(steps), workers)
        next(feed)  # workers have started, files are open
        started = time.perf_counter()
        for _ in feed:
            pass
        return (steps - 1) * config.pairs_per_step / (time.perf_counter() - started)

    names = ("in the training process", "1 loader process", "2 loader processes")
    actions = {name: partial(rate, workers) for workers, name in enumerate(names)}
    for name, rates in in_rounds(actions, options.rounds).items():
        print(f"{name:28s}{statistics.median(rates):9,.0f} pairs/s ({min(rates):,.0f}-{max(rates):,.0f})")


def print_losses(config: PretrainConfig, options: argparse.Namespace) -> None:
    try:
        from lightly.loss import NTXentLoss
    except ImportError:
        print("\nlightly is not installed, so its NT-Xent loss is not compared (see the docstring of this file)")
        return
    print("\nEquation (1), forward and backward, one thread: ours and lightly's NTXentLoss\n")
    theirs = NTXentLoss(temperature=config.temperature)
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": lambda z: inter_personal_loss(z, config.temperature),
        "lightly": lambda z: theirs(*z.chunk(2)),
    }
    for rows, width in ((2 * config.pairs_per_step, config.projection_width), (2048, 128)):
        z = torch.randn(rows, width, generator=torch.Generator().manual_seed(0), requires_grad=True)
        values = {name: loss(z) for name, loss in losses.items()}
        gradients = {name: torch.autograd.grad(value, z)[0] for name, value in values.items()}
        actions = {name: partial(loss_ms, loss, z, options.seconds / 4) for name, loss in losses.items()}
        ms = {name: statistics.median(each) for name, each in in_rounds(actions, options.rounds).items()}
        apart = abs(float(values["ours"].detach() - values["lightly"].detach()))
        steepest = (gradients["ours"] - gradients["lightly"]).abs().max() / gradients["ours"].abs().max()
        times = f"ours {ms['ours']:.2f} ms, lightly {ms['lightly']:.2f} ms, {ms['lightly'] / ms['ours']:.2f} times ours"
        print(f"{rows} rows of {width}: {times}; losses {apart:.0e} apart, gradients {steepest:.0e} of the largest")


def loss_ms(loss: Callable[[Tensor], Tensor], z: Tensor, seconds: float) -> float:
    """Return the median time of a forward and backward pass in ms."""
    passed: list[float] = []
    while sum(passed) < seconds or len(passed) < 5:
        started = time.perf_counter()
        torch.autograd.grad(loss(z), z)
        passed.append(time.perf_counter() - started)
    return 1000 * statistics.median(passed)


def machine() -> str:
    """Describe cores, load and torch version. With a load above the number of cores, only ratios are reliable."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__.partition('+')[0]}"


if __name__ == "__main__":
    main()
