"""Weight-aware supervised momentum contrast (WeightSupMoCo), the loss of the first stage.

MoCo (He et al., CVPR 2020) compares a query q with its own key and with the keys of a queue. SupMoCo (Majumder et al.,
2021) also counts the keys with the query's label (before or after dialysis) as positives. WeightSupMoCo (Akamatsu et
al., JBHI 2023) draws those nearest whose weight is similar. Its equation was not available to us; this form follows its
description. With A the own key and the queue, P(i) the own key and the keys of A with the label of i,

    s_ip = exp(-(w_i - w_p)^2 / (2 sigma^2)),  1 for the own key
    L_i  = - sum_{p in P(i)} s_ip / sum_{r in P(i)} s_ir * log(exp(q_i k_p / tau) / sum_{a in A} exp(q_i k_a / tau))

With an infinite sigma it is SupMoCo; if no key of the queue has the label of i, it is MoCo's InfoNCE.

Legend: N photos of a step, K keys in the queue, A = 1 + K, Z width of the projection.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Keys(NamedTuple):
    """Keys with the label (before or after dialysis) and the weight of their photos."""

    z_KZ: Tensor
    label_K: Tensor
    weight_K: Tensor


def weight_sup_moco(q_NZ: Tensor, own: Keys, queue: Keys, temperature: float, sigma: float) -> Tensor:
    """Return the mean loss. `own`: the key, label and weight of each query's photo, in the same order. Queries and keys
    have unit length. `sigma`: in the unit of the weights, may be infinite."""
    own_N1 = (q_NZ * own.z_KZ).sum(dim=1, keepdim=True)
    logit_NA = torch.cat([own_N1, q_NZ @ queue.z_KZ.T], dim=1) / temperature
    apart_NK = own.weight_K[:, None] - queue.weight_K
    same_NK = own.label_K[:, None] == queue.label_K
    near_NK = torch.exp(-(apart_NK**2) / (2 * sigma**2)) * same_NK
    near_NA = torch.cat([torch.ones_like(own_N1), near_NK], dim=1)
    share_NA = near_NA / near_NA.sum(dim=1, keepdim=True)
    return -(share_NA * logit_NA.log_softmax(dim=1)).sum(dim=1).mean()
