"""Where a training stands: what a checkpoint holds beside network and optimiser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Sums:
    """Running sums of an epoch, so that a resumed epoch reports what an uninterrupted one does."""

    steps: int = 0
    inter: float = 0.0
    intra: float = 0.0

    def means(self) -> dict[str, float | None]:
        """Of each loss; None for one that is not learned."""
        steps = max(1, self.steps)
        return {"loss_inter": self.inter / steps or None, "loss_intra": self.intra / steps or None}


@dataclass
class Position:
    """`epoch` is under way (counted from 1), `step` of its steps are done; `curve` has a record per epoch before it."""

    steps_per_epoch: int
    epoch: int = 1
    step: int = 0
    sums: Sums = field(default_factory=Sums)
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def steps_done(self) -> int:
        """Of all epochs."""
        return (self.epoch - 1) * self.steps_per_epoch + self.step

    def end_step(self, inter: float, intra: float) -> None:
        self.step += 1
        self.sums.steps += 1
        self.sums.inter += inter
        self.sums.intra += intra

    def end_epoch(self) -> None:
        self.epoch, self.step, self.sums = self.epoch + 1, 0, Sums()
