"""Face check of synthesize: identities without a detected face are dropped and counted.

In: the image at alpha 0. Out: whether the detector finds a face in it. It takes 7 ms per identity at 64 px on one core,
as long as two images of `dcgan`, which loses a tenth of its identities. The procedural generator always draws a face
and is not checked.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from comface.generators.registry import generator as registered

Finder = Callable[[np.ndarray], bool]
SURELY_SEEN = -0.25
"""Minimum confidence for a face at any position."""
CENTRED, WIDE = 0.15, 0.3
"""Below SURELY_SEEN: maximum distance of the box from the centre, and its minimum width, as shares of the image
side."""


def finder_for(generator: str) -> Finder | None:
    """Return the face check for a generator; None if its images always have a face."""
    return None if registered(generator).always_a_face else face_found


def face_found(image_HW3: np.ndarray) -> bool:
    """Whether the detector (faces/detection.py, which enlarges small images) finds a face in (H,W,3) uint8. A generated
    face fills the centre of its image. Therefore a detection with low confidence counts if it is centred; otherwise
    dark faces would be dropped more often (docs/screening.md)."""
    from comface.faces.detection import THRESHOLD, faces_in

    side_px = max(image_HW3.shape[:2])
    return any(
        face.confidence >= SURELY_SEEN or _in_the_middle(face.box, side_px) for face in faces_in(image_HW3, THRESHOLD)
    )


def _in_the_middle(box: tuple[float, float, float, float], side_px: int) -> bool:
    left, top, right, bottom = (edge / side_px for edge in box)
    middle = abs((left + right) / 2 - 0.5) < CENTRED and abs((top + bottom) / 2 - 0.5) < CENTRED
    return middle and right - left > WIDE
