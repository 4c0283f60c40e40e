"""Linear evaluation: the head d = l(ReLU(h_y - h_x)) is fitted to frozen features (section 3.4, 4.2).

In: features and pairs. Out: a Head by closed-form ridge regression over that function class, its penalty chosen on the
validation subjects. (Adam at 4e-4, the rate of pre-training, is far from converged after the same work.) Where few
subjects validate, their choice is a lottery (two people of DISFA: AU6 from pixels .39 instead of .51); then groups
of training subjects can take turns to validate.
With `antisymmetric` l is fitted to the estimate (d(x,y) - d(y,x)) / 2.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from comface.networks.head import Head, rectified

Floats = NDArray[np.float64]
PENALTIES = tuple(float(p) for p in np.logspace(-4, 4, 17))
"""Penalties tried, relative to the mean eigenvalue of the covariance of the inputs."""
ROWS = 2048
ROUNDING = 1e-5
"""Of products in float32, as a share of the features' power, with room to spare."""


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
    return Ridge.of(Moments.of(train, antisymmetric), standardisation(_used(train)), antisymmetric).head(penalty)


def fit_validated(train: Samples, validation: Samples, antisymmetric: bool) -> tuple[Head, float]:
    """The head whose penalty has the least squared error on the validation pairs, and that penalty."""
    ridge = Ridge.of(Moments.of(train, antisymmetric), standardisation(_used(train)), antisymmetric)
    penalty = _chosen([(ridge, validation)])
    return ridge.head(penalty), penalty


def fit_in_turns(groups: Sequence[Samples], antisymmetric: bool) -> tuple[Head, float]:
    """The head fitted on all groups of subjects (of one data set); each has validated once to choose its penalty."""
    scaling = standardisation(_used(*groups))
    moments = [Moments.of(group, antisymmetric) for group in groups]
    whole = functools.reduce(operator.add, moments)
    turns = [(Ridge.of(whole - own, scaling, antisymmetric), group) for group, own in zip(groups, moments, strict=True)]
    penalty = _chosen(turns)
    return Ridge.of(whole, scaling, antisymmetric).head(penalty), penalty


def _chosen(turns: Sequence[tuple[Ridge, Samples]]) -> float:
    """Of PENALTIES, the one with the least squared error summed over the turns' validation pairs. Every penalty costs a
    factorisation, so the search starts in the middle, goes downhill in steps of four, then of two, then of one. (An
    error with two valleys may lose the lower.)"""
    errors: dict[int, float] = {}
    best, step = len(PENALTIES) // 2, 4
    while step:
        around = [place for place in (best, best - step, best + step) if 0 <= place < len(PENALTIES)]
        for place in set(around) - set(errors):
            heads = ((ridge.head(PENALTIES[place]), group) for ridge, group in turns)
            errors[place] = sum(_squared_error(head, group) for head, group in heads)
        lowest = min(around, key=errors.__getitem__)
        step = step // 2 if lowest == best else step
        best = lowest
    return PENALTIES[best]


def _used(*groups: Samples) -> NDArray[np.float32]:
    """Features of the photos that take part, each once."""
    h_ND: NDArray[np.float32] = groups[0].h_ND[
        np.unique(np.concatenate([side_P for data in groups for side_P in (data.x_P, data.y_P)]))
    ]
    return h_ND


@dataclass(frozen=True)
class Ridge:
    """minimise mean (r w + b - change)^2 + penalty' |w|^2 on standardised features, as normal equations; b is zero
    where the estimate is antisymmetric. The mean of features cancels in r, their scale divides it."""

    scaling: tuple[Floats, Floats]
    covariance_DD: Floats
    product_D: Floats
    centre_D: Floats
    target: float
    antisymmetric: bool

    @classmethod
    def of(cls, moments: Moments, scaling: tuple[Floats, Floats], antisymmetric: bool) -> Ridge:
        scale_D = scaling[1]
        covariance_DD = moments.gram_DD / (moments.count * scale_D)
        covariance_DD /= scale_D[:, None]
        product_D = moments.product_D / moments.count / scale_D
        centre_D, target = np.zeros_like(scale_D), 0.0
        if not antisymmetric:
            centre_D, target = moments.sum_D / moments.count / scale_D, moments.target_sum / moments.count
            power = float(covariance_DD.trace())
            covariance_DD -= np.outer(centre_D, centre_D)
            product_D -= centre_D * target
            if covariance_DD.trace() <= ROUNDING * power:  # of equal pairs only rounding is left: b alone estimates
                covariance_DD, product_D = np.zeros_like(covariance_DD), np.zeros_like(product_D)
        return cls(scaling, covariance_DD, product_D, centre_D, target, antisymmetric)

    def head(self, penalty: float) -> Head:
        system_DD = self.covariance_DD.copy().T  # symmetric; in the order that LAPACK overwrites
        eigenvalue = float(self.covariance_DD.trace()) / len(system_DD)  # their mean
        system_DD.flat[:: len(system_DD) + 1] += penalty * max(eigenvalue, 1e-12)
        factor = scipy.linalg.cho_factor(system_DD, overwrite_a=True, check_finite=False)
        weight_D = scipy.linalg.cho_solve(factor, self.product_D, check_finite=False)
        bias = self.target - float(self.centre_D @ weight_D)
        return Head(*self.scaling, weight_D, bias, self.antisymmetric)


def _squared_error(head: Head, data: Samples) -> float:
    """Summed over the pairs."""
    weight_D = (head.weight_D / head.scale_D).astype(np.float32)
    error = 0.0
    for start in range(0, len(data.change_P), ROWS):
        block = slice(start, start + ROWS)
        r_PD = rectified(data.h_ND[data.x_P[block]], data.h_ND[data.y_P[block]], head.antisymmetric)
        error += float(((r_PD @ weight_D + head.bias - data.change_P[block]) ** 2).sum())
    return error
