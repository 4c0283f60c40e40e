"""What a model has seen: the distribution of the features of the photos that its heads were fitted on.

In: features of those photos. Out: the object features.safetensors of a model, from which the distance of a new photo
follows. The distribution is a Gaussian whose covariance has K principal axes and equal variance in all other
directions (probabilistic PCA: Tipping and Bishop, J. R. Stat. Soc. B 61, 1999). The distances of photos of people that
had no part in the fit (cross-fitting by subject) give the scale: a photo whose distance is larger than nearly all of
them is unlike what the model has seen.

Legend: N photos, D feature width, K axes, Q quantiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_AXES = 32
PHOTOS_PER_AXIS = 10
FOLDS = 4
LEAST_PHOTOS = 40
QUANTILES = 201
"""Distances at the shares 0, 0.005, …, 1 of the photos."""
SMALLEST = 1e-6


@dataclass(frozen=True)
class Seen:
    mean_D: Floats
    axes_KD: Floats
    """Orthonormal rows."""
    deviation_K: Floats
    """Standard deviation along each axis."""
    rest: float
    """Standard deviation in each of the D-K other directions."""
    distance_Q: Floats
    """Quantiles of the distance of photos of people that had no part in the fit, increasing."""

    def distance(self, h_ND: NDArray[Any]) -> Floats:
        """The Mahalanobis distance of each photo, divided by the square root of D: (N,), about 1 for photos like those
        that were seen."""
        away_ND = np.asarray(h_ND, np.float64) - self.mean_D
        along_NK = away_ND @ self.axes_KD.T
        rest_N = np.maximum((away_ND**2).sum(1) - (along_NK**2).sum(1), 0) / self.rest**2
        distance_N: Floats = np.sqrt((((along_NK / self.deviation_K) ** 2).sum(1) + rest_N) / len(self.mean_D))
        return distance_N

    def share_nearer(self, h_ND: NDArray[Any]) -> Floats:
        """The share (N,) of the photos that were seen whose distance is smaller: 1 means farther than all of them."""
        shares_Q = np.linspace(0, 1, len(self.distance_Q))
        share_N: Floats = np.interp(self.distance(h_ND), self.distance_Q, shares_Q)
        return share_N

    @classmethod
    def read(cls, tensors: Mapping[str, NDArray[Any]]) -> Seen:
        """The inverse of `tensors`."""
        mean, axes, deviation, distance = (
            tensors[name].astype(np.float64) for name in ("mean", "axes", "deviation", "distance")
        )
        return cls(mean, axes, deviation, float(tensors["rest"][0]), distance)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The content of features.safetensors."""
        return {
            "mean": self.mean_D.astype(np.float32),
            "axes": np.ascontiguousarray(self.axes_KD, np.float32),
            "deviation": self.deviation_K.astype(np.float32),
            "rest": np.array([self.rest], np.float32),
            "distance": self.distance_Q.astype(np.float32),
        }


def seen(h_ND: NDArray[Any], subjects: Sequence[str]) -> Seen | None:
    """The distribution of features. `subjects`: of each photo. None for fewer than LEAST_PHOTOS photos or FOLDS
    subjects."""
    if len(h_ND) < LEAST_PHOTOS or len(set(subjects)) < FOLDS:
        return None
    h_ND = np.asarray(h_ND, np.float64)
    order = {name: rank for rank, name in enumerate(sorted(set(subjects), key=_shuffled))}
    fold_N = np.array([order[name] % FOLDS for name in subjects])
    distance_N = np.empty(len(h_ND))
    for fold in range(FOLDS):
        distance_N[fold_N == fold] = _fitted(h_ND[fold_N != fold]).distance(h_ND[fold_N == fold])
    whole = _fitted(h_ND)
    distance_Q = np.quantile(distance_N, np.linspace(0, 1, QUANTILES))
    return Seen(whole.mean_D, whole.axes_KD, whole.deviation_K, whole.rest, distance_Q)


def _shuffled(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()


def _fitted(h_ND: Floats) -> Seen:
    from scipy.linalg import eigh

    count, width = h_ND.shape
    axes = max(1, min(MOST_AXES, count // PHOTOS_PER_AXIS, width - 1))
    mean_D = h_ND.mean(0)
    away_ND = h_ND - mean_D
    total = float((away_ND**2).sum()) / count
    if count < width:  # the eigenvectors of the smaller matrix give those of the larger
        _, u_NK = eigh(away_ND @ away_ND.T / count, subset_by_index=[count - axes, count - 1])
        v_DK = away_ND.T @ u_NK
        axes_KD = (v_DK / np.maximum(np.linalg.norm(v_DK, axis=0), SMALLEST)).T
    else:
        _, v_DK = eigh(away_ND.T @ away_ND / count, subset_by_index=[width - axes, width - 1])
        axes_KD = v_DK.T
    variance_K = ((away_ND @ axes_KD.T) ** 2).mean(0)
    rest = np.sqrt(max(total - float(variance_K.sum()), 0.0) / (width - axes))
    return Seen(mean_D, axes_KD, np.sqrt(variance_K) + SMALLEST, float(rest) + SMALLEST, np.zeros(2))
