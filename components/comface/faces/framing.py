"""The project's framing: the position of the eyes in an aligned face, and the part of the frame that a network sees.

In an aligned face of 64 px the eye centres are 19.2 px apart and their midpoint is at (32.0, 30.1), measured from the
image's corner, so that a mirrored face has the same framing; other sizes scale. The generator `dcgan` frames its faces
in this way. The frame also contains hair and background, which differ most between photos of different days. Therefore
a network can be given only a square around eyes, nose and mouth (the view).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAME_PX = 64.0
EYE_DISTANCE_PX = 19.2
EYES_MIDPOINT_PX = (32.0, 30.1)
FRAMING = {"size_px": int(FRAME_PX), "eye_distance_px": EYE_DISTANCE_PX, "eyes_centre_px": list(EYES_MIDPOINT_PX)}
"""The framing, as a registered model records it."""
Square = tuple[float, float, float]
"""Left, top and side of a part of the frame, as shares of the frame; it can extend beyond the frame."""
FACE_SHARE = 0.75
"""The share of the frame that contains forehead to chin."""
DROP = 0.2
"""Offset of the view's centre below the frame's centre, in half frames: the eyes are above the centre, the chin is at
the edge."""


def view_drop(share: float) -> float:
    """The offset DROP, limited so that a view of this share stays inside the frame."""
    return min(DROP, 1.0 - share)


def view_of(faces_NSSC: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """The view of aligned faces (N,S,S,3), rounded to whole pixels."""
    side_px = faces_NSSC.shape[1]
    view_px = round(side_px * share)
    left = (side_px - view_px) // 2
    top = min(side_px - view_px, round((side_px - view_px) / 2 + view_drop(share) * side_px / 2))
    return faces_NSSC[:, top : top + view_px, left : left + view_px]


def square_of_view(share: float) -> Square:
    """Left, top and side of the view as shares of the frame."""
    return (1 - share) / 2, min(1 - share, (1 - share + view_drop(share)) / 2), share


def square_of(faces_NSSC: NDArray[np.uint8], square: Square) -> NDArray[np.uint8]:
    """A square of aligned faces (N,S,S,3), rounded to whole pixels. Beyond the frame, its edge is mirrored."""
    frame_px = faces_NSSC.shape[1]
    left, top, side_px = (round(share * frame_px) for share in square)
    beyond = max(0, -left, -top, left + side_px - frame_px, top + side_px - frame_px)
    if beyond:
        faces_NSSC = np.pad(faces_NSSC, ((0, 0), (beyond, beyond), (beyond, beyond), (0, 0)), mode="reflect")
    return faces_NSSC[:, top + beyond : top + beyond + side_px, left + beyond : left + beyond + side_px]


def shown(faces_NSSC: NDArray[np.uint8], share: float, side_px: int, square: Square | None = None) -> NDArray[np.uint8]:
    """The network's input from aligned faces: (N,side_px,side_px,3). The view, or the square if one is given, is
    downscaled by area averaging, enlarged bicubically, or unchanged if it has the right size."""
    views = view_of(faces_NSSC, share) if square is None else square_of(faces_NSSC, square)
    if views.shape[1] == side_px:
        return views
    return np.stack([resized(np.ascontiguousarray(v), side_px, side_px) for v in views])


def resized(image_HW3: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Resize by area averaging (smaller) or bicubic interpolation (larger). Intel's IPP is disabled, because its
    results depend on the processor and on the image's memory alignment, which changed landmarks (whole pixels) and
    ages."""
    import cv2

    cv2.ipp.setUseIPP(False)  # applies to the current thread only
    how = cv2.INTER_AREA if width_px < image_HW3.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image_HW3, (width_px, height_px), interpolation=how)  # type: ignore[return-value]
