"""Regions of a face that the paper's Figure 4 refers to: AU6, AU12, eyelids and nose.

In: the centres of both eyes. Out: ellipses, placed by the proportions of dlib's mean face. They are drawn on a face to
show where a network looks; nothing is measured from them but the share of a map inside.

Legend: H, W sides of an image; coordinates (x, y) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comface.faces.framing import EYE_DISTANCE_PX, EYES_MIDPOINT_PX, FRAME_PX

PLACES = {
    "eyelids": (((-0.5, 0.0), (0.30, 0.15)), ((0.5, 0.0), (0.30, 0.15))),
    "AU6": (((-0.64, 0.44), (0.25, 0.21)), ((0.64, 0.44), (0.25, 0.21))),
    "nose": (((0.0, 0.48), (0.26, 0.36)),),
    "AU12": (((-0.45, 1.06), (0.20, 0.17)), ((0.45, 1.06), (0.20, 0.17))),
}
"""Centre and half axes of each ellipse, in distances between the eyes, from the midpoint of the eyes; y points to the
chin. In dlib's mean face the mouth corners are at (±0.45, 1.06) and the base of the nose is at (0, 0.77)."""


@dataclass(frozen=True)
class Region:
    """An ellipse: its centre and half axes in pixels, and its tilt in degrees (clockwise, as y points down)."""

    name: str
    centre: tuple[float, float]
    half_axes: tuple[float, float]
    tilt_deg: float

    def contains(self, height: int, width: int) -> NDArray[np.bool_]:
        """Which pixels (H,W) of an image are inside."""
        y_HW, x_HW = np.mgrid[0:height, 0:width]
        turn = np.deg2rad(self.tilt_deg)
        dx_HW, dy_HW = x_HW - self.centre[0], y_HW - self.centre[1]
        along_HW = dx_HW * np.cos(turn) + dy_HW * np.sin(turn)
        across_HW = dy_HW * np.cos(turn) - dx_HW * np.sin(turn)
        inside: NDArray[np.bool_] = (along_HW / self.half_axes[0]) ** 2 + (across_HW / self.half_axes[1]) ** 2 <= 1
        return inside


def eyes_of_frame(side_px: int) -> NDArray[np.float64]:
    """The eye centres (2,2) in an aligned face of this side, the left one in the image first."""
    x, y = EYES_MIDPOINT_PX
    half = EYE_DISTANCE_PX / 2
    return np.array([[x - half, y], [x + half, y]]) * side_px / FRAME_PX - 0.5


def face_regions(eyes_22: NDArray[np.float64]) -> list[Region]:
    """The regions of a face with these eye centres."""
    across_2 = eyes_22[1] - eyes_22[0]
    apart = float(np.linalg.norm(across_2))
    down_2 = np.array([-across_2[1], across_2[0]])
    middle_2 = eyes_22.mean(axis=0)
    tilt_deg = float(np.rad2deg(np.arctan2(across_2[1], across_2[0])))
    found = []
    for name, ellipses in PLACES.items():
        for (right, below), (half_x, half_y) in ellipses:
            x, y = middle_2 + right * across_2 + below * down_2
            found.append(Region(name, (float(x), float(y)), (half_x * apart, half_y * apart), tilt_deg))
    return found


def inside(regions: Sequence[Region], height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels (H,W) are inside any of the regions."""
    found = np.zeros((height, width), dtype=np.bool_)
    for region in regions:
        found |= region.contains(height, width)
    return found
