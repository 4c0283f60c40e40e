"""Curriculum of intra-personal changes, equation (2): the range S of |alpha_y - alpha_x| decreases with the epoch."""

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


def choose_partner(
    alpha_A: np.ndarray, x_N: np.ndarray, u_N: np.ndarray, s: float, usable_N2: np.ndarray | None = None
) -> np.ndarray:
    """Choose y for every x (indices into alpha_A), uniformly from 0 < |alpha_y - alpha_x| <= S. Returns (N,) ints.

    `u_N`: uniform random numbers in [0, 1). `usable_N2`: half-open range of the indices that y may have, at least two
    of them (None: all). If the grid is coarser than S, the nearest neighbours are allowed, so that every x has a y."""
    allowed_NA = _allowed(alpha_A, s)[x_N]
    if usable_N2 is not None:
        index_A = np.arange(len(alpha_A))
        allowed_NA = allowed_NA & (index_A >= usable_N2[:, :1]) & (index_A < usable_N2[:, 1:])
    counts_N = allowed_NA.sum(axis=1)
    rank_N = np.minimum((u_N * counts_N).astype(np.int64), counts_N - 1)
    seen_NA = allowed_NA.cumsum(axis=1)
    y_N: np.ndarray = (seen_NA == (rank_N + 1)[:, None]).argmax(axis=1)
    return y_N


def _allowed(alpha_A: np.ndarray, s: float) -> np.ndarray:
    distance_AA = np.abs(alpha_A[:, None] - alpha_A[None, :])
    step = np.diff(np.sort(alpha_A)).min()
    allowed_AA: np.ndarray = (distance_AA > 0) & (distance_AA <= max(s, step) + 1e-9)
    return allowed_AA
