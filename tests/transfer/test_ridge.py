from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from comface.networks.head import Head
from comface.transfer import ridge
from comface.transfer.algebra import Gram, solved
from comface.transfer.ridge import PENALTIES, Form, Moments, Samples, fit, fit_in_turns, fit_validated


def samples(count: int = 300, width: int = 7, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    h_ND = (rng.normal(size=(60, width)) * rng.uniform(0.1, 30, width) + 5).astype(np.float32)
    x_P, y_P = rng.integers(0, 60, count), rng.integers(0, 60, count)
    change_P = np.maximum(h_ND[y_P] - h_ND[x_P], 0) @ rng.normal(size=width) + rng.normal(size=count)
    return Samples(h_ND, x_P, y_P, change_P)


def slow_ridge(data: Samples, penalty: float, antisymmetric: bool) -> np.ndarray:
    """Predictions of the normal equations, summed pair by pair, solved directly with the bias as one more column."""
    used = data.h_ND[sorted({*data.x_P, *data.y_P})].astype(float)
    mean, scale, width = used.mean(axis=0), np.sqrt(used.var(axis=0).mean()), used.shape[1]
    rows = []
    for x, y in zip(data.x_P, data.y_P, strict=True):
        a, b = (data.h_ND[x].astype(float) - mean) / scale, (data.h_ND[y].astype(float) - mean) / scale
        if antisymmetric:
            rows.append(np.array([*((max(q - p, 0) - max(p - q, 0)) / 2 for p, q in zip(a, b, strict=True)), 0.0]))
        else:
            rows.append(np.array([*(max(q - p, 0) for p, q in zip(a, b, strict=True)), 1.0]))
    gram, right = np.zeros((width + 1, width + 1)), np.zeros(width + 1)
    for row, change in zip(rows, data.change_P, strict=True):
        gram += np.outer(row, row) / len(rows)
        right += row * change / len(rows)
    inner = np.array(rows)[:, :width]
    centred = inner if antisymmetric else inner - inner.mean(axis=0)
    absolute = penalty * np.trace(centred.T @ centred / len(rows)) / width
    gram[:width, :width] += absolute * np.eye(width)
    if antisymmetric:
        gram[width, width] = 1.0
    return np.array(rows) @ np.linalg.solve(gram, right)


@pytest.mark.parametrize("antisymmetric", [False, True])
@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0, 100.0])
def test_ridge_equals_the_normal_equations_summed_pair_by_pair(penalty, antisymmetric):
    data = samples()
    head = fit(data, penalty, Form(antisymmetric))
    expected = slow_ridge(data, penalty, antisymmetric)
    assert np.allclose(data.predicted(head), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("antisymmetric", [False, True])
def test_mirrored_photos_count_as_further_pairs(antisymmetric):
    data, other_ND = samples(), samples(seed=1).h_ND
    both = Samples(data.h_ND, data.x_P, data.y_P, data.change_P, other_ND)
    stacked_ND = np.concatenate([data.h_ND, other_ND])
    x_P, y_P = (np.concatenate([rows_P, rows_P + len(other_ND)]) for rows_P in (data.x_P, data.y_P))
    stacked = Samples(stacked_ND, x_P, y_P, np.tile(data.change_P, 2))
    for field in ("count", "gram_DD", "product_D", "sum_D", "target_sum", "target_square_sum"):
        found, expected = (getattr(Moments.of(each, antisymmetric), field) for each in (both, stacked))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("antisymmetric", [False, True])
def test_pairs_that_do_not_differ_are_estimated_by_their_change(antisymmetric):
    """As where a fold's training subject has two photos."""
    data = samples(width=300)
    same = Samples(data.h_ND, np.zeros(20, int), np.ones(20, int), np.full(20, 2.5))
    head, _ = fit_validated(same, same, Form(antisymmetric))
    assert same.predicted(head) == pytest.approx(2.5, abs=1e-3)


def test_the_head_finds_the_change_that_it_can_express_and_not_its_opposite():
    data = samples(2000)
    head = fit(data, 1e-4, Form())
    turned = Samples(data.h_ND, data.y_P, data.x_P, data.change_P)
    assert np.corrcoef(data.predicted(head), data.change_P)[0, 1] > 0.99
    assert np.corrcoef(turned.predicted(head), data.change_P)[0, 1] < 0.5


def test_an_antisymmetric_estimate_changes_its_sign_with_the_direction():
    data = samples()
    head = fit(data, 0.1, Form(antisymmetric=True))
    turned = Samples(data.h_ND, data.y_P, data.x_P, data.change_P)
    assert np.allclose(data.predicted(head), -turned.predicted(head))


def test_the_penalty_has_the_least_squared_error_on_the_validation_pairs():
    train, validation = samples(40, 30, 1), samples(200, 30, 2)
    head, penalty = fit_validated(train, validation, Form())
    errors = {
        each: np.mean((validation.predicted(fit(train, each, Form())) - validation.change_P) ** 2) for each in PENALTIES
    }
    assert penalty == min(errors, key=errors.get)
    assert np.allclose(validation.predicted(head), validation.predicted(fit(train, penalty, Form())))


@pytest.mark.parametrize("antisymmetric", [False, True])
def test_groups_that_validate_in_turn_choose_the_penalty_of_a_slow_inner_cross_validation(antisymmetric):
    whole = samples(240, 25, 1)
    whole.change_P[:] += 40 * np.random.default_rng(0).normal(size=240)

    def part(of: np.ndarray) -> Samples:
        return Samples(whole.h_ND, whole.x_P[of], whole.y_P[of], whole.change_P[of])

    positions = np.arange(240)
    groups = [part(positions[turn::3]) for turn in range(3)]
    head, penalty = fit_in_turns(groups, Form(antisymmetric))
    errors = dict.fromkeys(PENALTIES, 0.0)
    for turn, group in enumerate(groups):
        rest = part(positions[positions % 3 != turn])
        for each in PENALTIES:
            errors[each] += np.sum((group.predicted(fit(rest, each, Form(antisymmetric))) - group.change_P) ** 2)
    assert penalty == min(errors, key=errors.get)
    assert np.allclose(
        whole.predicted(head), whole.predicted(fit(whole, penalty, Form(antisymmetric))), rtol=1e-3, atol=1e-3
    )


def test_moments_of_groups_add_up_to_those_of_all_pairs():
    data = samples()
    halves = [Samples(data.h_ND, data.x_P[h], data.y_P[h], data.change_P[h]) for h in (slice(0, 100), slice(100, None))]
    whole = Moments.of(data, False)
    summed = Moments.of(halves[0], False) + Moments.of(halves[1], False)
    assert np.allclose(summed.gram_DD, whole.gram_DD, rtol=1e-5)
    assert np.allclose((whole - Moments.of(halves[1], False)).sum_D, Moments.of(halves[0], False).sum_D, rtol=1e-4)


@pytest.mark.parametrize("antisymmetric", [False, True])
def test_the_squared_error_from_sums_is_that_of_the_pairs(antisymmetric):
    train, other = samples(240, 25, 1), samples(200, 25, 2)
    for penalty in (PENALTIES[0], 1.0, PENALTIES[-1]):
        head = fit(train, penalty, Form(antisymmetric))
        slow = np.sum((other.predicted(head) - other.change_P) ** 2)
        assert Moments.of(other, antisymmetric).squared_error(head) == pytest.approx(slow, rel=1e-4)


def test_a_feature_that_never_changes_and_more_features_than_pairs_do_no_harm():
    data = samples(20, 40)
    data.h_ND[:, 3] = 7.0
    head = fit(data, 1e-2, Form())
    assert np.isfinite(data.predicted(head)).all()


def test_a_feature_that_hardly_varies_in_training_does_not_rule_a_test_subject_in_whom_it_does():
    train = samples()
    quiet_N1 = 1e-4 * np.random.default_rng(1).normal(size=(60, 1)).astype(np.float32)
    head = fit(Samples(np.hstack([train.h_ND, quiet_N1]), train.x_P, train.y_P, train.change_P), 1e-2, Form())
    loud_ND = np.hstack([train.h_ND, 1e4 * quiet_N1])
    told = Samples(loud_ND, train.x_P, train.y_P, train.change_P).predicted(head)
    assert np.abs(told - train.predicted(fit(train, 1e-2, Form()))).max() < 0.1 * np.abs(train.change_P).max()


def test_a_head_comes_back_from_safetensors_as_it_was():
    data = samples()
    head = fit(data, 1e-2, Form(antisymmetric=True))
    again = Head.read(safetensors.numpy.load(safetensors.numpy.save(head.tensors())))
    assert again.antisymmetric
    assert np.allclose(data.predicted(again), data.predicted(head), rtol=1e-4, atol=1e-4)


def test_torch_sums_and_solves_as_numpy_does():
    data = samples(5000, 20)
    grams = [Gram(20, device) for device in (None, "cpu")]
    for r_PD, _ in data.blocks(False):
        for gram in grams:
            gram.add(r_PD)
    plain_DD, other_DD = (gram.value for gram in grams)
    assert np.allclose(other_DD, plain_DD, rtol=1e-5)
    assert other_DD.dtype == np.float64
    system_DD, right_D = plain_DD + np.eye(20), np.arange(20.0)
    expected = np.linalg.solve(system_DD, right_D)
    assert np.allclose(solved(system_DD.copy(), right_D, "cpu"), expected, rtol=1e-9)
    assert np.allclose(solved(system_DD.copy(), right_D, None), expected, rtol=1e-9)


def test_a_standardised_head_equals_ridge_on_features_with_a_deviation_of_one():
    data = samples()
    used = np.unique([data.x_P, data.y_P])
    scaled_ND = (data.h_ND / data.h_ND[used].std(axis=0)).astype(np.float32)
    scaled = Samples(scaled_ND, data.x_P, data.y_P, data.change_P)
    head = fit(data, 0.1, Form(standardised=True))
    assert np.allclose(data.predicted(head), scaled.predicted(fit(scaled, 0.1, Form())), rtol=1e-3, atol=1e-3)
    assert not np.allclose(data.predicted(head), data.predicted(fit(data, 0.1, Form())), rtol=1e-2)
    data.h_ND[:, 3] = 7.0
    assert np.isfinite(fit(data, 0.1, Form(standardised=True)).weight_D).all()


def test_blocks_give_the_same_head_as_all_pairs_at_once(monkeypatch):
    data = samples(700)
    whole = fit(data, 0.1, Form(standardised=True))
    monkeypatch.setattr(ridge, "ROWS", 64)
    parts = fit(data, 0.1, Form(standardised=True))
    assert np.allclose(data.predicted(parts), data.predicted(whole), rtol=1e-5, atol=1e-5)


def test_a_system_that_rounding_makes_indefinite_is_solved() -> None:
    """Five people with many features: the products of float32 are singular, and not exactly positive."""
    r_PD = np.random.default_rng(0).normal(size=(5, 400)).astype(np.float32)
    gram_DD = (r_PD.T @ r_PD).astype(np.float64)
    gram_DD[np.diag_indices(400)] -= 1e-6 * gram_DD.max()
    right_D = gram_DD @ np.ones(400)
    found_D = solved(gram_DD.copy(), right_D, None)
    assert np.isfinite(found_D).all()
    assert np.linalg.norm(r_PD @ found_D - r_PD @ np.ones(400)) < 0.01 * np.linalg.norm(r_PD @ np.ones(400))
    np.testing.assert_allclose(solved(gram_DD.copy(), right_D, "cpu"), found_D, rtol=1e-4, atol=1e-6)
