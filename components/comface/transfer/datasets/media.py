"""Pictures of photos: image files and frames of videos, decoded in order, RGB uint8 (H,W,3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comface.errors import DataError
from comface.transfer.datasets import Photo


def pictures(photos: Sequence[Photo]) -> Iterator[tuple[Photo, NDArray[np.uint8]]]:
    """Every photo with its picture, in the given order. The frames of a video must stand together, in order: a video
    is decoded once, from its start. Raises DataError for a file that cannot be decoded."""
    from comface.faces import read_photo

    position = 0
    while position < len(photos):
        first = photos[position]
        if first.frame is None:
            yield first, read_photo(first.path)
            position += 1
            continue
        stop = position
        while stop < len(photos) and photos[stop].path == first.path:
            stop += 1
        yield from _frames(first.path, photos[position:stop])
        position = stop


def video_length(path: Path) -> int:
    """Number of frames that can be decoded (the container's own count is often wrong)."""
    count = sum(1 for _ in _grabs(path))
    if count == 0:
        raise DataError(f"The video '{path.name}' cannot be decoded; copy it again.")
    return count


def _grabs(path: Path) -> Iterator[object]:
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        while video.grab():
            yield video
    finally:
        video.release()


def _frames(path: Path, photos: Sequence[Photo]) -> Iterator[tuple[Photo, NDArray[np.uint8]]]:
    import cv2

    wanted = iter(photos)
    photo = next(wanted)
    for index, video in enumerate(_grabs(path)):
        if index != photo.frame:
            continue
        decoded, bgr_HW3 = video.retrieve()  # type: ignore[attr-defined]
        if not decoded:
            break
        yield photo, cv2.cvtColor(bgr_HW3, cv2.COLOR_BGR2RGB)
        following = next(wanted, None)
        if following is None:
            return
        photo = following
    raise DataError(f"The video '{path.name}' ends before its labelled frame {(photo.frame or 0) + 1}; copy it again.")
