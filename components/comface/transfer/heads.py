"""The change head in linear evaluation: d = l(ReLU(h_y - h_x)) on frozen, standardised features (section 3.4, 4.2).

In: features and pairs. Out: l by closed-form ridge regression over that function class, its penalty chosen on the
validation subjects. (Adam at 4e-4, the rate of pre-training, is far from converged after the same work.)
With `antisymmetric` the estimate is (d(x,y) - d(y,x)) / 2, which is linear in h_y - h_x; l is fitted to that estimate.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PENALTIES = tuple(float(p) for p in np.logspace(-4, 4, 17))
"""Penalties tried, relative to the mean eigenvalue of the covariance of the inputs."""
ROWS = 2048


@dataclass(frozen=True)
class Head:
    """l and the standardisation of the features it was fitted on."""

    mean_D: Floats
    scale_D: Floats
    weight_D: Floats
    bias: float
    antisymmetric: bool = False

    def __call__(self, h_x_PD: NDArray[np.floating], h_y_PD: NDArray[np.floating]) -> Floats:
        """The estimated change of every pair (P,)."""
        z_x_PD, z_y_PD = (h_x_PD - self.mean_D) / self.scale_D, (h_y_PD - self.mean_D) / self.scale_D
        return rectified(z_x_PD, z_y_PD, self.antisymmetric) @ self.weight_D + self.bias

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """What head.safetensors holds; `head_of` reads it."""
        return {
            "mean": self.mean_D.astype(np.float32),
            "scale": self.scale_D.astype(np.float32),
            "weight": self.weight_D.astype(np.float32),
            "bias": np.array([self.bias], dtype=np.float32),
            "antisymmetric": np.array([self.antisymmetric], dtype=np.uint8),
        }


def head_of(tensors: dict[str, NDArray[np.generic]]) -> Head:
    """The inverse of `Head.tensors`."""
    mean_D, scale_D, weight_D = (tensors[name].astype(np.float64) for name in ("mean", "scale", "weight"))
    return Head(mean_D, scale_D, weight_D, float(tensors["bias"][0]), bool(tensors["antisymmetric"][0]))


def rectified(z_x_PD: Any, z_y_PD: Any, antisymmetric: bool) -> Any:
    """What l sees: ReLU(z_y - z_x), or half of it minus that of the turned pair (= half the difference)."""
    difference_PD = z_y_PD - z_x_PD
    return difference_PD / 2 if antisymmetric else np.maximum(difference_PD, 0)


def standardisation(h_ND: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Mean and spread per feature; a feature that never changes is left as it is."""
    h_ND = h_ND.astype(np.float64)
    spread_D = h_ND.std(axis=0)
    return h_ND.mean(axis=0), np.where(spread_D > 1e-8 * max(1.0, float(spread_D.max(initial=0))), spread_D, 1.0)


@dataclass(frozen=True)
class Samples:
    """Features of all photos, and the pairs of them to fit to or to test on."""

    h_ND: NDArray[np.float32]
    x_P: NDArray[np.int64]
    y_P: NDArray[np.int64]
    change_P: Floats

    def predicted(self, head: Head) -> Floats:
        return head(self.h_ND[self.x_P], self.h_ND[self.y_P])


def fit(train: Samples, penalty: float, antisymmetric: bool) -> Head:
    """The head for one penalty."""
    return _heads(train, (penalty,), antisymmetric)[0]


def fit_validated(train: Samples, validation: Samples, antisymmetric: bool) -> tuple[Head, float]:
    """The head whose penalty has the least squared error on the validation pairs, and that penalty."""
    heads = _heads(train, PENALTIES, antisymmetric)
    errors = [float(np.mean((validation.predicted(head) - validation.change_P) ** 2)) for head in heads]
    best = int(np.argmin(errors))
    return heads[best], PENALTIES[best]


def _heads(train: Samples, penalties: tuple[float, ...], antisymmetric: bool) -> list[Head]:
    """minimise mean (r w + b - change)^2 + penalty' |w|^2; b is zero where the estimate is antisymmetric."""
    used_ND = train.h_ND[np.unique(np.concatenate([train.x_P, train.y_P]))]
    mean_D, scale_D = standardisation(used_ND)
    z_ND = ((train.h_ND - mean_D) / scale_D).astype(np.float32)
    covariance_DD, product_D, centre_D, target = _moments(z_ND, train, antisymmetric)
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    values_D, projected_D = np.maximum(values_D, 0), vectors_DD.T @ product_D
    heads = []
    for penalty in penalties:
        absolute = penalty * max(float(values_D.mean()), 1e-12)
        weight_D = vectors_DD @ (projected_D / (values_D + absolute))
        heads.append(Head(mean_D, scale_D, weight_D, target - float(centre_D @ weight_D), antisymmetric))
    return heads


def _moments(z_ND: NDArray[np.float32], train: Samples, antisymmetric: bool) -> tuple[Floats, Floats, Floats, float]:
    """Covariance of r, its product with the change, and the means of both (zero where b is to be zero).

    In blocks, so that 2048 features of 20,000 pairs need no gigabyte; products in float32 (the smallest penalty is a
    hundred times their rounding), sums in float64."""
    width, count = z_ND.shape[1], len(train.change_P)
    gram_DD, product_D, sum_D = np.zeros((width, width)), np.zeros(width), np.zeros(width)
    for start in range(0, count, ROWS):
        block = slice(start, start + ROWS)
        r_PD = rectified(z_ND[train.x_P[block]], z_ND[train.y_P[block]], antisymmetric)
        gram_DD += r_PD.T @ r_PD
        product_D += r_PD.T.astype(np.float64) @ train.change_P[block]
        sum_D += r_PD.sum(axis=0, dtype=np.float64)
    if antisymmetric:
        return gram_DD / count, product_D / count, np.zeros(width), 0.0
    centre_D, target = sum_D / count, float(train.change_P.mean())
    return gram_DD / count - np.outer(centre_D, centre_D), product_D / count - centre_D * target, centre_D, target
