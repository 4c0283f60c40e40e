"""Finds photos that are the same picture: compressed again, resized, mirrored or cropped.

If such a photo belongs to two people, it can be on both sides of a fold or of two data sets; then the test would use
what was trained.

In: a print per photo, the whole photo as 64 x 64 grey levels. Out: pairs of photos. A photo can be a part of another
one, so every photo is compared with 256 windows of every other one (up to 0.225 cut from each side) by their lowest DCT
coefficients, also mirrored. The nearest ones are registered (affine, ECC) and compared in detail: as a whole, without
low frequencies, and in each of nine tiles, because two people in one room share the background.

Legend: N, M photos, C candidates, S = PRINT_PX, W windows (along an axis), K coefficients along an axis,
D = K * K - 1, X = W * K.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.faces.framing import resized
from comface.runtime.cores import in_order, usable_cores

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Cut = tuple[float, float]

PRINT_PX = 64
CUT_SHARES = (0.0, 0.075, 0.15, 0.225)
CUTS: tuple[Cut, ...] = tuple((low, high) for low in CUT_SHARES for high in CUT_SHARES)
"""Shares that a window cuts from the two ends of an axis."""
WINDOWS: tuple[tuple[Cut, Cut], ...] = tuple((rows, columns) for rows in CUTS for columns in CUTS)
"""(vertical, horizontal)"""
K = 7
LIKELY = 0.87
"""Minimum cosine of the coefficients of a window and a photo that are examined."""
MOST_COMPARED = 4_000
"""Maximum number of photos to compare; the time grows with its square. Of a larger data set, this many are compared,
evenly spaced."""
BLOCK = 512
BLUR = 0.8
"""Standard deviation in pixels of the blur before a comparison."""
NOISE = 2.0
"""Grey levels. Below this, differences count as noise, so that a white wall agrees with a white wall."""


@dataclass(frozen=True)
class Agreement:
    """Correlations of two registered prints: as wholes, without low frequencies, and of the tile that agrees least."""

    whole: float = -1.0
    detail: float = -1.0
    tile: float = -1.0

    def reaches(self, least: Agreement) -> bool:
        return all(here >= needed for here, needed in zip(astuple(self), astuple(least), strict=True))


@dataclass(frozen=True)
class Round:
    """Up to this many of the nearest photos are registered at half the size. If none agrees by `least`, the search
    ends."""

    photos: int
    least: Agreement = Agreement()


ROUNDS = (Round(3, Agreement(0.93, 0.75)), Round(12, Agreement(0.96, 0.85)), Round(48))
"""Of copies in the rehearsal of DISFA (seed 1000), `detail` of the best of 3 is at least 0.85; of the best of 12,
0.90."""
CERTAIN = Agreement(0.99, 0.993, 0.97)
"""With such a photo, the search ends."""
SAME = Agreement(0.98, 0.94, 0.87)
"""Of the nearest photos of two people in the rehearsals of FG-NET, Edema-A and DISFA (seed 1000, 5,018 pairs), `detail`
is at most 0.931 and `tile` at most 0.831. Of 593 copies, cropped by up to 0.22 of each side, they are at least 0.953
and 0.916. On data sets of another seed: docs/performance.md."""


def print_of(image_HW3: Pixels) -> Pixels:
    """The print (S,S) of a photo. It depends on the whole photo, not on where a face is found in it."""
    return cv2.cvtColor(resized(image_HW3, PRINT_PX, PRINT_PX), cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


def evenly(count: int) -> NDArray[np.int64]:
    """Positions of at most MOST_COMPARED of `count` photos, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_COMPARED)).round().astype(np.int64))


def same_pictures(x_NSS: Pixels, people: Sequence[str], among_one: bool = False) -> list[tuple[int, int]]:
    """Pairs of photos (positions) of two people that are the same picture; `among_one`: of one person, too. `people`:
    the person of each photo."""
    person_N = np.unique(np.asarray(people), return_inverse=True)[1]
    one_NN = person_N[:, None] == person_N[None]
    masks = [~one_NN]
    if among_one:
        masks.append(one_NN & ~np.eye(len(one_NN), dtype=bool))
    return sorted({(min(pair), max(pair)) for pair in _same(x_NSS, x_NSS, masks)})


def shared_pictures(x_NSS: Pixels, y_MSS: Pixels) -> list[tuple[int, int]]:
    """Pairs of a photo of one data set and a photo of another one that are the same picture."""
    all_NM = np.ones((len(x_NSS), len(y_MSS)), np.bool_)
    turned = {(j, i) for i, j in _same(y_MSS, x_NSS, [all_NM.T])}
    return sorted({*_same(x_NSS, y_MSS, [all_NM]), *turned})


