"""Curriculum of intra-personal changes, equation (2): the range S of |alpha_y - alpha_x| shrinks with the epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def change_range(epoch: int, s_max: float, ends: Sequence[int]) -> float:
    """S = S_max / S_e with S_e = t for e_(t-1) < e <= e_t, epochs counted from 1 (`ends` = e_1 … e_t).

    Raises ValueError for an epoch outside 1 … e_t."""
    for stage, end in enumerate(ends, start=1):
        if 1 <= epoch <= end:
            return s_max / stage
    raise ValueError(f"epoch {epoch} is outside the curriculum, which ends at epoch {ends[-1]}")


def choose_partner(alpha_A: np.ndarray, x_N: np.ndarray, u_N: np.ndarray, s: float) -> np.ndarray:
    """y for every x (indices into alpha_A), uniform over 0 < |alpha_y - alpha_x| <= S; `u_N` in [0, 1) decides.

    Returns (N,) ints. On a grid coarser than S the nearest neighbours are allowed, so that no x is without a y."""
    allowed_AA = _allowed(alpha_A, s)
    counts_N = allowed_AA.sum(axis=1)[x_N]
    rank_N = np.minimum((u_N * counts_N).astype(np.int64), counts_N - 1)
    seen_NA = allowed_AA[x_N].cumsum(axis=1)
    return (seen_NA == (rank_N + 1)[:, None]).argmax(axis=1)


def _allowed(alpha_A: np.ndarray, s: float) -> np.ndarray:
    distance_AA = np.abs(alpha_A[:, None] - alpha_A[None, :])
    step = np.diff(np.sort(alpha_A)).min()
    return (distance_AA > 0) & (distance_AA <= max(s, step) + 1e-9)
