"""Pretrain: trains f, g and l on shards of tracks (sections 3.2, 3.3 and 4.1).

In: an artifact of kind `shards`. Out: an artifact of kind `backbone`: `model.safetensors` (keys `backbone.*` and
`head.*`), `curve.json`, `curve.png`. It runs under plain Python and under `torchrun`. A training that was killed
resumes from its last checkpoint and ends with identical bits.

`train` is the whole training from top to bottom. The functions that it calls are below it or in modules of their names.

Legend: N pairs of this process, P projection width.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from comface.artifacts.manifest import Artifact, Draft
from comface.errors import DataError, Preempted
from comface.pretrain.augment import Draws
from comface.pretrain.checkpoint import CHECKPOINT, Checkpoints
from comface.pretrain.config import PretrainConfig
from comface.pretrain.curve import draw_curve
from comface.pretrain.data import Batch, held_out_pairs, training_pairs
from comface.pretrain.draft import draft_backbone
from comface.pretrain.gauges import Gauges
from comface.pretrain.loaders import batches, check_shared_memory, loader_failures
from comface.pretrain.network import ComFace
from comface.pretrain.objective import losses_of
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes, joined
from comface.pretrain.stop import StopRequested, StopRequests, stop_requests
from comface.pretrain.validation import describe, validate_epoch
from comface.runtime.progress import shown
from comface.seeds import derive_seed
from comface.store import Store

logger = logging.getLogger(__name__)

AGREE_EVERY = 10
"""Steps between two checks by all processes whether one was asked to stop. Each check waits for the slowest process."""
WARM_UP = 0.05
"""Share of all steps during which the learning rate rises to its configured value, before the cosine decay."""


def pretrain(store: Store, config: PretrainConfig, shards: Artifact, cache: Path) -> Artifact:
    """Publish the `backbone` artifact, or return it if it exists. `cache`: folder for local copies of shards from an s3://
    store.

    Raises Preempted after SIGTERM or SIGINT, with a checkpoint written; ConfigurationError if the shards have too few
    identities for a batch; DataError if the loss is not finite or data are damaged; TryAgain if a loader process was
    killed."""
    draft = draft_backbone(store, config, shards)
    if (done := draft.published()) is not None:
        return done
    with joined() as processes, stop_requests() as stop, loader_failures():
        network, at = train(config, shards, draft.store, cache, processes, stop)
        published = _publish(draft, config, network, at, processes.count) if processes.first else None
        processes.wait()
    artifact = published or draft.published()
    assert artifact is not None, "rank 0 publishes before the others leave the barrier"
    return artifact


def train(
    config: PretrainConfig, shards: Artifact, store: Store, cache: Path, processes: Processes, stop: StopRequests
) -> tuple[ComFace, Position]:
    """Train, and return the network and the final position with its curve. `store`: the location of the checkpoints."""
    # Data: the pairs of every step (each process takes its share), and the same held-out pairs after each epoch.
    pairs = training_pairs(shards, config, cache, processes)
    held_out = held_out_pairs(shards, config, cache, pairs.range_E)
    check_shared_memory(config.loader_workers, processes, config.pairs_per_step, pairs.reader.image_size_px)

    # Networks f, g and l, and their optimiser: initialised from the seed, or restored from the last checkpoint.
    network = build_network(config, pairs.sampler.s_max)
    network.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(network, config)
    gauges = Gauges(config, processes)
    checkpoints = Checkpoints(store, config, network, optimizer, processes, gauges)
    at = checkpoints.resume(pairs.steps_per_epoch)
    parallel = _in_parallel(network, config, processes)

    # Each epoch: steps with periodic checkpoints, then validation and a checkpoint.
    items = range(at.steps_done, config.epochs * pairs.steps_per_epoch)
    with closing(batches(pairs, items, config.loader_workers)) as read:
        feed = gauges.waiting(_saved_when_stopped(stop.stoppable(read), checkpoints, at))
        while at.epoch <= config.epochs:
            s = pairs.range_E[at.epoch - 1]
            parallel.train()
            for batch in _epoch(feed, f"epoch {at.epoch}/{config.epochs}, S = {s:.3g}", at, processes):
                at.end_step(*train_step(parallel, optimizer, batch, config, processes, at))
                gauges.stepped(at)
                _check_finite(at, gauges)
                asked = at.step % AGREE_EVERY == 0 and processes.agree(stop.requested)
                if asked or checkpoints.due:
                    checkpoints.save(at)
                if asked:
                    raise _preempted(at, checkpoints)
            if processes.first:
                found = validate_epoch(network, held_out, s, config, processes.device)
                at.curve.append({"epoch": at.epoch, "s": s, **at.sums.means(), **found})
                logger.info(f"epoch {at.epoch}/{config.epochs}: {describe(at.curve[-1])}")
            at.end_epoch()
            checkpoints.save(at)
    return network, at


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: PretrainConfig,
    processes: Processes,
    at: Position,
) -> tuple[float, float]:
    """Do one step on this process's pairs. Returns (L_inter over all pairs, mean of L_intra over the processes); 0 for
    a loss that is not used. `network`: ComFace, or its wrapper for several processes."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, at) * group["factor"]
    draw = torch.Generator().manual_seed(derive_seed(config.seed, "views", at.epoch, at.step))
    losses = losses_of(network, batch, config, processes, Draws(draw, config.pairs_per_step, processes.share))
    optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    optimizer.step()
    inter = float(losses.inter.detach()) if losses.inter is not None else 0.0
    intra = float(processes.mean(losses.intra.detach())) if losses.intra is not None else 0.0
    return inter, intra


