"""Equation (1) and the intra-personal loss against loops written from the paper."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from comface.pretrain import losses
from comface.pretrain.losses import inter_personal_loss, intra_personal_loss


def equation_one(z: torch.Tensor, temperature: float) -> float:
    """InfoNCE term by term, in float64: j's positive is j + N (or j - N); k runs over all others."""
    z = z.double()
    z = z / z.norm(dim=1, keepdim=True)
    rows = len(z)
    total = 0.0
    for j in range(rows):
        positive = (j + rows // 2) % rows
        numerator = math.exp(float(z[j] @ z[positive]) / temperature)
        denominator = sum(math.exp(float(z[j] @ z[k]) / temperature) for k in range(rows) if k != j)
        total -= math.log(numerator / denominator)
    return total / rows


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 16), st.floats(0.05, 2.0), st.integers(0, 10_000))
def test_the_inter_personal_loss_equals_equation_one_written_as_a_loop(pairs, width, temperature, seed):
    z = torch.randn(2 * pairs, width, generator=torch.Generator().manual_seed(seed))
    expected = equation_one(z, temperature)
    assert float(inter_personal_loss(z, temperature)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_scale_of_projections_does_not_matter_since_similarity_is_the_cosine():
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    scaled = z * torch.linspace(0.1, 30, 8)[:, None]
    assert float(inter_personal_loss(z, 0.1)) == pytest.approx(float(inter_personal_loss(scaled, 0.1)), rel=1e-5)


def test_a_batch_without_two_views_of_every_face_is_refused():
    with pytest.raises(ValueError, match="two views"):
        inter_personal_loss(torch.zeros(3, 4), 0.1)


def test_the_gradient_of_the_inter_personal_loss_equals_finite_differences():
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    z.requires_grad_(True)
    inter_personal_loss(z, 0.5).backward()
    step = 1e-4
    for row, column in ((0, 0), (3, 2), (5, 1)):
        moved = [z.detach().clone() for _ in range(2)]
        moved[0][row, column] += step
        moved[1][row, column] -= step
        slope = (equation_one(moved[0], 0.5) - equation_one(moved[1], 0.5)) / (2 * step)
        assert float(z.grad[row, column]) == pytest.approx(slope, abs=1e-5)


@pytest.mark.parametrize("rows", [2, 10, 600])
@pytest.mark.parametrize("temperature", [0.005, 0.026, 0.1, 1.0])
def test_loss_and_gradient_of_panels_are_those_of_the_whole_matrix_at_any_temperature(
    monkeypatch: pytest.MonkeyPatch, rows: int, temperature: float
) -> None:
    monkeypatch.setattr(losses, "PANEL_ROWS", 3 if rows == 10 else losses.PANEL_ROWS)
    z = torch.randn(rows, 16, generator=torch.Generator().manual_seed(3))
    z[0], z[rows // 2] = torch.ones(16), torch.linspace(-1, -1.001, 16)  # as far apart as unit vectors can be
    z.requires_grad_(True)
    (3 * (loss := inter_personal_loss(z, temperature))).backward()
    exact = z.detach().double().requires_grad_(True)
    unit = nn.functional.normalize(exact, dim=1)
    similarity = (unit @ unit.T / temperature).masked_fill(torch.eye(rows, dtype=torch.bool), float("-inf"))
    (3 * (expected := nn.functional.cross_entropy(similarity, torch.arange(rows).roll(rows // 2)))).backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=2e-6, abs=2e-6)
    assert (z.grad - exact.grad).abs().max() <= 2e-5 * max(1e-6, float(exact.grad.abs().max()))


@pytest.mark.parametrize("target", ["absolute", "signed"])
def test_the_intra_personal_loss_equals_its_sum_written_as_a_loop(target):
    draw = torch.Generator().manual_seed(3)
    d, x, y = (torch.rand(7, generator=draw) * 10 - 5 for _ in range(3))
    expected = 0.0
    for i in range(7):
        change = float(y[i]) - float(x[i])
        expected += (float(d[i]) - (abs(change) if target == "absolute" else change)) ** 2 / 7
    assert float(intra_personal_loss(d, x, y, target)) == pytest.approx(expected, rel=1e-6)
