"""What a person can watch of a training: Prometheus metrics (comface.runtime.monitoring) and curves (curves.py).

In: the position, the losses of the last steps, and after an epoch its held-out figures. Out: the metrics
`comface_pretrain_…` of METRICS, and the same numbers as curves over steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch

from comface.pretrain.config import PretrainConfig
from comface.pretrain.curves import Curves
from comface.pretrain.optimiser import learning_rate
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes
from comface.pretrain.step_losses import Reading
from comface.runtime.monitoring import Monitor, open_monitor

T = TypeVar("T")
GIB = 2**30


class Gauges:
    """The metrics of one training. One process per node serves them, because the processes of a node share the port;
    the first process of all writes the curves."""

    def __init__(self, config: PretrainConfig, processes: Processes, curves: Curves | None = None) -> None:
        self.config, self.device, self.curves = config, processes.device, curves or Curves()
        self._monitor = open_monitor() if processes.local_rank == 0 else Monitor()
        self._monitor.set("comface_pretrain_epochs", config.epochs)
        self._monitor.set("comface_pretrain_checkpoint_every_seconds", config.checkpoint_every_s)
        self._monitor.now("comface_pretrain_last_step_timestamp_seconds")
        self._restart_clock()
        self.saved()

    def begin(self, at: Position) -> None:
        """Continue the curves at the position of the last checkpoint, or start them."""
        self._monitor.set("comface_pretrain_steps_per_epoch", at.steps_per_epoch)
        self.curves.begin(_mark(at), self.config.canonical())
        self._restart_clock()

    def waiting(self, feed: Iterator[T]) -> Iterator[T]:
        """Yield from `feed`, and measure the time that training waits for it."""
        while True:
            started = time.monotonic()
            try:
                item = next(feed)
            except StopIteration:
                return
            waited_s = time.monotonic() - started
            self._waited_s += waited_s
            self._monitor.add("comface_pretrain_data_wait_seconds_total", waited_s)
            yield item

    def stepped(self, at: Position, reading: Reading, s: float) -> None:
        """Show the position and the losses that were read. `s`: the range S of the epoch."""
        steps, took_s = len(reading.inter_K), time.monotonic() - self._since_s
        pairs = steps * self.config.pairs_per_step
        shown = {
            "comface_pretrain_epoch": at.epoch,
            "comface_pretrain_step": at.step,
            "comface_pretrain_change_range": s,
            "comface_pretrain_view_pixels": self.config.size_px(at.epoch),
            "comface_pretrain_learning_rate": learning_rate(self.config, replace(at, step=max(0, at.step - 1))),
            "comface_pretrain_gradient_norm": reading.gradient_norm,
        }
        memory = _gpu_memory_bytes(self.device)
        self._monitor.now("comface_pretrain_last_step_timestamp_seconds")
        self._monitor.add("comface_pretrain_pairs_total", pairs)
        for name, value in shown.items():
            self._monitor.set(name, value)
        for kind, value in memory.items():
            self._monitor.set("comface_pretrain_gpu_memory_bytes", value, kind=kind)
        for name, mean in at.sums.means().items():
            if mean is not None:
                self._monitor.set("comface_pretrain_loss", mean, kind=name.removeprefix("loss_"))
        if steps:
            self.curves.add(at.steps_done, {
                "loss/inter": sum(reading.inter_K) / steps or None,
                "loss/intra": sum(reading.intra_K) / steps or None,
                **{f"training/{name.removeprefix('comface_pretrain_')}": value for name, value in shown.items()},
                "speed/pairs_per_s": pairs / took_s if took_s else None,
                "speed/share_of_time_waiting_for_data": self._waited_s / took_s if took_s else None,
                **{f"gpu_memory_gib/{kind}": value / GIB for kind, value in memory.items()},
            })  # fmt: skip
        self._restart_clock()

    def validated(self, at: Position, record: Mapping[str, Any]) -> None:
        """Show the held-out figures of an epoch: over the whole range of changes, and at the S of the epoch."""
        whole, same = record["validation"], record["held_out"]
        for span, found in (("whole", whole), ("epoch", same)):
            if found["corr"] is not None:
                self._monitor.set("comface_pretrain_held_out_correlation", found["corr"], range=span)
        for name in ("loss_inter", "loss_intra"):
            if same[name] is not None:
                self._monitor.set("comface_pretrain_held_out_loss", same[name], kind=name.removeprefix("loss_"))
        if whole["top1"] is not None:
            self._monitor.set("comface_pretrain_held_out_same_face", whole["top1"])
        self.curves.add(at.steps_done, {
            "held_out/correlation": whole["corr"], "held_out/correlation_within_S": same["corr"],
            "held_out/loss_inter": same["loss_inter"], "held_out/loss_intra": same["loss_intra"],
            "held_out/same_face_found": whole["top1"],
        })  # fmt: skip
        self._restart_clock()

    def saving(self, at: Position) -> None:
        """A checkpoint of this position is about to be saved: a resumed training continues the curves here."""
        self.curves.cut(_mark(at))
        self._restart_clock()

    def saved(self) -> None:
        """A checkpoint is in the store. Called by the thread that wrote it."""
        self._monitor.now("comface_pretrain_last_checkpoint_timestamp_seconds")

    def diverged(self) -> None:
        """Count a loss that is not finite, and wait until Prometheus has read it, because the training then ends."""
        self._monitor.add("comface_pretrain_nonfinite_losses_total")
        self._monitor.linger()

    def _restart_clock(self) -> None:
        self._since_s, self._waited_s = time.monotonic(), 0.0


def _mark(at: Position) -> int:
    """The number of finished steps and epochs: the end of an epoch, which adds held-out figures, counts like a step."""
    return at.steps_done + at.epoch - 1


def _gpu_memory_bytes(device: torch.device) -> dict[str, int]:
    """The most that tensors used so far, what PyTorch has reserved, and what the GPU has; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "used": torch.cuda.max_memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "size": torch.cuda.get_device_properties(device).total_memory,
    }