def learning_rate(config: PretrainConfig, at: Position) -> float:
    """Return the learning rate of the next step: constant, then halved from `halve_at_epoch` on (section 4.1); or
    cosine decay to zero after a warm-up."""
    if not config.cosine:
        halved = config.halve_at_epoch is not None and at.epoch >= config.halve_at_epoch
        return config.learning_rate * (0.5 if halved else 1.0)
    done = at.steps_done / (config.epochs * at.steps_per_epoch)
    warm = min(1.0, (done + 1e-9) / WARM_UP)  # positive at the first step too
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * done))


def build_network(config: PretrainConfig, s_max: float) -> ComFace:
    """Build f, g and l with random weights from the seed. `s_max`: the largest change within a track."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "weights") & (2**63 - 1))  # torch takes 63 bits
        network = ComFace(config.backbone, config.projection_hidden, config.projection_width, config.image_size_px)
    if config.learning != "inter":
        # l starts at the mean change of the first epoch (the mean distance of two uniform alphas is a third of their
        # range). Otherwise the bias needs the first epochs to reach it.
        nn.init.constant_(network.head.linear.bias, s_max / 3 if config.target == "absolute" else 0.0)
    return network


def build_optimizer(network: ComFace, config: PretrainConfig) -> torch.optim.Optimizer:
    """Build Adam or AdamW. `factor`: multiplier of a group's learning rate, so that l can learn faster than f and g."""
    groups = [
        {"params": [*network.backbone.parameters(), *network.projection.parameters()], "factor": 1.0},
        {"params": [*network.head.parameters()], "factor": config.head_rate_factor},
    ]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _in_parallel(network: ComFace, config: PretrainConfig, processes: Processes) -> nn.Module:
    """Wrap `network` so that gradients are averaged over the processes. If one loss is not used, g or l has no
    gradient. Each process keeps its own BatchNorm statistics."""
    if processes.count == 1:
        return network
    unused = config.learning != "both"
    return nn.parallel.DistributedDataParallel(network, find_unused_parameters=unused, broadcast_buffers=False)


def _epoch(feed: Iterator[Batch], what: str, at: Position, processes: Processes) -> Iterator[Batch]:
    """Yield the remaining batches of an epoch; the first process shows progress."""
    left = at.steps_per_epoch - at.step
    rest = itertools.islice(feed, left)
    return shown(rest, what, total=left, unit="step") if processes.first else rest


def _saved_when_stopped(feed: Iterator[Batch], checkpoints: Checkpoints, at: Position) -> Iterator[Batch]:
    """Yield from `feed`. If a request to stop ends the wait for data, save a checkpoint and raise Preempted."""
    try:
        yield from feed
    except StopRequested:
        checkpoints.save(at)
        raise _preempted(at, checkpoints) from None


def _preempted(at: Position, checkpoints: Checkpoints) -> Preempted:
    kept = "it is saved" if checkpoints.is_saved else "only its last checkpoint is saved"
    return Preempted(f"Pre-training was asked to stop at epoch {at.epoch}, step {at.step}; {kept}, run it again.")


def _check_finite(at: Position, gauges: Gauges) -> None:
    if not math.isfinite(at.sums.inter + at.sums.intra):
        gauges.diverged()
        raise DataError(
            f"The loss is not finite at epoch {at.epoch}, step {at.step - 1}; lower pretrain.learning_rate, or check "
            "the shards. The last checkpoint is kept."
        )


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
    draft.store.delete(CHECKPOINT)
    return artifact
