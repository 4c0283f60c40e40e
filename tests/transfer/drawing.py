"""Faces as a child draws them, for tests that need a label which can be seen."""

from __future__ import annotations

import cv2
import numpy as np


def drawn_face(size_px: int = 96, smile: float = 0.0, seed: int = 0) -> np.ndarray:
    """A face as a child draws it, RGB; good enough where landmarks are given, not for a detector."""
    rng = np.random.default_rng(seed)
    image = np.full((size_px, size_px, 3), rng.integers(60, 120, 3), dtype=np.uint8)
    unit = size_px / 96
    centre = (int(48 * unit), int(50 * unit))
    cv2.ellipse(image, centre, (int(30 * unit), int(38 * unit)), 0, 0, 360, rng.integers(150, 230, 3).tolist(), -1)
    for x in (36, 60):
        cv2.circle(image, (int(x * unit), int(42 * unit)), int(4 * unit), (20, 20, 30), -1)
    width = int((8 + 3 * smile) * unit)
    cv2.ellipse(image, (centre[0], int(66 * unit)), (width, int((2 + 2 * smile) * unit)), 0, 0, 180, (150, 30, 40), -1)
    return image
