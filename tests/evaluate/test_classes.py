"""Figures of tasks with classes: as sums per subject they equal those of the photos, and get intervals."""

from __future__ import annotations

import numpy as np
import pytest

from comface.tasks.agreement import Scored
from comface.tasks.classes import CLASS_METRICS, class_metrics, confusion
from comface.tasks.intervals import resample_counts


@pytest.mark.parametrize("classes", [2, 4])
def test_figures_from_sums_per_subject_equal_those_of_all_photos(classes: int) -> None:
    rng = np.random.default_rng(0)
    truth_P = rng.integers(0, classes - 1, 200).astype(float)  # the last class never occurs, but is predicted
    predicted_P = np.where(rng.random(200) < 0.7, truth_P, rng.integers(0, classes, 200)).astype(float)
    subject_P = np.repeat(np.arange(20), 10)
    scored = Scored(subject_P, truth_P, predicted_P[None], resample_counts(20, 200, 0), 0.95, classes)
    right, sums = class_metrics(confusion(truth_P, predicted_P, classes)), scored.sums()
    for metric in CLASS_METRICS:
        found = scored.estimate(metric, sums)
        assert found.value == pytest.approx(right[metric])
        assert found.low < found.value < found.high


def test_a_subgroup_has_the_figures_of_its_photos_only() -> None:
    rng = np.random.default_rng(1)
    truth_P, predicted_P = (rng.integers(0, 3, 90).astype(float) for _ in range(2))
    scored = Scored(np.repeat(np.arange(9), 10), truth_P, predicted_P[None], resample_counts(9, 50, 0), 0.95, 3)
    of_P = np.arange(90) < 40
    right = class_metrics(confusion(truth_P[of_P], predicted_P[of_P], 3))
    assert scored.estimate("macro_f1", scored.sums(of_P), of_P).value == pytest.approx(right["macro_f1"])
