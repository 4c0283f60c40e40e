"""Linear evaluation: fits the head d = l(ReLU(h_y - h_x)) to frozen features (sections 3.4 and 4.2).

In: features and pairs. Out: a Head, fitted by closed-form ridge regression; the validation subjects determine the
penalty. (Adam with the learning rate of pre-training, 4e-4, is far from convergence after the same computing time.)
With few validation subjects the choice of the penalty is unreliable (two people of DISFA: correlation of AU6 from
pixels .39 instead of .51); therefore groups of training subjects can be used for validation in turn. Features are read
in blocks of pairs: memory does not grow with the number of photos or pairs.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import Rows
from comface.networks.head import Head, rectified
from comface.transfer.algebra import Gram, device_for, solved

Floats = NDArray[np.float64]
ErrorOf = Callable[[Head], float]
"""The squared error of a head on the pairs of a turn."""
PENALTIES = tuple(float(p) for p in np.logspace(-4, 4, 17))
"""Candidate penalties, relative to the mean eigenvalue of the covariance of the inputs."""
ROWS = 2048
"""Pairs per block."""
HELD_BYTES = 256 << 20
"""Largest size of the systems of all turns that are held in memory together."""
ROUNDING = 1e-5
"""Upper bound of the rounding error of float32 products, as a share of the power of the features."""


@dataclass(frozen=True)
class Form:
    """Of the head. `antisymmetric`: the estimate is (d(x,y) - d(y,x)) / 2. `standardised`: each feature has its own
    standard deviation; in the paper's form (both False) all features have the same."""

    antisymmetric: bool = False
    standardised: bool = False


@dataclass(frozen=True)
class Samples:
    """Features of all photos, indexed by rows (N,D), and pairs of them with their change. `mirrored_ND`: the features
    of their mirror images; the pairs of these are fitted too."""

    h_ND: NDArray[np.float32] | Rows
    x_P: NDArray[np.int64]
    y_P: NDArray[np.int64]
    change_P: Floats
    mirrored_ND: NDArray[np.float32] | Rows | None = None

    def blocks(self, antisymmetric: bool) -> Iterator[tuple[NDArray[np.float32], Floats]]:
        """The input of l (P,D) and the change, in blocks of pairs."""
        for h_ND in (self.h_ND, *([] if self.mirrored_ND is None else [self.mirrored_ND])):
            for block in _blocks(len(self.change_P)):
                r_PD = rectified(h_ND[self.x_P[block]], h_ND[self.y_P[block]], antisymmetric)
                yield r_PD, self.change_P[block]

    def predicted(self, head: Head) -> Floats:
        return predicted(head, self.h_ND, self.x_P, self.y_P)


def standardisation(groups: Sequence[Samples], form: Form) -> tuple[Floats, Floats]:
    """Return the mean (D,) per feature, and one standard deviation for all features, repeated (D,). With one per
    feature (`standardised`), a feature that hardly varies among the training subjects is amplified in a test subject in
    whom it does vary: with ImageNet features, the estimate for one patient of Edema-A was 334 kg and the correlation
    .15 instead of .80. Every photo that occurs in a pair counts once."""
    h_ND, rows_N = (
        groups[0].h_ND,
        np.unique(np.concatenate([each for group in groups for each in (group.x_P, group.y_P)])),
    )
    shift_D = np.asarray(h_ND[rows_N[:1]], np.float64)[0]  # variances of sums lose digits if the mean is large
    sum_D, square_D = np.zeros_like(shift_D), np.zeros_like(shift_D)
    for block in _blocks(len(rows_N)):
        part_ND = np.asarray(h_ND[rows_N[block]], np.float64) - shift_D
        sum_D += part_ND.sum(axis=0)
        square_D += np.einsum("nd,nd->d", part_ND, part_ND)
    mean_D = sum_D / len(rows_N)
    variance_D = np.maximum(square_D / len(rows_N) - mean_D**2, 0)
    spread = float(np.sqrt(variance_D.mean())) or 1.0
    scale_D = np.full(len(mean_D), spread)
    if form.standardised:  # a feature that does not vary keeps the common scale
        scale_D = np.where(variance_D > ROUNDING * spread**2, np.sqrt(variance_D), spread)
    return mean_D + shift_D, scale_D


def predicted(head: Head, h_ND: NDArray[np.float32] | Rows, x_P: NDArray[np.int64], y_P: NDArray[np.int64]) -> Floats:
    """The estimated changes (P,), in blocks of pairs."""
    parts = [head(h_ND[x_P[block]], h_ND[y_P[block]]) for block in _blocks(len(x_P))]
    return np.concatenate([np.empty(0), *parts])


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, ROWS):
        yield slice(start, start + ROWS)