def _same(x_NSS: Pixels, y_MSS: Pixels, masks: Sequence[Mask]) -> list[tuple[int, int]]:
    """Pairs (i, j) such that x_i is y_j or a part of it; for each i, mirrored or not, and each mask (N,M), the best
    one."""
    if not any(mask_NM.any() for mask_NM in masks):
        return []

    def examined(candidate: tuple[int, bool, NDArray[np.int64]]) -> tuple[int, int] | None:
        i, mirrored, order_C = candidate
        j = _copied(np.ascontiguousarray(x_NSS[i][:, ::-1]) if mirrored else x_NSS[i], y_MSS[order_C])
        return None if j is None else (i, int(order_C[j]))

    return [pair for pair in in_order(examined, _candidates(x_NSS, y_MSS, masks), usable_cores()) if pair]


def _candidates(x_NSS: Pixels, y_MSS: Pixels, masks: Sequence[Mask]) -> Iterator[tuple[int, bool, NDArray[np.int64]]]:
    """Yield (i, whether x_i is mirrored, the positions j of the nearest photos, nearest first)."""
    both_N = np.concatenate([x_NSS, x_NSS[:, :, ::-1]])
    whole_ND = next(_windows(both_N, CUTS[:1]))
    best_NM = np.full((len(both_N), len(y_MSS)), -1.0, np.float32)
    for window_MD in _windows(y_MSS, CUTS):
        for start in range(0, len(both_N), BLOCK):
            block = slice(start, start + BLOCK)
            np.maximum(best_NM[block], whole_ND[block] @ window_MD.T, out=best_NM[block])
    for mirrored, mask_NM in itertools.product((False, True), masks):
        for i, allowed_M in enumerate(mask_NM):
            cosine_M = np.where(allowed_M, best_NM[i + mirrored * len(x_NSS)], -1.0)
            likely_C = np.flatnonzero(cosine_M >= LIKELY)
            if len(likely_C):
                yield i, mirrored, likely_C[np.argsort(-cosine_M[likely_C], kind="stable")[: ROUNDS[-1].photos]]


