"""ChangeRegressor keeps scikit-learn's conventions and fits the head that transfer evaluates."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data
from tiny_run import ROOT

import comface
from comface import ChangeRegressor
from comface.transfer.ridge import Form, Samples, fit_in_turns
from comface.weights.fetched import LANDMARKS, available

PEOPLE, PHOTOS, D = 8, 5, 12
finds_faces = pytest.mark.skipif(LANDMARKS not in available(), reason="needs the face model")


def cohort() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of photos, all pairs of each person as rows, their change, and the person of each pair."""
    rng = np.random.default_rng(0)
    h_ND = rng.normal(size=(PEOPLE * PHOTOS, D)).astype(np.float32)
    label_N = h_ND @ rng.normal(size=D) + 0.1 * rng.normal(size=len(h_ND))
    rows = [(PHOTOS * who + a, PHOTOS * who + b) for who in range(PEOPLE) for a in range(PHOTOS) for b in range(PHOTOS)]
    pair_P2 = np.array([row for row in rows if row[0] != row[1]])
    return h_ND, pair_P2, label_N[pair_P2[:, 1]] - label_N[pair_P2[:, 0]], pair_P2[:, 0] // PHOTOS


class After(ChangeRegressor):
    """Takes features (P,D) of the photos after, from zeros before: what the checks of scikit-learn give."""

    def fit(self, X, y=None, groups=None):
        X, y = validate_data(self, X, y, y_numeric=True)
        return super().fit(np.stack([np.zeros_like(X), X], axis=1), y, groups)

    def predict(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return super().predict(np.stack([np.zeros_like(X), X], axis=1))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array, tags.input_tags.string = True, False, False
        return tags


def test_the_checks_of_scikit_learn_hold() -> None:
    """They give tables (P,D), which pairs of photos are not; so they check the estimator through `After`. What they
    cannot check: that fit and predict refuse such a table, which is not an error here but another form of input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(After(), on_fail=None)
    assert [each["check_name"] for each in results if each["status"] not in ("passed", "skipped")] == []
    assert sum(each["status"] == "passed" for each in results) >= 45


@pytest.mark.parametrize("antisymmetric", [False, True])
def test_the_head_is_the_ridge_regression_of_scikit_learn_on_rectified_differences(antisymmetric: bool) -> None:
    h_ND, pair_P2, change_P, _ = cohort()
    regressor = ChangeRegressor(penalty=0.01, antisymmetric=antisymmetric).fit(h_ND[pair_P2], change_P)
    z_ND = (h_ND - h_ND.mean(axis=0)) / np.sqrt(h_ND.var(axis=0).mean())
    difference_PD = z_ND[pair_P2[:, 1]] - z_ND[pair_P2[:, 0]]
    r_PD = difference_PD / 2 if antisymmetric else np.maximum(difference_PD, 0)
    centred_PD = r_PD if antisymmetric else r_PD - r_PD.mean(axis=0)
    alpha = 0.01 * np.square(centred_PD).mean(axis=0).mean() * len(r_PD)
    reference = Ridge(alpha, fit_intercept=not antisymmetric).fit(r_PD, change_P)
    reverse_PD = -difference_PD / 2 if antisymmetric else np.maximum(-difference_PD, 0)
    wanted_P = (reference.predict(r_PD) - reference.predict(reverse_PD)) / 2
    np.testing.assert_allclose(regressor.predict(h_ND[pair_P2]), wanted_P, rtol=1e-3, atol=1e-3)


def test_swapping_the_photos_flips_the_sign() -> None:
    h_ND, pair_P2, change_P, _ = cohort()
    regressor = ChangeRegressor().fit(h_ND[pair_P2], change_P)
    np.testing.assert_array_equal(regressor.predict(h_ND[pair_P2]), -regressor.predict(h_ND[pair_P2[:, ::-1]]))


def test_the_penalty_is_chosen_on_people_who_are_left_out() -> None:
    """Named, or found by the photos that pairs share; as transfer does it in turns."""
    h_ND, pair_P2, change_P, person_P = cohort()
    named = ChangeRegressor().fit(h_ND[pair_P2], change_P, groups=[f"p{person}" for person in person_P])
    found = ChangeRegressor().fit(h_ND[pair_P2], change_P)
    turns = [person_P % 5 == turn for turn in range(5)]
    head, penalty = fit_in_turns([Samples(h_ND, *pair_P2[turn].T, change_P[turn]) for turn in turns], Form())
    for regressor in (named, found):
        assert regressor.penalty_ == penalty
        np.testing.assert_allclose(regressor.head_.weight_D, head.weight_D, rtol=1e-6)


def test_it_works_in_a_pipeline_in_cross_validation_by_person_and_in_a_grid_search() -> None:
    h_ND, pair_P2, change_P, person_P = cohort()
    pairs, folds = h_ND[pair_P2], GroupKFold(4)
    score = cross_val_score(make_pipeline(ChangeRegressor()), pairs, change_P, groups=person_P, cv=folds)
    assert score.min() > 0.6
    held_out_P = cross_val_predict(ChangeRegressor(), pairs, change_P, groups=person_P, cv=folds)
    assert np.corrcoef(held_out_P, change_P)[0, 1] > 0.9
    search = GridSearchCV(ChangeRegressor(), {"penalty": [1e-3, 1e3]}, cv=folds).fit(pairs, change_P, groups=person_P)
    assert search.best_params_ == {"penalty": 1e-3}


def test_it_is_cloned_and_pickled() -> None:
    h_ND, pair_P2, change_P, _ = cohort()
    model = comface.load_model("shipped")
    copied = clone(ChangeRegressor(model, antisymmetric=True))
    assert copied.model is model
    assert copied.get_params() == {"antisymmetric": True, "model": model, "penalty": None, "standardised": False}
    fitted = copied.fit(h_ND[pair_P2], change_P)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(h_ND[pair_P2]), fitted.predict(h_ND[pair_P2]))


@finds_faces
def test_photos_are_encoded_as_the_model_does_and_each_once(tmp_path: Path) -> None:
    """The estimates are those of the model's own head, if the regressor has that head."""
    photo, names = Image.open(ROOT / "tests" / "data" / "astronaut.jpg"), []
    for number in range(4):
        ImageEnhance.Brightness(photo.rotate(3 * number)).enhance(0.7 + 0.15 * number).save(tmp_path / f"{number}.png")
        names.append(str(tmp_path / f"{number}.png"))
    pairs = [(names[a], names[b]) for a in range(4) for b in range(4) if a != b]
    model = comface.load_model("shipped")
    regressor = ChangeRegressor(model, penalty=1.0).fit(pairs, np.arange(12.0))
    by_features = ChangeRegressor(model, penalty=1.0).fit(model.features([p for pair in pairs for p in pair])
        .reshape(12, 2, -1), np.arange(12.0))  # fmt: skip
    np.testing.assert_allclose(regressor.head_.weight_D, by_features.head_.weight_D, rtol=1e-3, atol=1e-4)
    regressor.head_ = model.estimator.heads["smile"]
    wanted = [model.compare(*pair).changes["smile"].change for pair in pairs[:2]]
    np.testing.assert_allclose(regressor.predict(pairs[:2]), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("pairs", "change", "said"),
    [
        ([], [], "at least one pair"),
        (["ab.jpg", "cd.jpg"], [1, 2], "a sequence of"),
        ([("a.jpg", "b.jpg", "c.jpg")], [1], "a sequence of"),
        (np.zeros((3, 4)), [1, 2, 3], r"shape \(P, 2, D\), not \(3, 4\)"),
        (np.zeros((3, 2, 4)), [1, 2], "inconsistent numbers of samples"),
        (np.full((3, 2, 4), np.nan), [1, 2, 3], "contains NaN"),
        (np.zeros((1, 2, 4)), [1], r"\(1 sample\) is too few"),
    ],
)
def test_pairs_that_do_not_fit_are_a_value_error(pairs, change, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ChangeRegressor().fit(pairs, change)


@pytest.mark.parametrize("penalty", [-1, 0, float("nan"), float("inf")])
def test_a_penalty_that_is_no_positive_number_is_a_value_error(penalty: float) -> None:
    with pytest.raises(ValueError, match="`penalty` is a positive number"):
        comface.ChangeRegressor(penalty=penalty).fit(np.ones((4, 2, 3)), [1, 2, 3, 4])


@pytest.mark.parametrize("absent", [None, float("nan")])
def test_a_pair_without_a_person_is_a_value_error(absent: object) -> None:
    with pytest.raises(ValueError, match="has a pair without a person"):
        comface.ChangeRegressor().fit(np.ones((4, 2, 3)), [1, 2, 3, 4], groups=[1, absent, 2, 3])
