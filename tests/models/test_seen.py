"""How far a photo is from those that a model has seen: the distance is calibrated on people left out of the fit."""

from __future__ import annotations

import numpy as np
import pytest

from comface.models.seen import FOLDS, LEAST_PHOTOS, Seen, seen


def photos(count: int, width: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Features with a few strong directions and one offset per subject, six photos each."""
    rng = np.random.default_rng(seed)
    strong_KD = np.random.default_rng(0).normal(size=(5, width))
    subject_N = np.arange(count) // 6
    offsets = rng.normal(size=(count, 5))[subject_N] + 0.3 * rng.normal(size=(count, 5))
    return offsets @ strong_KD + 0.5 * rng.normal(size=(count, width)), [f"s{number}" for number in subject_N]


@pytest.mark.parametrize(("count", "width"), [(600, 64), (120, 400)])
def test_new_people_are_as_far_as_the_quantiles_say_and_other_photos_are_farther(count: int, width: int) -> None:
    known = seen(*photos(count, width, 1))
    assert known is not None
    new_ND, _ = photos(1200, width, 2)
    farther = float((known.share_nearer(new_ND) >= 0.95).mean())
    assert 0.005 < farther < 0.15, "nominally 5 %"
    other_ND = np.random.default_rng(3).normal(size=(100, width)) * 3
    assert (known.share_nearer(other_ND) == 1).all()
    assert (known.distance(other_ND) > known.distance_Q[-1]).all()


def test_the_distance_is_that_of_the_whole_covariance() -> None:
    known = seen(*photos(600, 16, 1))
    assert known is not None
    projection_DD = known.axes_KD.T @ known.axes_KD
    assert np.allclose(known.axes_KD @ known.axes_KD.T, np.eye(len(known.axes_KD)))
    covariance_DD = known.axes_KD.T @ np.diag(known.deviation_K**2) @ known.axes_KD
    covariance_DD += known.rest**2 * (np.eye(16) - projection_DD)
    h_ND, _ = photos(12, 16, 5)
    away_ND = h_ND - known.mean_D
    slow_N = [np.sqrt(away @ np.linalg.inv(covariance_DD) @ away / 16) for away in away_ND]
    assert np.allclose(known.distance(h_ND), slow_N)


def test_the_stored_form_gives_the_same_distances() -> None:
    h_ND, subjects = photos(300, 64, 1)
    known = seen(h_ND, subjects)
    assert known is not None
    again = Seen.read(known.tensors())
    assert np.allclose(again.distance(h_ND), known.distance(h_ND), rtol=1e-4)


def test_too_few_photos_or_people_give_no_distribution() -> None:
    h_ND, subjects = photos(LEAST_PHOTOS - 1, 8, 1)
    assert seen(h_ND, subjects) is None
    h_ND, _ = photos(60, 8, 1)
    assert seen(h_ND, [f"s{i % (FOLDS - 1)}" for i in range(60)]) is None
