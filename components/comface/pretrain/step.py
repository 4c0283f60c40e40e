"""Pretrain: learn f, g and l from shards of tracks (sections 3.2, 3.3, 4.1).

In: an artifact of kind `shards`. Out: an artifact of kind `backbone`: `model.safetensors` (keys `backbone.*` and
`head.*`), `curve.json`, `curve.png`. Runs under plain Python and under `torchrun`; a killed run goes on from its last
checkpoint and ends with the same bits.
"""

from __future__ import annotations

import itertools
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from comface.artifacts.manifest import Artifact, Draft
from comface.errors import DataError, Preempted, TryAgain
from comface.pretrain import checkpoint
from comface.pretrain.config import PretrainConfig
from comface.pretrain.curriculum import change_range
from comface.pretrain.curve import draw_curve
from comface.pretrain.data import Batch, PairImages, batches, check_shared_memory, loader_failures
from comface.pretrain.draft import draft_backbone
from comface.pretrain.loop import Sums, build_optimizer, train_steps, validate
from comface.pretrain.network import ComFace
from comface.pretrain.pairs import PairSampler
from comface.pretrain.processes import Processes, joined
from comface.runtime.monitoring import Monitor, open_monitor
from comface.runtime.progress import shown
from comface.seeds import derive_seed
from comface.store import Store
from comface.tracks.shard_reader import ShardReader

logger = logging.getLogger(__name__)

AGREE_EVERY = 10
"""Steps between two looks, together, whether one process was asked to stop."""
VALIDATION_STEPS = 8
WAIT_S = 10.0
"""How long after a request to stop a process may still wait for data."""


def pretrain(store: Store, config: PretrainConfig, shards: Artifact, cache: Path) -> Artifact:
    """Train, or find trained, the backbone. `cache` holds local copies of shards from an s3:// store.

    Raises Preempted after SIGTERM or SIGINT, with a checkpoint written; ConfigurationError when the shards hold too
    few identities for a batch; DataError when the loss is no longer finite or data are damaged; TryAgain when a loader
    process was killed."""
    draft = draft_backbone(store, config, shards)
    if (done := draft.published()) is not None:
        return done
    with joined() as processes, stop_requests() as stop, loader_failures():
        training = Training(config, shards, draft.store, cache, processes, stop)
        training.run()
        if processes.first:
            artifact = _publish(draft, training)
        processes.wait()
    return artifact if processes.first else _published(draft)


def _published(draft: Draft) -> Artifact:
    artifact = draft.published()
    assert artifact is not None, "rank 0 publishes before the others leave the barrier"
    return artifact


