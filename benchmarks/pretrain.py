"""Measures the phases of a pre-training step on a CPU, the effect of precision, threads and wait policy, and the data
path.

    python benchmarks/pretrain.py [--rounds 3] [--seconds 1] [--set pretrain.FIELD=VALUE]

In: the pre-training of the profile `laptop`, on shards of 64 generated identities. Out: tables of medians over rounds.
Rounds alternate between settings, so that changes in machine load affect all equally. Every setting runs `train_step`
in a separate process, because OpenMP reads OMP_NUM_THREADS and OMP_WAIT_POLICY when it is loaded. If `lightly` is
installed, its NT-Xent loss is measured too (it is not a dependency):

    pip install --target DIR --no-deps lightly lightly-utils aenum && PYTHONPATH=DIR python benchmarks/pretrain.py
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
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from comface.artifacts.manifest import Artifact, open_artifact
from comface.plan.configuration import resolve
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import Batch, PairImages
from comface.pretrain.loaders import batches
from comface.pretrain.losses import inter_personal_loss
from comface.pretrain.network import build_network
from comface.pretrain.optimiser import build_optimizer
from comface.pretrain.pairs import PairSampler
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes
from comface.pretrain.train_step import TrainStep
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader

PHASES = ("load", "augment", "forward", "backward", "optimizer")
"""Read and decode; to float, three views; network; losses and their gradients; update of the weights."""


class Setting(NamedTuple):
    name: str
    precision: str = "fp32"
    threads: int = 1
    passive: bool = True
    processes: int = 1


SETTINGS = (
    Setting("fp32, 1 thread"),
    Setting("fp32, 2 threads that sleep", threads=2),
    Setting("fp32, 2 threads that spin", threads=2, passive=False),
    Setting("fp32, 2 runs of 1 thread", processes=2),
    Setting("bf16, 1 thread", "bf16"),
    Setting("bf16, 2 threads that sleep", "bf16", threads=2),
)


ENDLESS = 10**9
"""Steps of the one epoch from which batches are measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="measured per setting and round")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--shards", metavar="URI", help=argparse.SUPPRESS)  # in a process of a setting
    options = parser.parse_args()
    config = resolve("laptop", options.overrides).pretrain
    if options.shards:
        print(json.dumps(step_seconds(config, open_artifact(options.shards), options.seconds)))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder))
        print_steps(config, shards, options)
        print_data_path(config, shards, options)
    print_losses(config, options)


def make_shards(folder: Path) -> Artifact:
    share = Share(generator="procedural", identities=64, attributes=("smile", "weight"))
    config = SynthesizeConfig(image_size_px=64, alpha_step=1.0, parts=1, composition=(share,))
    store = FileStore(folder)
    return shard(store, ShardConfig(), [synthesize(store, config, 0)])


def pair_images(shards: Artifact, config: PretrainConfig) -> PairImages:
    reader = ShardReader(shards, "train", Path("/nowhere"))  # a file:// store needs no cache
    identities = [item.track.identity for item in reader.tracks]
    sampler = PairSampler(identities, reader.alphas, config.pairs_per_step, 0)
    return PairImages(reader, sampler, Processes(0, 1, torch.device("cpu")), ENDLESS, [10.0])


def step_seconds(config: PretrainConfig, shards: Artifact, seconds: float) -> dict[str, float]:
    """Median seconds per phase of a training step, in this process. Every mark names what has passed since the last."""
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
    step = TrainStep(network, optimizer, config, Processes(0, 1, torch.device("cpu")))
    feed = batches(pair_images(shards, config), range(ENDLESS), 0)

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
    while time.perf_counter() - started < seconds:
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
    command = [sys.executable, __file__, "--shards", shards.uri, "--seconds", str(options.seconds)]
    command += [word for override in overrides for word in ("--set", override)]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(setting.processes)
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


def in_rounds(actions: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, action in actions.items():
            found[name].append(action())
    return found


def machine() -> str:
    """Describe cores, load and torch version. With a load above the number of cores, only ratios are reliable."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__.partition('+')[0]}"


if __name__ == "__main__":
    main()