def _copied(x_SS: Pixels, y_CSS: Pixels) -> int | None:
    """Position in `y_CSS`, nearest first, of the photo of which `x_SS` is a copy or a part; None if there is none. In a
    video, the coefficients of a crop can be nearer to those of 30 other frames, so the photos are registered at half
    the size, in rounds, and the best four of each round at full size."""
    half_x = _halved(x_SS)
    near: list[tuple[Agreement, int, Floats]] = []
    full: dict[int, Agreement] = {}
    for before, now in itertools.pairwise((Round(0), *ROUNDS)):
        for j in range(before.photos, min(now.photos, len(y_CSS))):
            half_y = _halved(y_CSS[j])
            agreement, matrix_23 = _compared(half_x, half_y, _start(x_SS, y_CSS[j], PRINT_PX // 2))
            near.append((agreement, j, matrix_23))
        near.sort(key=lambda each: -each[0].detail)
        if not near[0][0].reaches(now.least):
            return None
        for _, j, matrix_23 in near[:4]:
            if j not in full:
                full[j] = _compared(x_SS, y_CSS[j], matrix_23 * np.array([1, 1, 2], np.float32))[0]
        best = max(full, key=lambda j: full[j].detail)
        if full[best].reaches(CERTAIN):
            return best
    same = [j for j in full if full[j].reaches(SAME)]
    return max(same, key=lambda j: full[j].detail, default=None)


def _halved(x_SS: Pixels) -> Pixels:
    return resized(x_SS, PRINT_PX // 2, PRINT_PX // 2)


def _compared(x_SS: Pixels, y_SS: Pixels, start_23: Floats) -> tuple[Agreement, Floats]:
    """The agreement of two registered prints, and the matrix."""
    matrix_23 = _registered(x_SS, y_SS, start_23)
    return (Agreement(), start_23) if matrix_23 is None else (_agreement(x_SS, y_SS, matrix_23), matrix_23)


def _start(x_SS: Pixels, y_SS: Pixels, side: int) -> Floats:
    """The matrix (2,3) from pixels of `x_SS` to those of the window of `y_SS` that is nearest to it, at this size."""
    (whole_1D,) = _windows(x_SS[None], CUTS[:1])
    axis_XS = np.concatenate([_projection(*cut) for cut in CUTS])
    c_WKWK = (axis_XS @ y_SS.astype(np.float32) @ axis_XS.T).reshape(len(CUTS), K, len(CUTS), K)
    cosine_W = _unit(c_WKWK.transpose(0, 2, 1, 3).reshape(len(WINDOWS), -1)) @ whole_1D[0]
    (top, bottom), (left, right) = WINDOWS[int(cosine_W.argmax())]
    return np.array([[1 - left - right, 0, left * side], [0, 1 - top - bottom, top * side]], np.float32)


def _windows(x_NSS: Pixels, cuts: Sequence[Cut]) -> Iterator[Floats]:
    """Yield for each window the lowest DCT coefficients (N,D), without the mean and of length 1, so that light and
    contrast do not matter."""
    axis_WKS = np.stack([_projection(*cut) for cut in cuts])
    columns_SX = axis_WKS.reshape(-1, PRINT_PX).T
    y_SNX = np.ascontiguousarray((x_NSS.astype(np.float32) @ columns_SX).transpose(1, 0, 2))
    for rows_KS in axis_WKS:
        c_KNWK = (rows_KS @ y_SNX.reshape(PRINT_PX, -1)).reshape(K, len(x_NSS), len(cuts), K)
        for c_NKK in c_KNWK.transpose(2, 1, 0, 3):
            yield _unit(c_NKK.reshape(len(x_NSS), -1))


def _unit(c_NC: Floats) -> Floats:
    """(N,D) from all C = K * K coefficients."""
    d_ND = c_NC[:, 1:]
    unit_ND: Floats = d_ND / np.maximum(np.linalg.norm(d_ND, axis=1, keepdims=True), 1e-6)
    return unit_ND


@functools.cache
def _projection(low: float, high: float) -> Floats:
    """The matrix (K,S) from pixels along an axis to the DCT of the window [low, 1 - high]. Pixels at its ends count by
    the share that is inside."""
    edges = np.arange(PRINT_PX + 1) / PRINT_PX
    share_S = np.clip(np.minimum(edges[1:], 1 - high) - np.maximum(edges[:-1], low), 0, None) * PRINT_PX
    within_S = ((edges[1:] + edges[:-1]) / 2 - low) / (1 - high - low)
    waves_KS = np.cos(np.pi * np.arange(K)[:, None] * within_S)
    waves_KS[1:] -= (waves_KS[1:] @ share_S / share_S.sum())[:, None]
    projection_KS: Floats = (waves_KS * share_S / share_S.sum()).astype(np.float32)
    return projection_KS


def _registered(x_SS: Pixels, y_SS: Pixels, start_23: Floats) -> Floats | None:
    """The matrix (2,3) from pixels of `x_SS` to those of `y_SS`, refined from `start_23`; None if there is none."""
    x, y = (cv2.GaussianBlur(each_SS, (0, 0), BLUR).astype(np.float32) for each_SS in (x_SS, y_SS))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-4)
    try:
        found = cv2.findTransformECC(x, y, start_23.copy(), cv2.MOTION_AFFINE, criteria, None, 1)  # type: ignore[call-overload]
    except cv2.error:  # it does not converge: the pictures have nothing in common
        return None
    matrix_23: Floats = found[1]
    return matrix_23


def _agreement(x_SS: Pixels, y_SS: Pixels, matrix_23: Floats) -> Agreement:
    """Compare `x_SS` with the part of `y_SS` that `matrix_23` maps it to."""
    side, back = len(x_SS), cv2.WARP_INVERSE_MAP
    x, y = (cv2.GaussianBlur(each_SS, (0, 0), BLUR).astype(np.float32) for each_SS in (x_SS, y_SS))
    y = cv2.warpAffine(y, matrix_23, (side, side), flags=cv2.INTER_LINEAR | back).astype(np.float32)
    inside = cv2.warpAffine(np.ones_like(x_SS), matrix_23, (side, side), flags=cv2.INTER_NEAREST | back)
    inside = cv2.erode(inside, np.ones((3, 3)))
    inside[[0, -1]] = inside[:, [0, -1]] = 0
    if inside.mean() < 0.5:
        return Agreement()
    kept = inside > 0
    fine_x, fine_y = _fine(x), _fine(y)
    thirds = [slice(side * i // 3, side * (i + 1) // 3) for i in range(3)]
    tiles = [tile for tile in itertools.product(thirds, repeat=2) if kept[tile].mean() > 0.5]
    return Agreement(
        _correlation(x[kept], y[kept]),
        _correlation(fine_x[kept], fine_y[kept]),
        min(_correlation(fine_x[tile][kept[tile]], fine_y[tile][kept[tile]]) for tile in tiles),
    )


def _fine(x_SS: NDArray[Any]) -> Floats:
    """Without the low frequencies."""
    x_SS = np.asarray(x_SS, np.float32)
    return x_SS - cv2.GaussianBlur(x_SS, (0, 0), len(x_SS) / 16).astype(np.float32)


def _correlation(x_N: NDArray[np.floating], y_N: NDArray[np.floating]) -> float:
    a_N, b_N = x_N - x_N.mean(), y_N - y_N.mean()
    noise = NOISE**2 * len(a_N)
    return float((a_N @ b_N + noise) / np.sqrt((a_N @ a_N + noise) * (b_N @ b_N + noise)))