class Training:
    """A training under way: network, optimiser and where it stands. Its lifetime is one process's run."""

    def __init__(
        self,
        config: PretrainConfig,
        shards: Artifact,
        store: Store,
        cache: Path,
        processes: Processes,
        stop: StopRequests,
    ) -> None:
        self.config, self.store, self.processes, self.stop = config, store, processes, stop
        reader = ShardReader(shards, "train", cache)
        check_shared_memory(config.loader_workers, processes, config.pairs_per_step, reader.image_size_px)
        sampler = _sampler(reader, config.pairs_per_step, config.seed)
        self.s_max = float(sampler.alpha_A.max() - sampler.alpha_A.min())
        self.range_E = [
            change_range(epoch, self.s_max, config.curriculum_ends) if config.curriculum else self.s_max
            for epoch in range(1, config.epochs + 1)
        ]
        self.steps_per_epoch = config.steps_per_epoch or sampler.full_epoch_steps
        self.images = PairImages(reader, sampler, processes, self.steps_per_epoch, self.range_E)
        self.held_out = _held_out(ShardReader(shards, "validation", cache), config)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(config.seed, "weights") & (2**63 - 1))
            self.network = ComFace(config.backbone, config.projection_hidden, config.projection_width)
        if config.learning != "inter":
            # The expected |change| of the first epoch: else the bias spends its first epochs on finding the mean.
            nn.init.constant_(self.network.head.linear.bias, self.s_max / 3 if config.target == "absolute" else 0.0)
        self.network.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.network, config)
        self.epoch, self.step, self.sums, self.curve = 1, 0, Sums(), list[dict[str, Any]]()
        self._resume()
        self.wrapped: nn.Module = self.network
        if processes.count > 1:
            self.wrapped = nn.parallel.DistributedDataParallel(
                self.network, find_unused_parameters=config.learning != "both", broadcast_buffers=False
            )
        self._saved_s, self._is_saved = time.monotonic(), True
        self.monitor = open_monitor() if processes.local_rank == 0 else Monitor()
        self.monitor.set("comface_pretrain_checkpoint_every_seconds", config.checkpoint_every_s)
        for moment in ("step", "checkpoint"):
            self.monitor.now(f"comface_pretrain_last_{moment}_timestamp_seconds")

    def run(self) -> None:
        begun = (self.epoch - 1) * self.steps_per_epoch + self.step
        items = range(begun, self.config.epochs * self.steps_per_epoch)
        with closing(batches(self.images, items, self.config.loader_workers)) as read:
            feed = self.monitor.waiting("comface_pretrain_data_wait_seconds_total", self._stoppable(read))
            while self.epoch <= self.config.epochs:
                self._run_epoch(feed)
                self.epoch, self.step, self.sums = self.epoch + 1, 0, Sums()
                self._save()

    def _stoppable(self, feed: Iterator[Batch]) -> Iterator[Batch]:
        """`feed`, where a request to stop also ends the wait for data that do not come."""
        while True:
            try:
                with self.stop.waiting():
                    batch = next(feed)
            except StopIteration:
                return
            except StopRequested:
                self._save()
                raise self._preempted() from None
            yield batch

    def _run_epoch(self, feed: Iterator[Batch]) -> None:
        config, s = self.config, self.range_E[self.epoch - 1]
        steps = range(self.step, self.steps_per_epoch)
        feed = itertools.islice(feed, len(steps))
        if self.processes.first:
            feed = shown(feed, f"epoch {self.epoch}/{config.epochs}, S = {s:g}", total=len(steps), unit="step")
        train_steps(
            self.wrapped, self.optimizer, feed, config, self.processes, self.epoch, steps, self.steps_per_epoch,
            self.sums, self._after_step,
        )  # fmt: skip
        if not self.processes.first:
            return
        checks = batches(self.held_out, range(self.held_out.steps_per_epoch), 0)
        validation = validate(self.network, checks, config, self.processes)
        self.curve.append({"epoch": self.epoch, "s": s, **self.sums.record(), "validation": validation})
        logger.info(f"epoch {self.epoch}/{config.epochs}: {describe(self.curve[-1])}")

    def _after_step(self, step: int) -> None:
        self.step = step + 1
        self._tell()
        if not (self.sums.inter + self.sums.intra < float("inf")):
            self.monitor.add("comface_pretrain_nonfinite_losses_total")
            self.monitor.linger()
            raise DataError(
                f"The loss is not finite at epoch {self.epoch}, step {step}; lower pretrain.learning_rate or look at "
                "the shards. The last checkpoint is kept."
            )
        due = time.monotonic() - self._saved_s > self.config.checkpoint_every_s
        stop = self.step % AGREE_EVERY == 0 and self.processes.agree(self.stop.requested)
        if due or stop:
            self._save()
        if stop:
            raise self._preempted()

    def _preempted(self) -> Preempted:
        kept = "it is saved" if self._is_saved else "only its last checkpoint is saved"
        return Preempted(
            f"Pre-training was asked to stop at epoch {self.epoch}, step {self.step}; {kept}, run it again."
        )

    def _tell(self) -> None:
        if not self.monitor:
            return
        self.monitor.now("comface_pretrain_last_step_timestamp_seconds")
        self.monitor.set("comface_pretrain_epoch", self.epoch)
        self.monitor.set("comface_pretrain_step", self.step)
        self.monitor.add("comface_pretrain_pairs_total", self.config.pairs_per_step)
        for name, value in self.sums.record().items():
            if value is not None:
                self.monitor.set("comface_pretrain_loss", value, kind=name.removeprefix("loss_"))

    def _save(self) -> None:
        """Write a checkpoint. A store that cannot take it now costs no training: the next checkpoint tries again."""
        self._saved_s = time.monotonic()
        if self.processes.first:
            state = {
                "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch,
                "step": self.step, "sums": vars(self.sums), "curve": self.curve,
            }  # fmt: skip
            try:
                checkpoint.save(self.store, state)
            except TryAgain as error:
                logger.warning(f"The checkpoint was not saved, and the training continues without it: {error}")
                self._is_saved = False
                return
        self._is_saved = True
        self.monitor.now("comface_pretrain_last_checkpoint_timestamp_seconds")

    def _resume(self) -> None:
        state = checkpoint.load(self.store)
        if state is None:
            return
        self.epoch, self.step, self.sums, self.curve = checkpoint.restore(
            self.store, state, self.network, self.optimizer, self.config.epochs, self.steps_per_epoch
        )
        if self.processes.first:
            logger.info(f"Resuming pre-training at epoch {self.epoch}, step {self.step}, from its last checkpoint")


