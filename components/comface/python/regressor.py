"""ChangeRegressor: fits the paper's change head to your own pairs of photos, by scikit-learn's conventions.

In: pairs of photos, or of their features, and the change of each pair. Out: an estimator for Pipeline, cross_val_score
and GridSearchCV. The backbone stays as it is (linear evaluation, section 3.4): the head and its ridge regression are
those of transfer (networks/head.py, ridge.py), estimates are made as by a registered model (models/estimator.py).

Legend: P pairs, N photos, S side length of an aligned face, D feature width.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from comface.models.estimator import symmetric
from comface.models.model import Model
from comface.python.functions import load_model
from comface.runtime.extras import absent_extra
from comface.transfer.ridge import Form, Samples, fit, fit_in_turns

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d
except ImportError as absent:
    raise absent_extra(absent) or absent from None

Floats = NDArray[np.float64]
TURNS = 5
"""Groups of people that are left out in turn to choose the penalty."""


class ChangeRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Estimate the change between two photos of one person: d = l(ReLU(h_y - h_x)), fitted by ridge regression.

    `model`: what `comface.load_model` returns, or a reference; None: the default model. Its backbone computes the
    features; its heads are not used.
    `penalty`: of the ridge regression, relative to the mean eigenvalue of the covariance. None: chosen from PENALTIES
    (transfer/ridge.py) by the error on people who are left out in turn.
    `antisymmetric`, `standardised`: the form of the head; the paper's is False for both.

    Pairs are a sequence of (before, after). A photo is a path, bytes, an image of Pillow or an array of uint8; each is
    read and encoded once per call. Or give an array of numbers (P,2,D) with the features of both photos
    (`model.features`), so that a cross-validation does not compute them again.

    Attributes after `fit`: `head_` (networks/head.py), `penalty_`, `n_features_in_` (D)."""

    def __init__(
        self,
        model: Any = None,
        *,
        penalty: float | None = None,
        antisymmetric: bool = False,
        standardised: bool = False,
    ) -> None:
        self.model = model
        self.penalty = penalty
        self.antisymmetric = antisymmetric
        self.standardised = standardised

    def fit(self, pairs: Any, change: Any, groups: Any = None) -> ChangeRegressor:
        """Fit the head. `change`: (P,), from before to after, in any unit. `groups`: (P,), the person of each pair;
        None: pairs that share a photo count as one person. They matter only if `penalty` is None.

        Raises DataError for a photo that cannot be used, ValueError for a penalty that is no positive number, and for
        pairs, changes or groups that do not fit each other."""
        if self.penalty is not None and not 0 < self.penalty < math.inf:
            raise ValueError(f"`penalty` is a positive number, not {self.penalty}.")
        (h_ND,), pair_P2 = self._encoded(pairs)
        change_P = column_or_1d(change, dtype=np.float64)
        change_P = check_array(change_P, ensure_2d=False, input_name="change")
        check_consistent_length(pair_P2, change_P)
        form = Form(self.antisymmetric, self.standardised)
        turns = [np.arange(len(change_P))] if self.penalty is not None else _turns(groups, pair_P2)
        samples = [Samples(h_ND, pair_P2[turn, 0], pair_P2[turn, 1], change_P[turn]) for turn in turns]
        if self.penalty is not None:
            self.head_, self.penalty_ = fit(samples[0], float(self.penalty), form), float(self.penalty)
        else:
            self.head_, self.penalty_ = fit_in_turns(samples, form)
        self.n_features_in_ = h_ND.shape[1]
        return self

    def predict(self, pairs: Any) -> Floats:
        """The estimated changes (P,): the mean of d(x,y) and -d(y,x), so swapping the photos flips the sign; for photos
        also over the faces and their mirror images."""
        check_is_fitted(self, "head_")
        views_VND, pair_P2 = self._encoded(pairs, mirrored=True)
        if views_VND.shape[2] != self.n_features_in_:
            raise ValueError(
                f"The features have {views_VND.shape[2]} values per photo, but those of `fit` had "
                f"{self.n_features_in_}."
            )
        before_P, after_P = pair_P2.T
        found: Floats = np.mean([symmetric(self.head_, h_ND[before_P], h_ND[after_P]) for h_ND in views_VND], axis=0)
        return found

    def _encoded(self, pairs: Any, mirrored: bool = False) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Features of the photos (V,N,D), each photo once, and the pairs as rows of them (P,2). V is 2 with the mirror
        images, which only photos have, else 1."""
        pairs = pairs.to_numpy() if hasattr(pairs, "to_numpy") else pairs  # a table of pandas
        of_images = getattr(pairs, "dtype", None) == np.uint8 and pairs.ndim > 3
        if isinstance(pairs, np.ndarray) and np.issubdtype(pairs.dtype, np.number) and not of_images:
            h_P2D = check_array(pairs, allow_nd=True, dtype=np.float32, input_name="pairs")
            if h_P2D.ndim != 3 or h_P2D.shape[1] != 2:
                raise ValueError(f"Features of pairs have the shape (P, 2, D), not {h_P2D.shape}.")
            rows, pair_P2 = _distinct(h_P2D)
            return np.stack(rows)[None], pair_P2
        photos, pair_P2 = _distinct(pairs)
        model = self.model if isinstance(self.model, Model) else load_model(self.model)
        return model.views(photos, mirrored and model.estimator.preprocessing.mirrored), pair_P2

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.no_validation = False
        return tags


def _distinct(pairs: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct photos (or rows of features), and the pairs (P,2) as their numbers."""
    if len(pairs) == 0 or any(isinstance(pair, (str, bytes)) or len(pair) != 2 for pair in pairs):
        raise ValueError("Pairs are a sequence of (before, after), with at least one pair.")
    photos = [photo for pair in pairs for photo in pair]
    numbers: dict[Any, int] = {}
    rows = [numbers.setdefault(_key(photo), len(numbers)) for photo in photos]
    return list(dict(zip(rows, photos, strict=True)).values()), np.array(rows).reshape(-1, 2)


def _key(photo: Any) -> Any:
    """What tells two photos apart: the path, or the content."""
    if isinstance(photo, np.ndarray):
        return photo.shape, hashlib.sha256(photo.tobytes()).digest()
    if isinstance(photo, (str, Path)):
        return str(photo)
    return hashlib.sha256(photo).digest() if isinstance(photo, bytes) else id(photo)


def _turns(groups: Any, pair_P2: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The pairs of each turn. All pairs of a person are in one turn; with one person, pairs are left out alone."""
    if groups is None:
        count = int(pair_P2.max()) + 1
        edges = coo_array((np.ones(len(pair_P2)), (pair_P2[:, 0], pair_P2[:, 1])), shape=(count, count))
        groups = connected_components(edges, directed=False)[1][pair_P2[:, 0]]
    check_consistent_length(pair_P2, groups)
    if any(group is None or group != group for group in groups):  # NaN is not equal to itself
        raise ValueError("`groups` has a pair without a person; give each pair its person.")
    person_P = np.unique(np.asarray(groups), return_inverse=True)[1]
    if person_P.max() == 0:
        person_P = np.arange(len(pair_P2))
    turn_P = person_P % TURNS
    if turn_P.max() == 0:
        raise ValueError("One pair (1 sample) is too few to choose the penalty; give more pairs, or `penalty`.")
    return [np.flatnonzero(turn_P == turn) for turn in np.unique(turn_P)]
