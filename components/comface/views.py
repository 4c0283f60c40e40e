"""Which part of an aligned face a network is shown: all of the frame, or a square around eyes, nose and mouth.

The frame (comface.faces) holds hair and background as well, in which photos of different days differ most. A share of
0.75 keeps forehead to chin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DROP = 0.2
"""How far below the frame's centre the square's centre lies, in half frames: eyes lie above the centre, chins at the
edge."""


def view_drop(share: float) -> float:
    """The drop of a square of this share, which stays inside the frame."""
    return min(DROP, 1.0 - share)


def view_of(faces_NSSC: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """The square of aligned faces (N,S,S,3), to whole pixels."""
    side_px = faces_NSSC.shape[1]
    view_px = round(side_px * share)
    left = (side_px - view_px) // 2
    top = min(side_px - view_px, round((side_px - view_px) / 2 + view_drop(share) * side_px / 2))
    return faces_NSSC[:, top : top + view_px, left : left + view_px]


def shown(faces_NSSC: NDArray[np.uint8], share: float, side_px: int) -> NDArray[np.uint8]:
    """What a network is shown of aligned faces, (N,side_px,side_px,3): area average where the view shrinks, bicubic
    where it grows, untouched where it fits."""
    import cv2

    views = view_of(faces_NSSC, share)
    if views.shape[1] == side_px:
        return views
    how = cv2.INTER_AREA if views.shape[1] > side_px else cv2.INTER_CUBIC
    return np.stack([cv2.resize(np.ascontiguousarray(v), (side_px, side_px), interpolation=how) for v in views])
