"""Screening: identities in which no face is found are dropped (and counted).

In: the image at alpha 0, at the generator's native size. Out: whether the detector finds a face. The procedural
generator draws a face every time, so it is not asked.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from comface.errors import DataError

Finder = Callable[[np.ndarray], bool]
KNOWN_TO_BE_FACES = ("procedural",)
DETECTOR_SIDE_PX = 256
"""The detector wants faces of 80 px and more: smaller images are enlarged to this side."""


def finder_for(generator: str) -> Finder | None:
    """How this generator's identities are screened; None where a face is certain."""
    return None if generator in KNOWN_TO_BE_FACES else face_found


def face_found(image_HW3: np.ndarray) -> bool:
    """Whether the detector (comface.faces) finds a face in a generated image (H,W,3) uint8."""
    from comface.faces import find_face

    image = Image.fromarray(image_HW3)
    if image.width != DETECTOR_SIDE_PX:
        image = image.resize((DETECTOR_SIDE_PX, DETECTOR_SIDE_PX), Image.Resampling.BICUBIC)
    try:
        find_face(np.asarray(image))
    except DataError:
        return False
    return True
