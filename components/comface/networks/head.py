"""The change head l for inference: d = l(ReLU(h_y - h_x)) on standardised features (section 3.4).

In: features of both photos of every pair. Out: the estimated change. Linear evaluation fits a Head, fine-tuning
converts its trained layer to one, and a registered model reads one. numpy only: linear evaluation needs no torch.

With `antisymmetric` the estimate is (d(x,y) - d(y,x)) / 2, which is linear in h_y - h_x.

Legend: P pairs, D feature width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """l and the standardisation of the features that it was fitted to."""

    mean_D: Floats
    scale_D: Floats
    weight_D: Floats
    bias: float
    antisymmetric: bool = False

    @classmethod
    def of_layer(cls, weight_D: Floats, bias: float, antisymmetric: bool) -> Head:
        """A head from a trained layer, without standardisation; the bias of an antisymmetric estimate cancels."""
        zero_D = np.zeros_like(weight_D)
        return cls(zero_D, zero_D + 1, weight_D, 0.0 if antisymmetric else bias, antisymmetric)

    @classmethod
    def read(cls, tensors: Mapping[str, NDArray[Any]]) -> Head:
        """The head from its tensors; the inverse of `tensors`."""
        mean_D, scale_D, weight_D = (tensors[name].astype(np.float64) for name in ("mean", "scale", "weight"))
        return cls(mean_D, scale_D, weight_D, float(tensors["bias"][0]), bool(tensors["antisymmetric"][0]))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The content of head.safetensors."""
        return {
            "mean": self.mean_D.astype(np.float32),
            "scale": self.scale_D.astype(np.float32),
            "weight": self.weight_D.astype(np.float32),
            "bias": np.array([self.bias], dtype=np.float32),
            "antisymmetric": np.array([self.antisymmetric], dtype=np.uint8),
        }

    def __call__(self, h_x_PD: NDArray[np.floating], h_y_PD: NDArray[np.floating]) -> Floats:
        """The estimated change of every pair (P,)."""
        z_x_PD, z_y_PD = (h_x_PD - self.mean_D) / self.scale_D, (h_y_PD - self.mean_D) / self.scale_D
        change_P: Floats = rectified(z_x_PD, z_y_PD, self.antisymmetric) @ self.weight_D + self.bias
        return change_P


def rectified(z_x_PD: Any, z_y_PD: Any, antisymmetric: bool) -> Any:
    """The input of l (P,D): ReLU(z_y - z_x); if antisymmetric, half of it minus that of the reversed pair, which is
    half the difference."""
    difference_PD = z_y_PD - z_x_PD
    return difference_PD / 2 if antisymmetric else np.maximum(difference_PD, 0)
