"""Screening: identities in which no face is found are dropped (and counted).

In: the image at alpha 0. Out: whether the detector finds a face in it. Price, on one core: 7 ms per identity at 64 px,
which is that of two images rendered by `dcgan`; a tenth of its identities are dropped. The procedural generator draws
a face every time, so it is not asked.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Finder = Callable[[np.ndarray], bool]
KNOWN_TO_BE_FACES = ("procedural",)
LARGEST_SIDE_PX = 256
"""Generated faces fill their image: more pixels only cost time, while the device waits."""


def finder_for(generator: str) -> Finder | None:
    """How this generator's identities are screened; None where a face is certain."""
    return None if generator in KNOWN_TO_BE_FACES else face_found


def face_found(image_HW3: np.ndarray) -> bool:
    """Whether the detector (comface.faces, which enlarges small images) finds a face in (H,W,3) uint8."""
    from comface.faces import faces_in

    return len(faces_in(image_HW3)) > 0
