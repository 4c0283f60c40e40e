"""Fine-tuning: the grid, the order in which pairs are read, and number formats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from comface.errors import DataError
from comface.faces.preprocessing import Preprocessing
from comface.methods.encoder import Encoder
from comface.transfer.finetune import Batches, Training, finetune_best

PAIRS = 24


def encoder() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    return Encoder(4, Preprocessing(size_px=8), network)


def training(backbone_rate: float, head_rate: float, precision: str = "fp32") -> Training:
    return Training(
        4, 8, backbone_rate, head_rate, fresh=True, antisymmetric=False, seed=0, words=("t", 0), precision=precision
    )


def data(seed: int = 0, device: str = "cpu") -> tuple[Batches, np.ndarray]:
    rng = np.random.default_rng(seed)
    faces_NSSC = rng.integers(0, 255, (20, 8, 8, 3), np.uint8)
    x_P, y_P = rng.integers(0, 20, (2, PAIRS))
    change_P = (faces_NSSC[y_P].mean((1, 2, 3)) - faces_NSSC[x_P].mean((1, 2, 3))).astype(np.float64)
    return Batches(Preprocessing(size_px=8), faces_NSSC, (x_P, y_P), device), change_P


def tuned(*grid: Training):
    (train, change_P), (validation, wanted_P) = data(0), data(1)
    return finetune_best(encoder, [train, validation], [change_P, wanted_P], grid)


def test_the_grid_point_with_the_lowest_validation_error_is_chosen_and_recorded() -> None:
    grid = [training(backbone, head) for backbone in (1e-3, 1e-9) for head in (1e-2, 1e-9)]
    errors = {(each.backbone_rate, each.head_rate): tuned(each).error for each in grid}
    best = tuned(*grid)
    assert len(set(errors.values())) == 4
    assert best.error == min(errors.values())
    chosen = best.chosen
    assert errors[chosen["backbone_rate"], chosen["head_rate"]] == best.error
    assert chosen["validation_error"] == pytest.approx(best.error, rel=1e-5)
    assert 1 <= chosen["epochs"] <= 4


def test_a_grid_point_that_diverges_is_not_chosen_and_all_of_them_are_an_error() -> None:
    wild = training(1e30, 1e30)
    assert tuned(wild, training(1e-3, 1e-2)).chosen["backbone_rate"] == 1e-3
    with pytest.raises(DataError, match=r"Fine-tuning of t/0 diverged; lower transfer\.backbone_rate and"):
        tuned(wild)


def test_faces_that_are_read_ahead_come_in_the_same_order() -> None:
    (plain, _), (ahead, _) = data(), data(device="gpu")
    ahead.preprocessing = lambda faces, _: plain.preprocessing(faces)
    order_P = np.random.default_rng(0).permutation(PAIRS)
    for (one_P, *one), (other_P, *other) in zip(plain.in_order(order_P, 5), ahead.in_order(order_P, 5), strict=True):
        assert np.array_equal(one_P, other_P)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_mixed_precision_is_used_only_if_it_is_asked_for() -> None:
    assert training(1e-3, 1e-2).forward("cpu")._enabled is False
    exact, mixed = tuned(training(1e-3, 1e-2)), tuned(training(1e-3, 1e-2, "bf16"))
    assert exact.error != mixed.error
    assert exact.error == pytest.approx(mixed.error, rel=0.1)
    assert all(p.dtype == torch.float32 for p in mixed.network.parameters())
