"""Metrics of tasks whose label is a class: accuracy, balanced accuracy and macro F1.

In: true and predicted class (their numbers, 0 to K - 1) of every photo. Out: shares. Balanced accuracy is the mean
recall of the classes that occur; macro F1 is the mean F1 of the classes that occur or are predicted. Both are those of
scikit-learn.

Legend: P photos, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def _mean(share_K: Floats) -> float:
    known_K = share_K[np.isfinite(share_K)]
    return float(known_K.mean()) if len(known_K) else float("nan")
