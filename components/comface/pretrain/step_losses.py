"""The losses of the last steps, kept on the device until the training loop reads them.

A step only launches work. If the host read a loss after every step, it would wait for the device each time, and a GPU
would be idle while the host launches the next step. So the loop reads all losses since its last reading at once.

Legend: K steps since the last reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

READ_EVERY = 10
"""Steps between two readings. There the host waits for the device, checks the losses, updates metrics and curves, and
may save a checkpoint."""


class Reading(NamedTuple):
    """What the host learns at a reading."""

    inter_K: list[float]
    """L_inter over all pairs of each step, in order; 0 if it is not used."""
    intra_K: list[float]
    """L_intra of each step, the mean over the processes; 0 if it is not used."""
    gradient_norm: float
    """Euclidean norm of the gradient of the last step, over all parameters."""


class StepLosses:
    """L_inter and L_intra of up to `longest` steps, one row each, on the device. A loss is kept unchanged, and the host
    adds the losses in the order of the steps, so no result depends on when they are read."""

    def __init__(self, device: torch.device, longest: int = READ_EVERY) -> None:
        self._kept_K2 = torch.zeros(longest, 2, device=device)
        self._count = 0

    def add(self, inter: Tensor | None, intra: Tensor | None) -> None:
        """Keep the losses of a step (scalars on the device; None: not used), without waiting for them. Raises
        IndexError after `longest` steps without a reading."""
        for column, loss in enumerate((inter, intra)):
            kept = self._kept_K2[self._count, column]
            kept.zero_() if loss is None else kept.copy_(loss.detach())
        self._count += 1

    def read(self, parameters: Iterable[nn.Parameter]) -> Reading:
        """Return the losses since the last reading, and the norm of the gradient that `parameters` have now. The host
        waits for the device here, once."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients) if gradients else torch.zeros((), device=self._kept_K2.device)
        *losses, gradient_norm = torch.cat([self._kept_K2[: self._count].T.flatten(), norm.reshape(1)]).tolist()
        count, self._count = self._count, 0
        return Reading(losses[:count], losses[count:], gradient_norm)
