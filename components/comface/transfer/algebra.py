"""The two expensive parts of ridge regression: summing r^T r over pairs, and solving the normal equations.

In: blocks of inputs, or a positive definite system. Out: float64 arrays. Both run on the GPU if there is one and it
pays, otherwise in NumPy, without importing torch. Products are float32 (without TF32), sums and factors float64, on
either device.

Legend: P pairs of a block, D feature width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from comface.runtime.cores import GPU_FILE

Floats = NDArray[np.float64]
GPU_PAYS = 1e11
"""Multiplications; a core takes some seconds for them, as long as torch takes to start."""


def device_for(multiplications: float) -> str | None:
    """ "cuda" if there is a GPU and it pays, otherwise None: compute in NumPy."""
    if multiplications < GPU_PAYS or not GPU_FILE.exists():
        return None
    from comface.methods.encoder import best_device

    return "cuda" if best_device() == "cuda" else None


ROUNDING = 1e-5
"""A hundred times the unit of float32: the error of a sum over many products."""


class Gram:
    """The sum of r^T r over blocks of inputs r (P,D). `device`: None computes in NumPy."""

    def __init__(self, width: int, device: str | None) -> None:
        self.device = device
        self._sum_DD: Any = np.zeros((width, width))
        if device is not None:
            import torch

            self._sum_DD = torch.zeros((width, width), dtype=torch.float64, device=device)

    def add(self, r_PD: NDArray[np.float32]) -> None:
        part: Any = r_PD
        if self.device is not None:
            import torch

            part = torch.from_numpy(r_PD).to(self.device)
        self._sum_DD += part.T @ part

    @property
    def value(self) -> Floats:
        value_DD: Floats = self._sum_DD if self.device is None else self._sum_DD.cpu().numpy()
        return value_DD


def solved(system_DD: Floats, right_D: Floats, device: str | None) -> Floats:
    """The solution (D,) of a positive definite system, which is overwritten. `device`: None computes in NumPy.

    With few people and a small penalty, rounding in the float32 products can make the system indefinite. Then
    ROUNDING times its largest entry is added to the diagonal, the size of that rounding."""
    if device is None:
        diagonal_D = system_DD.diagonal().copy()
        fortran_DD = system_DD.T  # symmetric; in Fortran order LAPACK can overwrite its upper triangle
        try:
            factor = scipy.linalg.cho_factor(fortran_DD, overwrite_a=True, check_finite=False)
        except scipy.linalg.LinAlgError:
            restored_DD = np.tril(fortran_DD, -1)
            restored_DD += restored_DD.T
            np.fill_diagonal(restored_DD, diagonal_D + ROUNDING * diagonal_D.max())
            factor = scipy.linalg.cho_factor(restored_DD, overwrite_a=True, check_finite=False)
        weight_D: Floats = scipy.linalg.cho_solve(factor, right_D, check_finite=False)
        return weight_D
    import torch

    right_D1 = torch.from_numpy(right_D).to(device)[:, None]
    on_device_DD = torch.from_numpy(system_DD).to(device)
    lower_DD, failed = torch.linalg.cholesky_ex(on_device_DD)
    if failed:
        on_device_DD.diagonal().add_(ROUNDING * on_device_DD.diagonal().max())
        lower_DD = torch.linalg.cholesky(on_device_DD)
    found_D: Floats = torch.cholesky_solve(right_D1, lower_DD)[:, 0].cpu().numpy()
    return found_D
