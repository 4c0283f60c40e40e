"""Prometheus metrics of a training (comface.runtime.monitoring): progress, losses, time spent waiting for data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from comface.pretrain.config import PretrainConfig
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes
from comface.runtime.monitoring import Monitor, open_monitor

T = TypeVar("T")


class Gauges:
    """The metrics of one training. One process per node serves them, because the processes of a node share the port."""

    def __init__(self, config: PretrainConfig, processes: Processes) -> None:
        self._pairs = config.pairs_per_step
        self._monitor = open_monitor() if processes.local_rank == 0 else Monitor()
        self._monitor.set("comface_pretrain_checkpoint_every_seconds", config.checkpoint_every_s)
        self._monitor.now("comface_pretrain_last_step_timestamp_seconds")
        self.saved()

    def waiting(self, feed: Iterator[T]) -> Iterator[T]:
        return self._monitor.waiting("comface_pretrain_data_wait_seconds_total", feed)

    def stepped(self, at: Position, steps: int) -> None:
        """Show the position and the losses after `steps` further steps were read."""
        if not self._monitor:
            return
        self._monitor.now("comface_pretrain_last_step_timestamp_seconds")
        self._monitor.set("comface_pretrain_epoch", at.epoch)
        self._monitor.set("comface_pretrain_step", at.step)
        self._monitor.add("comface_pretrain_pairs_total", steps * self._pairs)
        for name, value in at.sums.means().items():
            if value is not None:
                self._monitor.set("comface_pretrain_loss", value, kind=name.removeprefix("loss_"))

    def saved(self) -> None:
        self._monitor.now("comface_pretrain_last_checkpoint_timestamp_seconds")

    def diverged(self) -> None:
        """Count a loss that is not finite, and wait until Prometheus has read it, because the training then ends."""
        self._monitor.add("comface_pretrain_nonfinite_losses_total")
        self._monitor.linger()
