"""Pretrain: trains f, g and l on shards of tracks (sections 3.2, 3.3 and 4.1).

In: an artifact of kind `shards`. Out: an artifact of kind `backbone`: `model.safetensors` (keys `backbone.*` and
`head.*`), `curve.json`, `curve.png`. It runs under plain Python and under `torchrun`. A training that was killed
resumes from its last checkpoint and ends with identical bits.

`train` is the whole training from top to bottom. The functions that it calls are below it or in modules of their names;
train_step.py has one step.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch

from comface.artifacts.manifest import Artifact, Draft
from comface.errors import ComfaceError, Preempted
from comface.pretrain import checkpoint
from comface.pretrain.batchnorm import over_all_processes
from comface.pretrain.config import PretrainConfig
from comface.pretrain.curve import draw_curve
from comface.pretrain.curves import CURVES, Curves, curves_name
from comface.pretrain.data import Batch, held_out_pairs, training_pairs
from comface.pretrain.draft import check_batch, draft_backbone, process_count
from comface.pretrain.gauges import Gauges
from comface.pretrain.loaders import Loader, check_memory
from comface.pretrain.network import ComFace, build_network
from comface.pretrain.nonfinite import first_nonfinite, nonfinite_error
from comface.pretrain.objective import exact_float32
from comface.pretrain.optimiser import build_optimizer
from comface.pretrain.position import Position
from comface.pretrain.prefetch import on_device
from comface.pretrain.processes import Processes, joined
from comface.pretrain.profile import profiled
from comface.pretrain.saving import Checkpoints
from comface.pretrain.step_losses import READ_EVERY
from comface.pretrain.stop import StopRequests, agreed, stop_requests
from comface.pretrain.train_step import TrainStep
from comface.pretrain.validation import describe, validate_epoch, validated_ranges
from comface.runtime.progress import shown
from comface.store import Store

T = TypeVar("T")
logger = logging.getLogger(__name__)


def pretrain(store: Store, config: PretrainConfig, shards: Artifact, cache: Path) -> Artifact:
    """Publish the `backbone` artifact, or return it if it exists. `cache`: folder for local copies of shards from an s3://
    store.

    Raises Preempted after SIGTERM or SIGINT, with a checkpoint written; ConfigurationError if the batch does not divide
    by the processes or the shards have too few identities for it; DataError if the loss is not finite or data are
    damaged; TryAgain if a loader process was killed, the store fails, or no batch comes in time. If data are the
    reason, a checkpoint is written."""
    check_batch(config.pairs_per_step, process_count(config), parts=config.accumulate)
    draft = draft_backbone(store, config, shards)
    if (done := draft.published()) is not None:
        return done
    with joined(data_timeout_s=config.data_timeout_s) as processes, stop_requests() as stop, exact_float32():
        address = draft.uri.rpartition("/")[2]
        curves = Curves(store.child(f"{CURVES}/{curves_name(config, address)}") if processes.first else None)
        with closing(curves):
            network, at = train(config, shards, draft.store, cache, processes, stop, curves)
        published = processes.jointly(
            lambda: _publish(draft, config, network, at, processes.count) if processes.first else None
        )
    artifact = published or draft.published()
    assert artifact is not None, "rank 0 publishes before the others go on"
    return artifact


def train(
    config: PretrainConfig,
    shards: Artifact,
    store: Store,
    cache: Path,
    processes: Processes,
    stop: StopRequests,
    curves: Curves | None = None,
) -> tuple[ComFace, Position]:
    """Train, and return the network and the final position with its curve. `store`: the location of the checkpoints."""
    # Data: the pairs of every step (each process takes its share), and the same held-out pairs after each epoch.
    pairs = training_pairs(shards, config, cache, processes)
    held_out = held_out_pairs(shards, config, cache, pairs.range_E)
    sources = [pairs, held_out] if processes.first else [pairs]
    check_memory(config.loader_workers, processes, sources)

    # Networks f, g and l, and their optimiser: initialised from the seed, or restored from the last checkpoint.
    network = build_network(config, pairs.sampler.s_max)
    network.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.batchnorm == "global":
        over_all_processes(network, processes)
    optimizer = build_optimizer(network, config)
    gauges = Gauges(config, processes, curves)
    checkpoints = Checkpoints(store, config, network, optimizer, processes, gauges)
    at = checkpoints.resume(pairs.steps_per_epoch)
    gauges.begin(at)
    train_step = TrainStep(network, optimizer, config, processes)

    def read() -> None:
        """Wait for the steps that were launched, and note their losses."""
        at.note(reading := train_step.read())
        gauges.stepped(at, reading, pairs.range_E[at.epoch - 1])
        if (step := first_nonfinite(reading, at)) is not None:
            error = nonfinite_error(step, reading, at, pairs, config, store, shards)
            gauges.diverged()
            raise processes.first_error(error) or error  # all wait for the one whose metrics are being read

    def together(feed: Iterable[T]) -> Iterator[T]:
        """Yield from `feed`. If it ends early, which all processes then do, save a checkpoint first."""
        try:
            yield from agreed(feed, stop, processes)
        except ComfaceError as error:
            read()
            raise _ended(error, at, checkpoints.save_now(at)) from None

    # Each epoch: steps, every READ_EVERY steps a reading and perhaps a checkpoint; then validation and a checkpoint.
    items = range(at.steps_done, config.epochs * pairs.steps_per_epoch)
    with (
        closing(checkpoints),
        Loader(sources, config.loader_workers, config.data_timeout_s) as loader,
        closing(on_device(loader, pairs, items, processes.device)) as loaded,
    ):

        def held_out_batches(s: float) -> Iterator[Batch]:
            with closing(on_device(loader, held_out, held_out.within(s), processes.device)) as feed:
                yield from together(feed)  # if it ends early, copies from the loader's memory end before the loader

        feed = profiled(together(gauges.waiting(loaded)), config, curves.store if curves else None, at)
        while at.epoch <= config.epochs:
            s = pairs.range_E[at.epoch - 1]
            train_step.network.train()
            for batch in _epoch(feed, f"epoch {at.epoch}/{config.epochs}, S = {s:.3g}", at, processes):
                train_step(batch, at)
                at.step += 1
                if at.step % READ_EVERY and at.step < at.steps_per_epoch:
                    continue
                read()
                if checkpoints.due:
                    checkpoints.save(at)
            if processes.first:
                size_px = config.size_px(at.epoch)
                ranges = validated_ranges(held_out, s)
                found = validate_epoch(network, held_out_batches, ranges, size_px, config, processes.device)
                at.curve.append({"epoch": at.epoch, "s": s, "size_px": size_px, **at.sums.means(), **found})
                gauges.validated(at, at.curve[-1])
                logger.info(f"epoch {at.epoch}/{config.epochs}: {describe(at.curve[-1])}")
            else:
                for _ in validated_ranges(held_out, s):
                    deque(together(range(held_out.steps_per_epoch)), maxlen=0)
            at.end_epoch()
            checkpoints.save(at)
    checkpoints.flush()
    return network, at


def _epoch(feed: Iterator[Batch], what: str, at: Position, processes: Processes) -> Iterator[Batch]:
    """Yield the remaining batches of an epoch; the first process shows progress."""
    left = at.steps_per_epoch - at.step
    rest = itertools.islice(feed, left)
    return shown(rest, what, total=left, unit="step") if processes.first else rest


def _ended(error: ComfaceError, at: Position, is_saved: bool) -> ComfaceError:
    """Return the error with which the training ends. A request to stop says where."""
    if not isinstance(error, Preempted):
        return error
    kept = "it is saved" if is_saved else "only its last checkpoint is saved"
    return Preempted(f"Pre-training was asked to stop at epoch {at.epoch}, step {at.step}; {kept}, run it again.")


def _publish(draft: Draft, config: PretrainConfig, network: ComFace, at: Position, processes: int) -> Artifact:
    kept = {
        key: tensor.contiguous().cpu()
        for key, tensor in network.state_dict().items()
        if key.startswith(("backbone.", "head."))
    }
    draft.write("model.safetensors", safetensors.torch.save(kept))
    draft.write_json("curve.json", at.curve)
    draft.write("curve.png", draw_curve(at.curve))
    steps = at.steps_per_epoch * config.epochs
    facts = {"steps": steps, "pairs": steps * config.pairs_per_step, "validation": at.curve[-1]["validation"]}
    artifact = draft.publish(facts, processes=processes)
    checkpoint.delete(draft.store)
    return artifact
