"""The two losses of section 3.2.

Legend: N pairs (x_i, y_i), 2N views of the x_i, D width of the projection z or of the features h.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def inter_personal_loss(z_2ND: Tensor, temperature: float) -> Tensor:
    """InfoNCE, equation (1), with cosine similarity. Rows i and i + N are the two views of x_i.

    z_2ND: (2N, D), any scale. Returns a scalar, the mean over all 2N rows. Raises ValueError for an odd number of rows.
    It costs one matrix product and is computed in float32, whatever the precision of the input."""
    if z_2ND.shape[0] % 2:
        raise ValueError("equation (1) needs two views of every x, so the number of rows must be even")
    z_2ND = functional.normalize(z_2ND.float(), dim=1)
    similarity = z_2ND @ z_2ND.T / temperature
    similarity.fill_diagonal_(float("-inf"))  # the indicator k != j
    count = z_2ND.shape[0]
    positive = torch.arange(count, device=z_2ND.device).roll(-(count // 2))
    return functional.cross_entropy(similarity, positive)


def intra_personal_loss(d_N: Tensor, alpha_x_N: Tensor, alpha_y_N: Tensor, target: str = "absolute") -> Tensor:
    """Mean squared error between the estimated change d and |alpha_y - alpha_x| (section 3.2), or alpha_y - alpha_x if
    `target` is "signed" (ablation d of table 7)."""
    change_N = alpha_y_N - alpha_x_N
    if target == "absolute":
        change_N = change_N.abs()
    return functional.mse_loss(d_N.float(), change_N.float())
