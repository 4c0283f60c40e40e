"""Linear evaluation of a task of single photos: the label of one photo from its frozen features.

In: features, photos with their labels. Out: a PhotoHead, fitted by ridge regression in closed form. With classes there
is one regression per class (1 for its photos, 0 for the others), and the class with the largest value is predicted. The
penalty is the one with the lowest squared error on the validation subjects, as for changes (ridge.py). Features are
read in blocks: memory does not grow with the number of photos.

Legend: P photos with a label, N photos, D feature width, K values per photo (1, or the number of classes).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PENALTIES = tuple(float(p) for p in np.logspace(-4, 4, 17))
"""Candidate penalties, relative to the mean variance of a feature."""
ROWS = 2048
"""Photos per block."""


def targets(label_P: Floats, classes: int) -> Floats:
    """Return the values to estimate (P,K): the label, or one column per class."""
    return label_P[:, None] if not classes else (label_P[:, None] == np.arange(classes)).astype(np.float64)


def labels(value_PK: NDArray[np.floating]) -> Floats:
    """Return the label (P,) that the values mean: themselves, or the position of the largest class."""
    found_P = value_PK[:, 0] if value_PK.shape[1] == 1 else value_PK.argmax(axis=1)
    return np.asarray(found_P, np.float64)


@dataclass(frozen=True)
class Sample:
    """Features of all photos, indexed by rows (N,D), and the values of some of them."""

    h_ND: Any
    row_P: NDArray[np.int64]
    target_PK: Floats

    def blocks(self) -> Iterator[tuple[Floats, Floats]]:
        for start in range(0, len(self.row_P), ROWS):
            block = slice(start, start + ROWS)
            yield np.asarray(self.h_ND[self.row_P[block]], np.float64), self.target_PK[block]


@dataclass(frozen=True)
class PhotoHead:
    """values = (h - mean) / scale · weight + bias."""

    mean_D: Floats
    scale_D: Floats
    weight_DK: Floats
    bias_K: Floats

    def __call__(self, h_PD: NDArray[np.floating]) -> Floats:
        value_PK: Floats = (h_PD - self.mean_D) / self.scale_D @ self.weight_DK + self.bias_K
        return value_PK


def predicted(head: PhotoHead, h_ND: Any, row_P: NDArray[np.int64]) -> Floats:
    """Return the labels (P,) of these photos, in blocks."""
    parts = [labels(head(h_ND[row_P[start : start + ROWS]])) for start in range(0, len(row_P), ROWS)]
    return np.concatenate([np.empty(0), *parts])


@dataclass(frozen=True)
class Moments:
    """Sums over photos, from which ridge regression is solved. The sums of groups can be added and subtracted."""

    count: int
    h_D: Floats
    target_K: Floats
    gram_DD: Floats
    product_DK: Floats

    @classmethod
    def of(cls, sample: Sample) -> Moments:
        width, values = np.asarray(sample.h_ND[sample.row_P[:1]]).shape[1], sample.target_PK.shape[1]
        h_D, gram_DD, product_DK = np.zeros(width), np.zeros((width, width)), np.zeros((width, values))
        for h_PD, target_PK in sample.blocks():
            h_D += h_PD.sum(axis=0)
            gram_DD += h_PD.T @ h_PD
            product_DK += h_PD.T @ target_PK
        return cls(len(sample.row_P), h_D, sample.target_PK.sum(axis=0), gram_DD, product_DK)

    def __add__(self, other: Moments) -> Moments:
        return self._combined(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        return self._combined(other, -1)

    def _combined(self, other: Moments, sign: int) -> Moments:
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return Moments(*(a + sign * b for a, b in pairs))


class Ridge:
    """Heads for any penalty, from one eigendecomposition of the covariance of the scaled features."""

    def __init__(self, moments: Moments, standardised: bool) -> None:
        self.mean_D, self.target_K = moments.h_D / moments.count, moments.target_K / moments.count
        covariance_DD = moments.gram_DD / moments.count - np.outer(self.mean_D, self.mean_D)
        variance_D = np.maximum(covariance_DD.diagonal(), 0)
        spread = float(np.sqrt(variance_D.mean())) or 1.0
        self.scale_D = np.full(len(variance_D), spread)
        if standardised:  # a feature that does not vary keeps the common scale
            self.scale_D = np.where(variance_D > 1e-10 * spread**2, np.sqrt(variance_D), spread)
        covariance_DD /= np.outer(self.scale_D, self.scale_D)
        product_DK = moments.product_DK / moments.count - np.outer(self.mean_D, self.target_K)
        self.eigen_D, self.axes_DD = scipy.linalg.eigh(covariance_DD, overwrite_a=True, check_finite=False)
        self.product_DK = self.axes_DD.T @ (product_DK / self.scale_D[:, None])

    def head(self, penalty: float) -> PhotoHead:
        eigen_D = np.maximum(self.eigen_D, 0) + penalty * max(float(self.eigen_D.mean()), 1e-12)
        return PhotoHead(self.mean_D, self.scale_D, self.axes_DD @ (self.product_DK / eigen_D[:, None]), self.target_K)


def fit(groups: Sequence[Sample], validation: Sample | None, standardised: bool) -> tuple[PhotoHead, float]:
    """Return the head and its penalty. With `validation`, the head is fitted to all `groups` and the penalty chosen on
    `validation`; without it, each group is validated in turn."""
    moments = [Moments.of(group) for group in groups]
    whole = functools.reduce(operator.add, moments)
    ridge = Ridge(whole, standardised)
    if validation is not None:
        turns = [(ridge, validation)]
    else:
        turns = [(Ridge(whole - own, standardised), group) for own, group in zip(moments, groups, strict=True)]
    errors = [sum(_squared_error(each.head(p), sample) for each, sample in turns) for p in PENALTIES]
    best = PENALTIES[int(np.argmin(errors))]
    return ridge.head(best), best


def _squared_error(head: PhotoHead, sample: Sample) -> float:
    return sum(float(((head(h_PD) - target_PK) ** 2).sum()) for h_PD, target_PK in sample.blocks())
