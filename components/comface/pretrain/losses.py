"""The two losses of section 3.2.

Legend: N pairs (x_i, y_i), 2N views of the x_i, D width of the projection z or of the features h, B rows of a panel.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

PANEL_ROWS = 256
"""Rows of the similarity matrix that a CPU computes at once: a panel then stays in the cache."""
LARGEST_EXPONENT = 80.0
"""exp(-80) is a normal number in float32. Similarities over the temperature differ by at most 2 / temperature."""


def inter_personal_loss(z_2ND: Tensor, temperature: float) -> Tensor:
    """InfoNCE, equation (1), with cosine similarity. Rows i and i + N are the two views of x_i.

    z_2ND: (2N, D), any scale. Returns a scalar, the mean over all 2N rows. Raises ValueError for an odd number of rows.
    It is computed in float32, whatever the precision of the input."""
    if z_2ND.shape[0] % 2:
        raise ValueError("equation (1) needs two views of every x, so the number of rows must be even")
    u_2ND = functional.normalize(z_2ND.float(), dim=1)
    if 2 / temperature > LARGEST_EXPONENT:
        return _by_cross_entropy(u_2ND, temperature)
    loss: Tensor = _InfoNCE.apply(u_2ND, temperature)
    return loss


def _by_cross_entropy(u_2ND: Tensor, temperature: float) -> Tensor:
    """Equation (1) for any temperature, in PyTorch's own functions."""
    similarity = u_2ND @ u_2ND.T / temperature
    similarity.fill_diagonal_(float("-inf"))  # the indicator k != j
    count = u_2ND.shape[0]
    positive = torch.arange(count, device=u_2ND.device).roll(-(count // 2))
    return functional.cross_entropy(similarity, positive)


class _InfoNCE(torch.autograd.Function):
    """Equation (1) of unit vectors, with its gradient.

    The similarity is symmetric, so only the panels on and right of the diagonal are computed, and the gradient is one
    product of a symmetric matrix with u. Similarities of unit vectors are at most 1, so the exponentials need no search
    for the largest one. The gradient is computed with the loss, and no matrix is kept for later."""

    @staticmethod
    def forward(ctx: Any, u_2ND: Tensor, temperature: float) -> Tensor:
        count = u_2ND.shape[0]
        starts = range(0, count, PANEL_ROWS if u_2ND.device.type == "cpu" else count)
        scaled_2ND, panels, sum_2N = u_2ND / temperature, [], u_2ND.new_zeros(count)
        for a, b in pairwise((*starts, count)):
            panel = torch.addmm(u_2ND.new_full((), -1 / temperature), scaled_2ND[a:b], u_2ND[a:].T).exp_()
            panel[:, : b - a].fill_diagonal_(0)  # the indicator k != j
            sum_2N[a:b] += panel.sum(dim=1)
            sum_2N[b:] += panel[:, b - a :].sum(dim=0)
            panels.append(panel)
        positive_2ND = u_2ND.roll(count // 2, 0)
        if ctx.needs_input_grad[0]:
            gradient_2ND = _from_negatives(panels, u_2ND, 1 / sum_2N).sub_(positive_2ND, alpha=2)
            ctx.save_for_backward(gradient_2ND.div_(count * temperature))
        return sum_2N.log().mean() + (1 - (u_2ND * positive_2ND).sum() / count) / temperature

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (gradient_2ND,) = ctx.saved_tensors
        return gradient_2ND * gradients[0], None


def _from_negatives(panels: list[Tensor], u_2ND: Tensor, share_2N: Tensor) -> Tensor:
    """Return W @ u with W[j,k] = exp(s[j,k]) * (share[j] + share[k]), the softmax and its transpose."""
    out_2ND = torch.zeros_like(u_2ND)
    a = 0
    for panel in panels:
        b = a + panel.shape[0]
        panel.mul_(share_2N[a:b, None] + share_2N[a:])
        out_2ND[a:b].addmm_(panel, u_2ND[a:])
        out_2ND[b:].addmm_(panel[:, b - a :].T, u_2ND[a:b])
        a = b
    return out_2ND


def intra_personal_loss(d_N: Tensor, alpha_x_N: Tensor, alpha_y_N: Tensor, target: str = "absolute") -> Tensor:
    """Mean squared error between the estimated change d and |alpha_y - alpha_x| (section 3.2), or alpha_y - alpha_x if
    `target` is "signed" (ablation d of table 7)."""
    change_N = alpha_y_N - alpha_x_N
    if target == "absolute":
        change_N = change_N.abs()
    return functional.mse_loss(d_N.float(), change_N.float())
