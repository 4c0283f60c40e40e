"""The change head in linear evaluation: d = l(ReLU(h_y - h_x)) on frozen features (section 3.4, 4.2).

In: features and pairs. Out: l by closed-form ridge regression over that function class, its penalty chosen on the
validation subjects. (Adam at 4e-4, the rate of pre-training, is far from converged after the same work.) Where few
subjects validate, their choice is a lottery (two people of DISFA: AU6 from pixels .39 instead of .51); then groups
of training subjects can take turns to validate.
With `antisymmetric` the estimate is (d(x,y) - d(y,x)) / 2, which is linear in h_y - h_x; l is fitted to that estimate.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
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
    """Mean per feature, and one spread for all of them. With a spread per feature, one that hardly varies among the
    subjects of the training folds is blown up in a test subject in whom it does: ImageNet's features then said 334 kg
    of one patient of Edema-A, and correlated .15 instead of .80."""
    h_ND = h_ND.astype(np.float64)
    spread = float(np.sqrt(h_ND.var(axis=0).mean())) or 1.0
    return h_ND.mean(axis=0), np.full(h_ND.shape[1], spread)


@dataclass(frozen=True)
class Samples:
    """Features of all photos, and the pairs of them to fit to or to test on."""

    h_ND: NDArray[np.float32]
    x_P: NDArray[np.int64]
    y_P: NDArray[np.int64]
    change_P: Floats

    def predicted(self, head: Head) -> Floats:
        return head(self.h_ND[self.x_P], self.h_ND[self.y_P])


@dataclass(frozen=True)
class Moments:
    """Sums over pairs of r = ReLU(h_y - h_x) and the change, from which ridge is solved. They add up over groups of
    pairs, so that leaving a group out costs a subtraction."""

    count: int
    gram_DD: Floats
    product_D: Floats
    sum_D: Floats
    target_sum: float

    @classmethod
    def of(cls, data: Samples, antisymmetric: bool) -> Moments:
        """In blocks, so that 2048 features of 20,000 pairs need no gigabyte; products in float32 (the smallest penalty
        is a hundred times their rounding), sums in float64."""
        width = data.h_ND.shape[1]
        gram_DD, product_D, sum_D = np.zeros((width, width)), np.zeros(width), np.zeros(width)
        for start in range(0, len(data.change_P), ROWS):
            block = slice(start, start + ROWS)
            r_PD = rectified(data.h_ND[data.x_P[block]], data.h_ND[data.y_P[block]], antisymmetric)
            gram_DD += r_PD.T @ r_PD
            product_D += r_PD.T.astype(np.float64) @ data.change_P[block]
            sum_D += r_PD.sum(axis=0, dtype=np.float64)
        return cls(len(data.change_P), gram_DD, product_D, sum_D, float(data.change_P.sum()))

    def __add__(self, other: Moments) -> Moments:
        return self._combined(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        return self._combined(other, -1)

    def _combined(self, other: Moments, sign: int) -> Moments:
        return Moments(
            self.count + sign * other.count,
            self.gram_DD + sign * other.gram_DD,
            self.product_D + sign * other.product_D,
            self.sum_D + sign * other.sum_D,
            self.target_sum + sign * other.target_sum,
        )


def fit(train: Samples, penalty: float, antisymmetric: bool) -> Head:
    """The head for one penalty."""
    scaling = standardisation(_used(train))
    return _solve(Moments.of(train, antisymmetric), scaling, (penalty,), antisymmetric)[0]


def fit_validated(train: Samples, validation: Samples, antisymmetric: bool) -> tuple[Head, float]:
    """The head whose penalty has the least squared error on the validation pairs, and that penalty."""
    heads = _solve(Moments.of(train, antisymmetric), standardisation(_used(train)), PENALTIES, antisymmetric)
    best = int(np.argmin(_squared_errors(heads, validation)))
    return heads[best], PENALTIES[best]


def fit_in_turns(groups: Sequence[Samples], antisymmetric: bool) -> tuple[Head, float]:
    """The head fitted on all groups of subjects (of one data set); each has validated once to choose its penalty."""
    scaling = standardisation(_used(*groups))
    moments = [Moments.of(group, antisymmetric) for group in groups]
    whole = functools.reduce(operator.add, moments)
    errors = np.zeros(len(PENALTIES))
    for group, own in zip(groups, moments, strict=True):
        errors += _squared_errors(_solve(whole - own, scaling, PENALTIES, antisymmetric), group)
    best = int(np.argmin(errors))
    return _solve(whole, scaling, (PENALTIES[best],), antisymmetric)[0], PENALTIES[best]


def _used(*groups: Samples) -> NDArray[np.float32]:
    """Features of the photos that take part, each once."""
    return groups[0].h_ND[np.unique(np.concatenate([side_P for data in groups for side_P in (data.x_P, data.y_P)]))]


def _solve(
    moments: Moments, scaling: tuple[Floats, Floats], penalties: Sequence[float], antisymmetric: bool
) -> list[Head]:
    """minimise mean (r w + b - change)^2 + penalty' |w|^2 on standardised features, for every penalty at once; b is
    zero where the estimate is antisymmetric. The mean of features cancels in r, their scale divides it."""
    mean_D, scale_D = scaling
    covariance_DD = moments.gram_DD / moments.count / np.outer(scale_D, scale_D)
    product_D = moments.product_D / moments.count / scale_D
    centre_D, target = np.zeros_like(scale_D), 0.0
    if not antisymmetric:
        centre_D, target = moments.sum_D / moments.count / scale_D, moments.target_sum / moments.count
        covariance_DD = covariance_DD - np.outer(centre_D, centre_D)
        product_D = product_D - centre_D * target
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    values_D, projected_D = np.maximum(values_D, 0), vectors_DD.T @ product_D
    heads = []
    for penalty in penalties:
        weight_D = vectors_DD @ (projected_D / (values_D + penalty * max(float(values_D.mean()), 1e-12)))
        heads.append(Head(mean_D, scale_D, weight_D, target - float(centre_D @ weight_D), antisymmetric))
    return heads


def _squared_errors(heads: Sequence[Head], data: Samples) -> Floats:
    """Summed squared error of heads that share a standardisation, one per head."""
    first = heads[0]
    weights_DH = np.column_stack([head.weight_D / first.scale_D for head in heads]).astype(np.float32)
    bias_H = np.array([head.bias for head in heads])
    errors_H = np.zeros(len(heads))
    for start in range(0, len(data.change_P), ROWS):
        block = slice(start, start + ROWS)
        r_PD = rectified(data.h_ND[data.x_P[block]], data.h_ND[data.y_P[block]], first.antisymmetric)
        errors_H += ((r_PD @ weights_DH + bias_H - data.change_P[block, None]) ** 2).sum(axis=0)
    return errors_H
