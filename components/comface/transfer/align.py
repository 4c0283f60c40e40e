"""Detects and aligns the faces of a data set once for all tasks and methods.

In: a data set in one of the layouts. Out: an artifact `faces`:

    faces.npy      uint8 (N,S,S,3), RGB, the project's framing (comface.faces.framing)
    photos.json    one row per face: subject, labels {name: value}, session, phase, sha256 (of its pixels),
                   conditions (faces/conditions.py)

Photos without a usable face are excluded and counted by reason, as are files that the data set's reader excludes. If a
data set includes landmarks, they are used instead of face detection. The photos may show patients: apart from the rows
themselves, only counts are logged or recorded.

Legend: N faces, S side length, C = 3 channels, H, W height and width of a photo, P points.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import array_bytes
from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.datasets import open_dataset
from comface.datasets.config import DataSource
from comface.datasets.copies import check_pixels, near_copies
from comface.datasets.dataset import Photo
from comface.datasets.media import pictures
from comface.datasets.place import artifact_folder, fingerprint, local_folder
from comface.datasets.registry import Layout
from comface.datasets.registry import layout as layout_called
from comface.errors import DataError
from comface.faces import REVISION as FACES
from comface.faces.conditions import conditions
from comface.faces.detection import NoUsableFace, align, find_face, finder_files
from comface.runtime.progress import counted, shown
from comface.store import Store

logger = logging.getLogger(__name__)

REVISION = 2
"""Raise it when a change here or in datasets/ gives other faces, labels or rows for the same data set."""


def align_dataset(store: Store, name: str, source: DataSource, dataset: Artifact | None = None) -> Artifact:
    """Publish the `faces` artifact of the data set `name`, or return it if it exists. The data set is at `source.uri`,
    or is the artifact `dataset` (a rehearsal).

    Raises DataError if the data set is invalid or no face is found in it."""
    layout = layout_called(source.layout)
    address = source.model_dump(mode="json", exclude={"uri"}) | {"dataset": name, "files_sha256": finder_files()}
    address |= layout.decided_by()
    if dataset is not None:
        folder, inputs = None, {"dataset": dataset}
    else:
        folder, inputs = local_folder(source.uri), {}
        address["fingerprint"] = fingerprint(folder, source.uri)
    draft = Draft(store, "faces", address, inputs, {"align": REVISION, "faces": FACES})
    if (done := draft.published()) is not None:
        return done
    place = source.uri if dataset is None else dataset.uri
    data = open_dataset(source, folder or artifact_folder(inputs["dataset"]), place)
    photos = data.photos
    found, faces_NSSC, missed = _aligned(photos, name, source)
    copies = _copies(found, faces_NSSC, layout, place)
    for remark in copies:
        logger.warning(f"The data set at '{place}': {remark}")
    draft.write("faces.npy", array_bytes(faces_NSSC))
    draft.write_json("photos.json", [_row(*each) for each in zip(found, faces_NSSC, strict=True)])
    rehearsal = bool(dataset is not None and dataset.facts.get("rehearsal"))
    logger.info(f"{len(found):,} of {counted(len(photos), 'photo')} of {name} have a usable face")
    facts = FacesFacts(
        dataset=name,
        layout=source.layout,
        rehearsal=rehearsal,
        source=place,
        photos=len(photos),
        found=len(found),
        missed=dict(missed),
        left_out=dict(data.left_out),
        remarks=(*data.remarks, *copies),
        with_own_landmarks=sum(bool(photo.eyes) for photo in found),
        subjects=len({photo.subject for photo in found}),
    )
    return draft.publish(facts.record())


def _copies(photos: Sequence[Photo], faces_NSSC: NDArray[np.uint8], layout: Layout, place: str) -> list[str]:
    """Return remarks about photos that may be copies. Raises DataError if two subjects or labels have the same picture.
    Frames of a video are not checked, because consecutive frames can be identical."""
    if layout.video:
        return []
    check_pixels(photos, faces_NSSC, layout.patients, place)
    return near_copies(photos, faces_NSSC, layout.patients, among_one=not layout.alike)


def _aligned(
    photos: Sequence[Photo], name: str, source: DataSource
) -> tuple[list[Photo], NDArray[np.uint8], Counter[str]]:
    found: list[Photo] = []
    faces: list[NDArray[np.uint8]] = []
    missed: Counter[str] = Counter()
    hidden = layout_called(source.layout).patients
    read = shown(pictures(photos, hidden), f"aligning faces of {name}", len(photos), "photo")
    for number, (photo, image_HW3) in enumerate(read, start=1):
        if photo.frame is not None and not _lies_within(photo.eyes, image_HW3):  # the tracker lost the face
            photo = dataclasses.replace(photo, eyes=())
        points_P2 = np.array(photo.eyes) if photo.eyes else _points(image_HW3, missed)
        if points_P2 is not None:
            named = f"photo {number:,} of {len(photos):,}" if hidden else f"'{photo.path.name}'"
            faces.append(_aligned_face(photo, image_HW3, points_P2, source.face_size_px, named))
            found.append(dataclasses.replace(photo, conditions=conditions(faces[-1], points_P2)))
    if not found:
        raise DataError(
            f"No face was found in any of the {len(photos):,} photos of '{name}'; check the photos and the `uri`."
        )
    return found, np.stack(faces), missed


def _aligned_face(
    photo: Photo, image_HW3: NDArray[np.uint8], points_P2: NDArray[np.float64], size_px: int, named: str
) -> Any:
    """Align a face. `named`: the photo in messages. Only landmarks that the data set includes can be wrong."""
    try:
        if not _lies_within(photo.eyes, image_HW3):
            raise DataError("The landmarks of a face are outside its photo; correct the data set's landmark file.")
        return align(image_HW3, points_P2, size_px)
    except DataError as error:
        frame = f" (frame {photo.frame + 1})" if photo.frame is not None else ""
        raise DataError(f"A face of {named}{frame} cannot be aligned: {error}") from None


def _lies_within(eyes: tuple[tuple[float, float], ...], image_HW3: NDArray[np.uint8]) -> bool:
    """Whether all landmarks are inside the picture; true if there are none."""
    height, width = image_HW3.shape[:2]
    return all(0 <= x <= width and 0 <= y <= height for x, y in eyes)


def _points(image_HW3: NDArray[np.uint8], missed: Counter[str]) -> NDArray[np.float64] | None:
    try:
        return find_face(image_HW3).points_52
    except NoUsableFace as error:
        missed[error.reason] += 1
        return None


def _row(photo: Photo, face_SSC: NDArray[np.uint8]) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(face_SSC.tobytes()).hexdigest(),
        "subject": photo.subject,
        "labels": dict(photo.labels),
        "session": photo.session,
        "phase": photo.phase,
        "conditions": dict(photo.conditions),
    }
