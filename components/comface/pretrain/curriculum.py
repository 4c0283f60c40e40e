"""Curriculum of intra-personal changes, equation (2): the range S of |alpha_y - alpha_x| decreases with the epoch.

Legend: N pairs, A alphas of a track.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np

SAME = 1e-9
"""Differences of alpha below this are rounding."""
MEAN_CHANGE = {"images": 1 / 3, "changes": 3 / 8, "largest": 3 / 4}
"""Expected |alpha_y - alpha_x| of each way to draw y, as a share of S_max, if x is uniform and S = S_max."""


def change_range(epoch: int, s_max: float, ends: Sequence[int], form: str = "stages") -> float:
    """S = S_max / S_e with S_e = t for e_(t-1) < e <= e_t, epochs counted from 1 (`ends` = e_1 … e_t). `form` "linear":
    a straight line from S_max in epoch 1 to the S of the last stage in epoch e_t (not in the paper).

    Raises ValueError for an epoch outside 1 … e_t."""
    if not 1 <= epoch <= ends[-1]:
        raise ValueError(f"epoch {epoch} is outside the curriculum, which ends at epoch {ends[-1]}")
    if form == "linear":
        done = (epoch - 1) / max(1, ends[-1] - 1)
        return s_max * (1 - done * (1 - 1 / len(ends)))
    return s_max / (1 + bisect.bisect_left(ends, epoch))


def choose_partner(
    alpha_A: np.ndarray,
    x_N: np.ndarray,
    u_N: np.ndarray,
    s: float,
    usable_N2: np.ndarray | None = None,
    how: str = "images",
) -> np.ndarray:
    """Choose y for every x (indices into alpha_A) with 0 < |alpha_y - alpha_x| <= S. Returns (N,) ints.

    `u_N`: uniform random numbers in [0, 1). `usable_N2`: half-open range of the indices that y may have, at least two
    of them (None: all). `how`: uniform over these images ("images"), uniform over their |alpha_y - alpha_x| and then
    over the images at this distance ("changes"), or at the largest distance ("largest"). If the grid is coarser than S,
    the nearest neighbours are allowed, so that every x has a y."""
    allowed_NA = _allowed(alpha_A, s)[x_N]
    if usable_N2 is not None:
        index_A = np.arange(len(alpha_A))
        allowed_NA = allowed_NA & (index_A >= usable_N2[:, :1]) & (index_A < usable_N2[:, 1:])
    if how == "changes":
        return _by_change(x_N, u_N, allowed_NA)
    if how == "largest":
        distance_NA = np.where(allowed_NA, np.abs(alpha_A[x_N][:, None] - alpha_A), 0)
        allowed_NA = distance_NA > distance_NA.max(axis=1, keepdims=True) - SAME
    counts_N = allowed_NA.sum(axis=1)
    rank_N = np.minimum((u_N * counts_N).astype(np.int64), counts_N - 1)
    seen_NA = allowed_NA.cumsum(axis=1)
    y_N: np.ndarray = (seen_NA == (rank_N + 1)[:, None]).argmax(axis=1)
    return y_N


def _by_change(x_N: np.ndarray, u_N: np.ndarray, allowed_NA: np.ndarray) -> np.ndarray:
    """Each distance of an allowed image has the same probability, and then each image at this distance: one or two,
    because the alphas of a track are equidistant."""
    alphas = allowed_NA.shape[1]
    mirror_NA = 2 * x_N[:, None] - np.arange(alphas)
    inside_NA = (mirror_NA >= 0) & (mirror_NA < alphas)
    two_NA = inside_NA & np.take_along_axis(allowed_NA, mirror_NA.clip(0, alphas - 1), axis=1)
    reached_NA = (allowed_NA / (1 + two_NA)).cumsum(axis=1)
    y_N: np.ndarray = (reached_NA > u_N[:, None] * reached_NA[:, -1:]).argmax(axis=1)
    return y_N


def _allowed(alpha_A: np.ndarray, s: float) -> np.ndarray:
    distance_AA = np.abs(alpha_A[:, None] - alpha_A[None, :])
    step = np.diff(np.sort(alpha_A)).min()
    allowed_AA: np.ndarray = (distance_AA > 0) & (distance_AA <= max(s, step) + SAME)
    return allowed_AA
