"""The progress of a training: the part of a checkpoint apart from network and optimiser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from comface.pretrain.step_losses import Reading


@dataclass
class Sums:
    """Running sums of the losses in an epoch. They are saved, so that a resumed epoch reports the same means."""

    steps: int = 0
    inter: float = 0.0
    intra: float = 0.0

    def means(self) -> dict[str, float | None]:
        """Return the mean of each loss; None if it is not used."""
        steps = max(1, self.steps)
        return {"loss_inter": self.inter / steps or None, "loss_intra": self.intra / steps or None}


@dataclass
class Position:
    """The current `epoch` (from 1), the number `step` of its steps so far, and `curve`, a record per finished epoch. A
    step counts when it is launched; its losses are in `sums` after the next reading (step_losses.py)."""

    steps_per_epoch: int
    epoch: int = 1
    step: int = 0
    sums: Sums = field(default_factory=Sums)
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def steps_done(self) -> int:
        """Number of steps so far in all epochs."""
        return (self.epoch - 1) * self.steps_per_epoch + self.step

    def note(self, reading: Reading) -> None:
        """Add the losses of the steps since the last reading."""
        self.sums.steps += len(reading.inter_K)
        for inter, intra in zip(reading.inter_K, reading.intra_K, strict=True):
            self.sums.inter += inter
            self.sums.intra += intra

    def end_epoch(self) -> None:
        self.epoch, self.step, self.sums = self.epoch + 1, 0, Sums()
