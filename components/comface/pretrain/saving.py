"""When checkpoints are written and deleted, and from which one a training resumes.

A checkpoint is copied to the host's memory and written by a thread while training continues. Only one is written at a
time. The newest `keep_checkpoints` are kept, and the best one (`best_of`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import Any

import torch

from comface.errors import TryAgain
from comface.pretrain import checkpoint
from comface.pretrain.config import PretrainConfig
from comface.pretrain.gauges import Gauges
from comface.pretrain.network import ComFace
from comface.pretrain.position import Position, Sums
from comface.pretrain.processes import Processes
from comface.store import Store

CLOSE_S = 15.0
logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training. Every process reads them; the first process writes them."""

    def __init__(
        self,
        store: Store,
        config: PretrainConfig,
        network: ComFace,
        optimizer: torch.optim.Optimizer,
        processes: Processes,
        gauges: Gauges,
    ) -> None:
        self.store, self.config, self.network, self.optimizer = store, config, network, optimizer
        self.processes, self.gauges = processes, gauges
        self.is_saved = True
        """Whether the last attempt to save succeeded."""
        self._tried_s = time.monotonic()
        self._last: tuple[str, int] | None = None
        self._writing: threading.Thread | None = None
        self._failure: Exception | None = None

    @property
    def due(self) -> bool:
        idle = self._writing is None or not self._writing.is_alive()
        return idle and time.monotonic() - self._tried_s > self.config.checkpoint_every_s

    def resume(self, steps_per_epoch: int) -> Position:
        """Return the position at which training starts: the first step, or the position of the last checkpoint, after
        restoring network and optimiser. The first process chooses the checkpoint. Raises DataError if it does not fit
        the training."""
        saved = self.processes.jointly(lambda: checkpoint.newest(self.store) if self.processes.first else None)
        steps = self.processes.as_first(-1 if saved is None else checkpoint.steps_of(saved.key))
        if steps < 0:
            return Position(steps_per_epoch)
        at = self.processes.jointly(lambda: self._restored(checkpoint.key_of(steps), saved, steps_per_epoch))
        if self.processes.first:
            logger.info(f"Resuming pre-training at epoch {at.epoch}, step {at.step}, from its last checkpoint")
        return at

    def _restored(self, key: str, saved: checkpoint.Saved | None, steps_per_epoch: int) -> Position:
        state = saved.state if saved else checkpoint.load(self.store, key)
        if state is None:
            raise TryAgain(f"The checkpoint '{key}' in {self.store.uri} can no longer be read; run again.")
        try:
            at = Position(steps_per_epoch, state["epoch"], state["step"], Sums(**state["sums"]), state["curve"])
            self.network.load_state_dict(state["network"])
            rates = self.optimizer.state_dict()["param_groups"]  # determined by the configuration
            self.optimizer.load_state_dict({**state["optimizer"], "param_groups": rates})
            if not _fits(at, self.config.epochs):
                raise checkpoint.foreign(self.store, key)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            raise checkpoint.foreign(self.store, key) from None
        return at

    def save(self, at: Position) -> None:
        """Begin to write a checkpoint, unless this position was the last that was written; `flush` waits for it. If the
        store is unavailable, training continues and the next checkpoint tries again. Raises any other error of the
        writing."""
        self.flush()
        key = checkpoint.key_of(at.steps_done)
        if self.is_saved and self._last == (key, len(at.curve)):
            return
        self._tried_s, self.is_saved, self._last = time.monotonic(), True, (key, len(at.curve))
        self.gauges.saving(at)
        if not self.processes.first:
            self.gauges.saved()
            return
        state = _on_host(
            {
                "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": at.epoch,
                "step": at.step, "sums": vars(at.sums), "curve": at.curve,
            }
        )  # fmt: skip
        self._writing = threading.Thread(target=self._write, args=(key, state, best_of(at)), daemon=True)
        self._writing.start()

    def save_now(self, at: Position) -> bool:
        """Write a checkpoint while all processes wait: torchrun would stop the first one soon after another has ended.
        Returns in all of them whether it is written. Raises in all of them what `save` raises in one."""

        def written() -> None:
            self.save(at)
            self.flush()

        self.processes.jointly(written)
        return not self.processes.agree(not self.is_saved)

    def flush(self) -> None:
        """Wait until the checkpoint that is being written is complete."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Wait at most CLOSE_S for the checkpoint that is being written, while the training ends with an error."""
        if self._writing is not None:
            self._writing.join(CLOSE_S)

    def _write(self, key: str, state: dict[str, Any], best: str | None) -> None:
        try:
            checkpoint.save(self.store, key, state)
            self.gauges.saved()
            keep = {*checkpoint.checkpoints_in(self.store)[: self.config.keep_checkpoints], best}
            checkpoint.delete(self.store, keep)
        except TryAgain as error:
            logger.warning(f"The checkpoint was not saved, and the training continues without it: {error}")
            self.is_saved = False
        except Exception as error:  # raised in the training by flush
            self._failure = error


def best_of(at: Position) -> str | None:
    """Return the key of the checkpoint after the epoch with the best held-out correlation over the whole range (without
    L_intra: the lowest L_inter); None before the first epoch ends."""

    def merit(record: Mapping[str, Any]) -> float:
        found = record["validation"]
        value = found["corr"] if found["corr"] is not None else -found["loss_inter"]
        return value if math.isfinite(value) else -math.inf

    if not at.curve:
        return None
    return checkpoint.key_of(max(at.curve, key=merit)["epoch"] * at.steps_per_epoch)


def _on_host(value: Any) -> Any:
    """Return a copy in the host's memory that the training no longer changes."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _on_host(each) for key, each in value.items()}
    return [_on_host(each) for each in value] if isinstance(value, list) else value


def _fits(at: Position, epochs: int) -> bool:
    whole = (type(at.epoch), type(at.step), type(at.curve), at.sums.steps) == (int, int, list, at.step)
    begun = 1 <= at.epoch <= epochs and 0 <= at.step <= at.steps_per_epoch
    ended = (at.epoch, at.step) == (epochs + 1, 0)
    return whole and (begun or ended) and len(at.curve) == at.epoch - 1 and math.isfinite(at.sums.inter + at.sums.intra)
