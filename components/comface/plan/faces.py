"""Looks for usable faces in the photos of a data set, in a sample or in all of them.

In: a data set that was read. Out: how many photos have one, and by reason those that have none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, Photo
from comface.errors import ComfaceError, DataError
from comface.runtime.progress import shown

SAMPLE = 12
"""Photos in which a face is looked for, unless all are asked for."""
SAMPLE_S = 6.0
"""No further photo of the sample after this time; photos of a phone take up to a second."""


@dataclass(frozen=True)
class FacesFound:
    looked_at: int
    found: int
    missed: Mapping[str, Sequence[str]]
    """Reason → photos, relative to the folder."""
    everywhere: bool
    """Whether all photos were looked at."""


def find_faces(
    source: DataSource, data: DataSet, everywhere: bool
) -> tuple[FacesFound | None, Sequence[Photo], list[ComfaceError]]:
    """(the faces, the photos that have one as far as it is known, problems). None without the detector's model."""
    from comface.weights.fetched import LANDMARKS, available

    pictures = [photo for photo in data.photos if photo.frame is None]
    if not pictures or LANDMARKS not in available():
        return None, data.photos, []
    import numpy as np

    at = (
        range(len(pictures))
        if everywhere
        else sorted({*np.linspace(0, len(pictures) - 1, SAMPLE).astype(int).tolist()})
    )
    looked, prints = _looked_at(source, [pictures[i] for i in at], None if everywhere else SAMPLE_S)
    missed: dict[str, list[str]] = {}
    for photo, reason in looked:
        if reason:
            missed.setdefault(reason, []).append(_relative(photo, source))
    lost = {photo.path for photo, reason in looked if reason}
    complete = len(looked) == len(pictures)
    faces = FacesFound(len(looked), len(looked) - len(lost), missed, complete)
    problems: list[ComfaceError] = []
    if complete and not faces.found:
        what = f"{len(looked):,} photos" if len(looked) > 1 else "one photo"
        problems.append(DataError(f"No face was found in any of its {what}; check the photos and the `uri`."))
    if everywhere:
        problems.extend(_near_copies(source, [photo for photo, reason in looked if not reason], prints))
    left = [photo for photo in data.photos if photo.frame is not None or photo.path not in lost]
    return faces, left if faces.found else data.photos, problems


def _looked_at(
    source: DataSource, photos: Sequence[Photo], seconds: float | None
) -> tuple[list[tuple[Photo, str]], dict[int, Any]]:
    """((photo, why its face cannot be used) of each photo, the prints of those with a face)."""
    from comface.datasets.leaks import print_of
    from comface.datasets.registry import layout as layout_called
    from comface.faces.detection import NoUsableFace, find_face
    from comface.faces.photos import read_photo

    started, looked, prints = time.monotonic(), list[tuple[Photo, str]](), dict[int, Any]()
    hidden = layout_called(source.layout).patients
    for photo in shown(photos, "looking for faces", unit="photo") if seconds is None else photos:
        if seconds is not None and time.monotonic() - started > seconds:
            break
        try:
            image_HW3 = read_photo(photo.path, "The photo" if hidden else "", whole=bool(photo.eyes))
            if not photo.eyes:
                find_face(image_HW3)
            if seconds is None:
                prints[len(prints)] = print_of(image_HW3)
        except NoUsableFace as error:
            looked.append((photo, error.reason))
        except DataError:
            looked.append((photo, "damaged"))
        else:
            looked.append((photo, ""))
    return looked, prints


def _near_copies(source: DataSource, photos: Sequence[Photo], prints: Mapping[int, Any]) -> list[ComfaceError]:
    from comface.datasets.copies import near_copies
    from comface.datasets.leaks import evenly
    from comface.datasets.registry import layout as layout_called

    if not prints:
        return []
    try:
        compared = {i: prints[i] for i in evenly(len(photos)).tolist()}
        near_copies(photos, compared, layout_called(source.layout), source.uri)
    except DataError as error:
        return [error]
    return []


def _relative(photo: Photo, source: DataSource) -> str:
    from comface.datasets.place import local_folder

    try:
        return photo.path.relative_to(local_folder(source.uri)).as_posix()
    except ValueError:
        return photo.path.name