def describe(record: dict[str, Any]) -> str:
    """One line for a log: losses and what the held-out identities say."""
    validation = record["validation"]
    values = {
        "L_inter": record["loss_inter"], "L_intra": record["loss_intra"], "held-out corr": validation["corr"],
        "same face found": validation["top1"],
    }  # fmt: skip
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if value is not None)


def _sampler(reader: ShardReader, pairs_per_step: int, seed: int) -> PairSampler:
    identities = [item.track.identity for item in reader.tracks]
    return PairSampler(identities, reader.tracks[0].track.alphas, pairs_per_step, seed, reader.usable())


def _held_out(reader: ShardReader, config: PretrainConfig) -> PairImages:
    """The pairs that every validation is made of: the same ones at each epoch, over the whole range of changes."""
    people = len({item.track.identity for item in reader.tracks})
    sampler = _sampler(reader, min(config.pairs_per_step, people), derive_seed(config.seed, "validation"))
    steps = min(VALIDATION_STEPS, sampler.full_epoch_steps)
    alone = Processes(0, 1, torch.device("cpu"))
    return PairImages(reader, sampler, alone, steps, [float(np.ptp(sampler.alpha_A))])


def _publish(draft: Draft, training: Training) -> Artifact:
    state = training.network.state_dict()
    kept = {k: v.contiguous().cpu() for k, v in state.items() if k.startswith(("backbone.", "head."))}
    draft.write("model.safetensors", safetensors.torch.save(kept))
    draft.write_json("curve.json", training.curve)
    draft.write("curve.png", draw_curve(training.curve))
    artifact = draft.publish(
        {
            "steps": training.steps_per_epoch * training.config.epochs,
            "pairs": training.steps_per_epoch * training.config.epochs * training.config.pairs_per_step,
            "validation": training.curve[-1]["validation"],
        }
    )
    draft.store.delete(checkpoint.CHECKPOINT)
    return artifact


class StopRequested(BaseException):
    """Raised in the middle of a wait, so no handler of errors may take it for one."""


class StopRequests:
    """Whether SIGTERM or SIGINT has arrived. All processes stop together, after a step. One that waits for data longer
    than WAIT_S after the request stops alone: there may be no further step. A second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    def note(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt
        if number == signal.SIGALRM and self._waiting:
            self._waiting = False
            raise StopRequested
        self.requested = True
        signal.setitimer(signal.ITIMER_REAL, WAIT_S)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    stop = StopRequests()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.signal(number, stop.note) for number in numbers}
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