@dataclass(frozen=True)
class Moments:
    """Sums over pairs of r = ReLU(h_y - h_x) and of the change, from which ridge regression is solved. The sums of
    groups of pairs can be added, so leaving a group out costs one subtraction."""

    count: int
    gram_DD: Floats
    product_D: Floats
    sum_D: Floats
    target_sum: float
    target_square_sum: float

    @classmethod
    def of(cls, data: Samples, antisymmetric: bool) -> Moments:
        """Sum in blocks, so that 20,000 pairs with 2,048 features need less than 1 GB. Products are float32 (the
        smallest penalty is 100 times their rounding error), sums are float64."""
        width = data.h_ND.shape[1]
        gram = Gram(width, device_for(len(data.change_P) * width**2))
        product_D, sum_D = np.zeros(width), np.zeros(width)
        views = 1 if data.mirrored_ND is None else 2
        for r_PD, change_P in data.blocks(antisymmetric):
            gram.add(r_PD)
            product_D += r_PD.T.astype(np.float64) @ change_P
            sum_D += r_PD.sum(axis=0, dtype=np.float64)
        total, squares = views * float(data.change_P.sum()), views * float(data.change_P @ data.change_P)
        return cls(views * len(data.change_P), gram.value, product_D, sum_D, total, squares)

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
            self.target_square_sum + sign * other.target_square_sum,
        )

    def squared_error(self, head: Head) -> float:
        """Return the squared error of the head, summed over the pairs, without reading them again: the sum of
        (r v + b - change)^2, expanded."""
        weight_D = head.weight_D / head.scale_D
        of_pairs = weight_D @ (self.gram_DD @ weight_D - 2 * self.product_D + 2 * head.bias * self.sum_D)
        of_bias = head.bias * (self.count * head.bias - 2 * self.target_sum)
        return float(of_pairs + of_bias + self.target_square_sum)


def fit(train: Samples, penalty: float, form: Form) -> Head:
    """Fit the head with a given penalty."""
    return Ridge.of(Moments.of(train, form.antisymmetric), standardisation([train], form), form.antisymmetric).head(
        penalty
    )


def fit_validated(train: Samples, validation: Samples, form: Form) -> tuple[Head, float]:
    """Return the head whose penalty gives the lowest squared error on the validation pairs, and this penalty."""
    ridge = Ridge.of(Moments.of(train, form.antisymmetric), standardisation([train], form), form.antisymmetric)
    penalty = _chosen(lambda: [(ridge, lambda head: _squared_error(head, validation))])
    return ridge.head(penalty), penalty


def fit_in_turns(groups: Sequence[Samples], form: Form) -> tuple[Head, float]:
    """Return the head fitted on all groups of subjects, and its penalty, for which each group was validated in turn."""
    scaling = standardisation(groups, form)
    moments = [Moments.of(group, form.antisymmetric) for group in groups]
    whole = functools.reduce(operator.add, moments)

    def turns() -> Iterator[tuple[Ridge, ErrorOf]]:
        for own in moments:
            yield Ridge.of(whole - own, scaling, form.antisymmetric), own.squared_error

    if len(groups) * whole.gram_DD.nbytes <= HELD_BYTES:  # making a system takes a fifth of the time of solving it
        held = list(turns())
        penalty = _chosen(lambda: held)
    else:  # one system in memory at a time
        penalty = _chosen(turns)
    return Ridge.of(whole, scaling, form.antisymmetric).head(penalty), penalty


def _chosen(turns: Callable[[], Iterable[tuple[Ridge, ErrorOf]]]) -> float:
    """Return the penalty with the lowest squared error, summed over the validation pairs of all turns. Each penalty
    costs a factorisation. Therefore the search starts in the middle of PENALTIES and descends in steps of four, two and
    one. If the error has two minima, it may miss the lower one."""
    errors: dict[int, float] = {}
    best, step = len(PENALTIES) // 2, 4
    while step:
        around = [place for place in (best, best - step, best + step) if 0 <= place < len(PENALTIES)]
        for place in set(around) - set(errors):
            errors[place] = sum(error_of(ridge.head(PENALTIES[place])) for ridge, error_of in turns())
        lowest = min(around, key=errors.__getitem__)
        step = step // 2 if lowest == best else step
        best = lowest
    return PENALTIES[best]


@dataclass(frozen=True)
class Ridge:
    """Minimise mean (r w + b - change)^2 + penalty' |w|^2 on standardised features, with the normal equations. b is
    zero if the estimate is antisymmetric. The mean of the features cancels in r; r is divided by their scale."""

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
            if covariance_DD.trace() <= ROUNDING * power:  # all pairs are equal: only rounding is left, so use b alone
                covariance_DD, product_D = np.zeros_like(covariance_DD), np.zeros_like(product_D)
        return cls(scaling, covariance_DD, product_D, centre_D, target, antisymmetric)

    def head(self, penalty: float) -> Head:
        system_DD = self.covariance_DD.copy()
        eigenvalue = float(self.covariance_DD.trace()) / len(system_DD)  # mean eigenvalue
        system_DD.flat[:: len(system_DD) + 1] += penalty * max(eigenvalue, 1e-12)
        weight_D = solved(system_DD, self.product_D, device_for(len(system_DD) ** 3 / 3))
        bias = self.target - float(self.centre_D @ weight_D)
        return Head(*self.scaling, weight_D, bias, self.antisymmetric)


def _squared_error(head: Head, data: Samples) -> float:
    """Return the squared error, summed over the pairs."""
    weight_D = (head.weight_D / head.scale_D).astype(np.float32)
    parts = data.blocks(head.antisymmetric)
    return sum(float(((r_PD @ weight_D + head.bias - change_P) ** 2).sum()) for r_PD, change_P in parts)
