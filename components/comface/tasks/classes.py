"""Metrics of tasks whose label is a class: accuracy, balanced accuracy and macro F1.

In: true and predicted class (their numbers, 0 to K - 1) of every photo. Out: shares. Balanced accuracy is the mean
recall of the classes that occur; macro F1 is the mean F1 of the classes that occur or are predicted. Both are those of
scikit-learn.

As in metrics.py, a figure is a function of sums per subject, here of the photos that are of, predicted as, and rightly
predicted as each class.

Legend: P photos, S subjects, K classes.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from comface.tasks.metrics import LOGIT, Figure, ratio

Floats = NDArray[np.float64]
CLASS_METRICS = ("class_acc", "balanced_acc", "macro_f1")


def confusion(truth_P: Floats, predicted_P: Floats, classes: int) -> Floats:
    """Return the number of photos per true (row) and predicted (column) class (K,K)."""
    cell_P = truth_P.astype(np.int64) * classes + predicted_P.astype(np.int64)
    return np.bincount(cell_P, minlength=classes**2).reshape(classes, classes).astype(np.float64)


def class_metrics(count_KK: Floats) -> dict[str, float]:
    """Return the metrics of a confusion matrix; NaN without a photo."""
    true_K, predicted_K, right_K = count_KK.sum(axis=1), count_KK.sum(axis=0), count_KK.diagonal()
    with np.errstate(invalid="ignore"):
        recall_K, f1_K = right_K / true_K, 2 * right_K / (true_K + predicted_K)
        accuracy = float(right_K.sum() / count_KK.sum())
    return dict(zip(CLASS_METRICS, (accuracy, _mean(recall_K), _mean(f1_K)), strict=True))


@functools.cache
def class_figures(classes: int) -> dict[str, Figure]:
    """Return the metrics as functions of the columns of `class_sums`."""
    of, predicted, right = (tuple(f"{what}_{k}" for k in range(classes)) for what in ("of", "predicted", "right"))
    return {
        "class_acc": Figure(("pairs", "right"), ratio, LOGIT, is_share=True),
        "balanced_acc": Figure(of + right, _balanced, LOGIT, is_share=True),
        "macro_f1": Figure(of + predicted + right, _macro_f1, LOGIT, is_share=True),
    }


def class_sums(
    subject_P: NDArray[np.int64],
    truth_P: Floats,
    predicted_P: Floats,
    subjects: int,
    classes: int,
    of_P: NDArray[np.bool_],
) -> dict[str, Floats]:
    """Column → (S,) numbers of photos per subject. `of_P`: the photos that count."""
    right_P = truth_P == predicted_P
    columns = {"pairs": np.ones(len(truth_P), bool), "right": right_P}
    for k in range(classes):
        columns |= {f"of_{k}": truth_P == k, f"predicted_{k}": predicted_P == k, f"right_{k}": right_P & (truth_P == k)}
    return {
        name: np.bincount(subject_P, column & of_P, subjects).astype(np.float64) for name, column in columns.items()
    }


def _balanced(*columns: Floats) -> Floats:
    of, right = np.split(np.stack(columns), 2)
    return _means(right, of)


def _macro_f1(*columns: Floats) -> Floats:
    of, predicted, right = np.split(np.stack(columns), 3)
    return _means(2 * right, of + predicted)


def _means(numerator: Floats, denominator: Floats) -> Floats:
    """Return the mean over the classes (axis 0) of the shares that are defined."""
    known = denominator > 0
    share = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=known)
    return ratio(known.sum(axis=0).astype(np.float64), share.sum(axis=0))


def _mean(share_K: Floats) -> float:
    known_K = share_K[np.isfinite(share_K)]
    return float(known_K.mean()) if len(known_K) else float("nan")
