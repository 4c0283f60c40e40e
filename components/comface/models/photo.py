"""One photo as a comparison needs it: read, its face found, aligned and measured, its features computed.

In: a photo and an Estimator. Out: Prepared, which can be compared with several others, or sent to another process.

Legend: S = H = W side length, D width of the identity descriptor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comface.errors import ComfaceError
from comface.faces.detection import Face
from comface.faces.usable import Broken
from comface.models.estimator import SHARED, Estimator, Features

if TYPE_CHECKING:
    from comface.faces.photos import Photo

SHOWN_PX = 192
"""Side length in pixels of the aligned faces in the picture."""


@dataclass(frozen=True)
class Prepared:
    role: str
    """Its name in messages: BEFORE, AFTER."""
    image_HW3: NDArray[np.uint8]
    face: Face
    shown_SS3: NDArray[np.uint8]
    """The aligned face at the size of the picture."""
    features: Features
    conditions: Mapping[str, float]
    broken: tuple[Broken, ...] = ()
    """The rules of faces/usable.py that the face breaks."""
    farther_than: float | None = None
    """The share of the photos behind the model's heads that are nearer to their mean than this photo (models/seen.py);
    None: the model has no such statistics, and this is not checked."""
    descriptor_D: NDArray[np.float64] | None = None
    """Of faces/identity.py; None if its network was not fetched."""


def found_face(photo: Photo, role: str, faint: bool = False) -> tuple[NDArray[np.uint8], Face]:
    """Read a photo and find its face. `role`: its name in messages, as BEFORE or AFTER; `faint`: also a face that is
    cut by the photo's edge or hardly recognisable. Raises DataError that names the photo if it cannot be used."""
    from comface.faces import detection as faces
    from comface.faces.photos import read_photo

    try:
        image_HW3 = read_photo(photo)
    except ComfaceError as error:
        reason = str(error)
        raise type(error)(f"The photo {role} cannot be used: {reason[:1].lower()}{reason[1:]}") from None
    named = f" ({photo})" if isinstance(photo, (str, Path)) else ""
    return image_HW3, faces.find_face(image_HW3, f"the photo {role}{named}", faint)


def prepared(estimator: Estimator, photo: Photo, role: str) -> Prepared:
    """Read a photo, find its face and measure it. Raises as `found_face` does."""
    from comface.faces import detection as faces
    from comface.faces import identity
    from comface.faces.conditions import conditions
    from comface.faces.usable import broken, measured

    image_HW3, face = found_face(photo, role, faint=True)
    aligned_SS3 = faces.align(image_HW3, face.points_52, estimator.preprocessing.aligned_px)
    features = estimator.features(aligned_SS3)
    seen = estimator.seen
    return Prepared(
        role,
        image_HW3,
        face,
        faces.align(image_HW3, face.points_52, SHOWN_PX),
        features,
        conditions(aligned_SS3, face.points_52),
        tuple(broken(*measured(image_HW3, face))),
        None if seen is None else float(seen.share_nearer(features[SHARED][:1])[0]),
        identity.descriptor(image_HW3, face) if identity.at_hand() else None,
    )
