"""Conditions of a photo that change an estimate without a change of the person: light, contrast, sharpness, pose.

In: an aligned face (S,S,3), its landmarks in the photo. Out: one number per condition. `align` stores them with every
photo, `compare` computes them in the same way; prediction intervals are wider where two photos differ in them
(tasks/conformal.py).

Legend: S side length, P landmarks (x, y) in pixels of the photo.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.faces.detection import eye_centres
from comface.faces.framing import FACE_SHARE, resized, view_of

CONDITIONS = {
    "light": "lightness",
    "side_light": "light from the side",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "size": "size of the face in the photo",
    "turn": "turn of the head to the side",
    "tilt": "tilt of the head",
}
"""Name → what it measures, for messages."""
SIDE_PX = 64
"""Conditions are measured at this size, so that they do not depend on the size of the aligned faces."""


def conditions(face_SSC: NDArray[np.uint8], points_P2: NDArray[np.float64]) -> dict[str, float]:
    """Light and contrast in L* (0 to 100), sharpness and size as logarithms to base 2, turn as the logarithm of the
    ratio of the eyes' widths, tilt in degrees. `turn` needs the corners of the eyes; without them it is left out."""
    view_SSC = view_of(resized(face_SSC, SIDE_PX, SIDE_PX)[None], FACE_SHARE)[0]
    light_SS = cv2.cvtColor(np.ascontiguousarray(view_SSC), cv2.COLOR_RGB2LAB)[..., 0].astype(np.float64) / 2.55
    half = light_SS.shape[1] // 2
    edges = float(np.abs(cv2.Laplacian(light_SS, cv2.CV_64F)).mean())
    found = {
        "light": float(light_SS.mean()),
        "side_light": float(light_SS[:, :half].mean() - light_SS[:, -half:].mean()),
        "contrast": float(light_SS.std()),
        "sharpness": math.log2(edges + 0.01),
    }
    return {name: round(value, 3) for name, value in (found | _pose(points_P2)).items()}


def _pose(points_P2: NDArray[np.float64]) -> dict[str, float]:
    (left_2, right_2), widths = eye_centres(points_P2), eye_widths(points_P2)
    apart = right_2 - left_2
    found = {"size": math.log2(float(np.hypot(*apart))), "tilt": math.degrees(math.atan2(apart[1], apart[0]))}
    return found | ({"turn": math.log(widths[0] / widths[1])} if min(widths, default=0.0) > 0 else {})


def eye_widths(points_P2: NDArray[np.float64]) -> tuple[float, ...]:
    """Widths of the eyes, the left one in the image first; empty for landmarks without the corners."""
    if len(points_P2) < 4:
        return ()
    corners_42 = np.asarray(points_P2)[[36, 39, 42, 45] if len(points_P2) in (66, 68) else [0, 1, 2, 3]]
    eyes = sorted((corners_42[:2], corners_42[2:]), key=lambda eye_22: float(eye_22[:, 0].mean()))
    return tuple(float(np.hypot(*(eye_22[1] - eye_22[0]))) for eye_22 in eyes)
