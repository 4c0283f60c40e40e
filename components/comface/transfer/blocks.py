"""Aligns the faces of a data set in blocks of 1,024 photos, so that the pixels in memory do not grow with the data set.

In: the photos of a data set. Out: the objects faces-00000.npy … and prints-00000.npy … of a draft, and the findings of
each block. If a data set includes landmarks, they are used instead of face detection. Faces are found and aligned in as
many threads as the step may use. A run that was interrupted resumes after the last block that it wrote.

Legend: N faces, S side length, C = 3 channels, H, W height and width of a photo, P points.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import CHUNK_ROWS, array_bytes, chunk_name
from comface.artifacts.manifest import Draft
from comface.datasets.config import DataSource
from comface.datasets.dataset import Photo
from comface.datasets.leaks import PRINT_PX, evenly, print_of
from comface.datasets.media import pictures
from comface.datasets.registry import layout as layout_called
from comface.errors import DataError
from comface.faces.conditions import conditions
from comface.faces.detection import NoUsableFace, align, find_face
from comface.files.arrays import array_in
from comface.runtime.cores import in_order, usable_cores
from comface.runtime.progress import shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Block:
    """The faces of CHUNK_ROWS successive photos. `found`: positions of the photos with a usable face, which `rows`
    describe."""

    found: tuple[int, ...]
    rows: tuple[dict[str, Any], ...]
    missed: Mapping[str, int]
    with_own_landmarks: int
    prints: Mapping[int, NDArray[np.uint8]]
    """Position of a photo -> its print, for the photos that are compared with each other (comface.datasets.leaks)."""


def aligned_blocks(draft: Draft, photos: Sequence[Photo], name: str, source: DataSource) -> Iterator[Block]:
    """Yield the blocks in order. Those at the start that an interrupted run wrote are adopted."""
    layout = layout_called(source.layout)
    compared = frozenset(evenly(len(photos)).tolist())
    first = 0
    while (block := _adopted(draft, first // CHUNK_ROWS, compared)) is not None:
        yield block
        first += CHUNK_ROWS
    if first >= len(photos):
        return
    if first:
        logger.info(f"resuming at photo {first + 1:,} of {len(photos):,} of {name}")

    def face(numbered: tuple[int, tuple[Photo, NDArray[np.uint8]]]) -> Aligned:
        number, (photo, image_HW3) = numbered
        named = f"photo {number:,} of {len(photos):,}" if layout.patients else f"'{photo.path.name}'"
        return _face(photo, image_HW3, source.face_size_px, named)

    read = enumerate(pictures(photos, layout.patients, first), start=first + 1)
    told = shown(in_order(face, read, usable_cores()), f"aligning faces of {name}", len(photos) - first, "photo")
    for start in range(first, len(photos), CHUNK_ROWS):
        batch = list(itertools.islice(told, CHUNK_ROWS))
        faces = [face for face in batch if face.pixels_SSC is not None]
        faces_NSSC = _stacked([face.pixels_SSC for face in faces], (source.face_size_px, source.face_size_px, 3))
        prints_NSS = _stacked([face.print_SS for face in faces], (PRINT_PX, PRINT_PX))
        told_of = {
            "found": [start + i for i, face in enumerate(batch) if face.pixels_SSC is not None],
            "rows": [_row(face.photo, face.pixels_SSC) for face in faces],
            "missed": Counter(face.missed for face in batch if face.missed),
            "with_own_landmarks": sum(bool(face.photo.eyes) for face in faces),
        }
        draft.write(chunk_name("faces", start // CHUNK_ROWS), array_bytes(faces_NSSC))
        draft.write(chunk_name("prints", start // CHUNK_ROWS), array_bytes(prints_NSS))
        draft.write_json(rows_name(start // CHUNK_ROWS), told_of)
        yield _block(told_of, prints_NSS, compared)
    next(told, None)  # ends the progress


def _adopted(draft: Draft, number: int, compared: Collection[int]) -> Block | None:
    def accept(_: bytes, prints: bytes, rows: bytes) -> Block:
        return _block(json.loads(rows), array_in(prints), compared)

    return draft.adopt([chunk_name("faces", number), chunk_name("prints", number), rows_name(number)], accept)


def _block(told: Mapping[str, Any], prints_NSS: NDArray[np.uint8], compared: Collection[int]) -> Block:
    prints = {i: print_SS for i, print_SS in zip(told["found"], prints_NSS, strict=True) if i in compared}
    return Block(tuple(told["found"]), tuple(told["rows"]), told["missed"], told["with_own_landmarks"], prints)


def _stacked(each: Sequence[NDArray[np.uint8]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.stack(each) if each else np.empty((0, *shape), np.uint8)


def rows_name(number: int) -> str:
    return f"rows-{number:05d}.json"


@dataclass(frozen=True)
class Aligned:
    """A photo and its aligned face, or the reason why it has none."""

    photo: Photo
    pixels_SSC: Any = None
    print_SS: Any = None
    missed: str = ""


def _face(photo: Photo, image_HW3: NDArray[np.uint8], size_px: int, named: str) -> Aligned:
    if photo.frame is not None and not _lies_within(photo.eyes, image_HW3):  # the tracker lost the face
        photo = dataclasses.replace(photo, eyes=())
    try:
        points_P2 = np.array(photo.eyes) if photo.eyes else find_face(image_HW3).points_52
    except NoUsableFace as error:
        return Aligned(photo, missed=error.reason)
    face_SSC = _aligned_face(photo, image_HW3, points_P2, size_px, named)
    photo = dataclasses.replace(photo, conditions=conditions(face_SSC, points_P2))
    return Aligned(photo, face_SSC, print_of(image_HW3))


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


def _row(photo: Photo, face_SSC: NDArray[np.uint8]) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(face_SSC.tobytes()).hexdigest(),
        "subject": photo.subject,
        "labels": dict(photo.labels),
        "session": photo.session,
        "phase": photo.phase,
        "conditions": dict(photo.conditions),
        **({"groups": dict(photo.groups)} if photo.groups else {}),
    }
