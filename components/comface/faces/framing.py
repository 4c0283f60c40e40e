"""The project's framing: where the eyes lie in an aligned face, and which part of the frame a network is shown.

Framing: at 64 px the eyes' centres are 19.2 px apart and their midpoint lies at (32.0, 30.1), counted from the image's
corner, so that a mirrored face is framed alike; other sizes scale. That is how the generator `dcgan` frames its faces.
The frame holds hair and background as well, in which photos of different days differ most. So a network may be shown
only a square around eyes, nose and mouth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAME_PX = 64.0
EYE_DISTANCE_PX = 19.2
EYES_MIDPOINT_PX = (32.0, 30.1)
FRAMING = {"size_px": int(FRAME_PX), "eye_distance_px": EYE_DISTANCE_PX, "eyes_centre_px": list(EYES_MIDPOINT_PX)}
"""As a registered model records it."""
FACE_SHARE = 0.75
"""The share of the frame that keeps forehead to chin."""
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
    views = view_of(faces_NSSC, share)
    if views.shape[1] == side_px:
        return views
    return np.stack([resized(np.ascontiguousarray(v), side_px, side_px) for v in views])


def resized(image_HW3: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Area average where it shrinks, bicubic where it grows. Without Intel's IPP: what that makes of an image depends
    on the processor and on where the image lies in memory; landmarks, in whole pixels, and ages followed it."""
    import cv2

    cv2.ipp.setUseIPP(False)  # in this thread
    how = cv2.INTER_AREA if width_px < image_HW3.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image_HW3, (width_px, height_px), interpolation=how)  # type: ignore[return-value]
