"""Screening: identities in which no face is found are dropped (and counted).

In: the image at alpha 0. Out: whether the detector finds a face in it. Price, on one core: 7 ms per identity at 64 px,
which is that of two images rendered by `dcgan`; a tenth of its identities are dropped. The procedural generator draws
a face every time, so it is not asked.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from comface.generators.registry import generator as registered

Finder = Callable[[np.ndarray], bool]
SURELY_SEEN = -0.25
"""Confidence from which a face counts wherever it lies."""
CENTRED, WIDE = 0.15, 0.3
"""How far, as a share of the image's side, the box of a fainter face may be off the middle, and how wide it must be."""


def finder_for(generator: str) -> Finder | None:
    """How this generator's identities are screened; None where a face is certain."""
    return None if registered(generator).always_a_face else face_found


def face_found(image_HW3: np.ndarray) -> bool:
    """Whether the detector (faces/detection.py, enlarging small images) finds a face in (H,W,3) uint8. A generated
    face fills the middle of its image, so a faint one of the further looks counts where it lies there: else dark faces
    would be dropped more often (docs/screening.md)."""
    from comface.faces.detection import THRESHOLD, faces_in

    side_px = max(image_HW3.shape[:2])
    return any(
        face.confidence >= SURELY_SEEN or _in_the_middle(face.box, side_px) for face in faces_in(image_HW3, THRESHOLD)
    )


def _in_the_middle(box: tuple[float, float, float, float], side_px: int) -> bool:
    left, top, right, bottom = (edge / side_px for edge in box)
    middle = abs((left + right) / 2 - 0.5) < CENTRED and abs((top + bottom) / 2 - 0.5) < CENTRED
    return middle and right - left > WIDE
