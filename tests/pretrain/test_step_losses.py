"""The losses of steps: kept as they are, read once, in order; the norm is that of the gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from comface.pretrain.step_losses import StepLosses


def test_losses_are_read_in_order_and_only_once() -> None:
    kept = StepLosses(torch.device("cpu"), longest=3)
    pairs = [(0.1, 2.5), (0.2, 1.5), (float("nan"), 0.5)]
    for inter, intra in pairs:
        kept.add(torch.tensor(inter, requires_grad=True), torch.tensor(intra))
    inter_K, intra_K, _ = kept.read([])
    assert inter_K[:2] == [torch.tensor(v).item() for v in (0.1, 0.2)], "no digit of float32 is lost"
    assert inter_K[2] != inter_K[2], "and what is not finite is seen"
    assert intra_K == [2.5, 1.5, 0.5]
    assert kept.read([]).inter_K == []


def test_a_loss_that_is_not_used_is_zero_even_where_a_step_before_had_one() -> None:
    kept = StepLosses(torch.device("cpu"))
    kept.add(torch.tensor(1.0), torch.tensor(2.0))
    kept.read([])
    kept.add(None, torch.tensor(3.0))
    assert kept.read([])[:2] == ([0.0], [3.0])


def test_more_steps_than_fit_without_a_reading_are_a_defect() -> None:
    kept = StepLosses(torch.device("cpu"), longest=1)
    kept.add(torch.tensor(1.0), None)
    with pytest.raises(IndexError):
        kept.add(torch.tensor(1.0), None)


def test_the_norm_is_over_the_gradients_of_all_parameters() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[2.0, 3.0]]), torch.tensor([6.0])
    unused = nn.Parameter(torch.ones(5))
    assert StepLosses(torch.device("cpu")).read([*layer.parameters(), unused]).gradient_norm == 7
