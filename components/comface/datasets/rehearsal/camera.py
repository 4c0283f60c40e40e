"""The camera model of rehearsals: converts renders to photos, with effects that pre-training does not use.

In: renders uint8 (N,h,h,3) and a random generator. Out: photos uint8 (N,S,S,3), RGB, and per photo the matrix (2,3)
that maps points of the render to points of the photo. The model has a lens stretch, an S-shaped tone curve per channel,
side light, a vignette and colour noise. Compression is applied when the file is written.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

RENDER_SHARE = 0.72
"""Ratio of the side lengths of renders and photos. The lens enlarges the renders: this halves the computing time and
gives the softness of real photos."""


@dataclass(frozen=True)
class Lens:
    """Ranges of the differences between photos."""

    stretch: float = 0.03
    gamma: float = 0.15
    cast: float = 0.06
    side_light: float = 0.2
    noise: float = 4.0
    """Maximum standard deviation, in grey levels (0 to 255)."""


def render_px(photo_px: int) -> int:
    return max(64, round(RENDER_SHARE * photo_px))


def photograph(
    renders_NHW3: NDArray[np.uint8], size_px: int, lens: Lens, rng: np.random.Generator, same: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Apply the camera model. `same`: use one camera setting for all frames (a video), with new noise in each frame."""
    count, side = renders_NHW3.shape[:2]
    photos = np.empty((count, size_px, size_px, 3), np.uint8)
    matrices = np.empty((count, 2, 3))
    grain = rng.standard_normal((size_px + 97, size_px + 97, 3), dtype=np.float32)
    for i in range(count):
        if i == 0 or not same:
            setting = _setting(side, size_px, lens, rng)
        matrix, curve_256x3, light_SS1, noise = setting
        shot = cv2.LUT(renders_NHW3[i], curve_256x3)
        shot = cv2.warpAffine(shot, matrix, (size_px, size_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        dy, dx = rng.integers(0, 97, 2)
        lit = shot * light_SS1 + noise * grain[dy : dy + size_px, dx : dx + size_px]
        photos[i] = np.clip(lit + 0.5, 0, 255)
        matrices[i] = matrix
    return photos, matrices


Setting = tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float32], float]


def _setting(side: int, size_px: int, lens: Lens, rng: np.random.Generator) -> Setting:
    scale = size_px / side
    stretch = 1 + rng.uniform(-lens.stretch, lens.stretch)
    across, down = scale * stretch, scale / stretch
    # the centre of the first pixel is mapped to (scale - 1) / 2
    matrix = np.array(
        [
            [across, 0.0, (size_px - 1) / 2 - across * (side - 1) / 2],
            [0.0, down, (size_px - 1) / 2 - down * (side - 1) / 2],
        ]
    )
    level = np.linspace(0, 1, 256)
    contrast = rng.uniform(0.1, 0.5)
    gamma = np.exp(rng.uniform(-lens.gamma, lens.gamma) + rng.uniform(-lens.cast, lens.cast, 3))
    toned = level[:, None] ** gamma[None, :]
    toned = (1 - contrast) * toned + contrast * toned * toned * (3 - 2 * toned)
    toned = 0.03 + 0.94 * toned
    curve = np.clip(toned * 255 + 0.5, 0, 255).astype(np.uint8)[:, None, :]
    y, x = np.mgrid[-1 : 1 : size_px * 1j, -1 : 1 : size_px * 1j].astype(np.float32)
    tilt, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, lens.side_light)
    light = (1 + slope * (np.cos(tilt) * x + np.sin(tilt) * y)) * (1 - 0.13 * (x * x + y * y))
    return matrix, curve, light[..., None].astype(np.float32), float(rng.uniform(0.3, 1.0) * lens.noise)


def jpeg(photo_HW3: NDArray[np.uint8], quality: int, gray: bool = False) -> bytes:
    image = cv2.cvtColor(photo_HW3, cv2.COLOR_RGB2GRAY) if gray else cv2.cvtColor(photo_HW3, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def moved(points_K2: NDArray[np.float64], matrix_23: NDArray[np.float64]) -> NDArray[np.float64]:
    return points_K2 @ matrix_23[:, :2].T + matrix_23[:, 2]
