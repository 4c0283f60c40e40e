"""Checkpoints of an unfinished training: model, optimiser, position and the curve so far, in one atomic object.

The object is sha256 (32 bytes) + a torch file that is read with `weights_only=True`. It contains the address of its
training, so a checkpoint of another training is rejected. Random numbers depend on (seed, epoch, step) only, so the
checkpoint contains everything that is needed to resume with identical bits.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import pickle
import time
import zipfile
from typing import Any

import torch

from comface.errors import DataError, TryAgain
from comface.pretrain.config import PretrainConfig
from comface.pretrain.gauges import Gauges
from comface.pretrain.network import ComFace
from comface.pretrain.position import Position, Sums
from comface.pretrain.processes import Processes
from comface.store import Store
from comface.weights.pickle_machine import Refused
from comface.weights.torch_files import DAMAGED, check_zip

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
ANEW = f"delete its object '{CHECKPOINT}' to start again"
CHECKPOINT_BYTES = 64 << 30
"""Maximum size in bytes of a checkpoint that is read."""


def save(store: Store, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save({**state, "training": _training(store)}, buffer)
    data = buffer.getvalue()
    store.write(CHECKPOINT, hashlib.sha256(data).digest() + data)


def load(store: Store) -> dict[str, Any] | None:
    """Return the last saved state, or None if there is none. Raises DataError if it is damaged or belongs to another
    training."""
    try:
        data = store.read(CHECKPOINT, CHECKPOINT_BYTES)
    except DataError:
        if store.exists(CHECKPOINT):
            raise
        return None  # there is no checkpoint, or a concurrent run has just finished and deleted it
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise DataError(f"The checkpoint in {store.uri} is damaged; {ANEW}.")
    try:
        check_zip(zipfile.ZipFile(io.BytesIO(data[32:])), len(data))  # no entry is compressed or larger than the file
        state = torch.load(io.BytesIO(data[32:]), map_location="cpu", weights_only=True)
    except (Refused, *DAMAGED, pickle.UnpicklingError):
        raise DataError(f"The checkpoint in {store.uri} was not written by pre-training; {ANEW}.") from None
    if not isinstance(state, dict) or state.pop("training", None) != _training(store):
        raise _foreign(store)
    return state


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

    @property
    def due(self) -> bool:
        return time.monotonic() - self._tried_s > self.config.checkpoint_every_s

    def resume(self, steps_per_epoch: int) -> Position:
        """Return the position at which training starts: the first step, or the position of the last checkpoint, after
        restoring network and optimiser. Raises DataError if the checkpoint does not fit the training."""
        state = load(self.store)
        if state is None:
            return Position(steps_per_epoch)
        try:
            at = Position(steps_per_epoch, state["epoch"], state["step"], Sums(**state["sums"]), state["curve"])
            self.network.load_state_dict(state["network"])
            rates = self.optimizer.state_dict()["param_groups"]  # determined by the configuration
            self.optimizer.load_state_dict({**state["optimizer"], "param_groups": rates})
            if not _fits(at, self.config.epochs):
                raise _foreign(self.store)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            raise _foreign(self.store) from None
        if self.processes.first:
            logger.info(f"Resuming pre-training at epoch {at.epoch}, step {at.step}, from its last checkpoint")
        return at

    def save(self, at: Position) -> None:
        """Write a checkpoint. If the store is unavailable, training continues and the next checkpoint tries again."""
        self._tried_s, self.is_saved = time.monotonic(), True
        self.gauges.saving(at)
        if self.processes.first:
            state = {
                "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": at.epoch,
                "step": at.step, "sums": vars(at.sums), "curve": at.curve,
            }  # fmt: skip
            try:
                save(self.store, state)
            except TryAgain as error:
                logger.warning(f"The checkpoint was not saved, and the training continues without it: {error}")
                self.is_saved = False
                return
        self.gauges.saved()


def _fits(at: Position, epochs: int) -> bool:
    whole = (type(at.epoch), type(at.step), type(at.curve), at.sums.steps) == (int, int, list, at.step)
    begun = 1 <= at.epoch <= epochs and 0 <= at.step <= at.steps_per_epoch
    ended = (at.epoch, at.step) == (epochs + 1, 0)
    return whole and (begun or ended) and len(at.curve) == at.epoch - 1 and math.isfinite(at.sums.inter + at.sums.intra)


def _training(store: Store) -> str:
    """Return the address of the artifact in preparation: the last part of its URI."""
    return store.uri.rpartition("/")[2]


def _foreign(store: Store) -> DataError:
    return DataError(f"The checkpoint in {store.uri} does not belong to this training; {ANEW}.")
