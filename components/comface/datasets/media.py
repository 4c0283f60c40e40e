"""Decodes image files and frames of videos in order. Out: RGB uint8 (H,W,3).

Messages identify photos of patients (`hidden`) by their number, other photos by their file name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.datasets.dataset import Photo
from comface.errors import ComfaceError, DataError
from comface.faces.photos import check_photo, read_photo
from comface.files import open_regular

MAX_FRAME_PIXELS = 50_000_000


def pictures(
    photos: Sequence[Photo], hidden: bool = False, position: int = 0
) -> Iterator[tuple[Photo, NDArray[np.uint8]]]:
    """Yield every photo from `position` on with its picture, in the given order. The frames of a video must be
    consecutive and in order, because a video is decoded once from its start. Raises DataError for a file that cannot be
    decoded."""
    while position < len(photos):
        first = photos[position]
        if first.frame is None:
            yield first, read_photo(first.path, _called(photos, position, hidden), whole=bool(first.eyes))
            position += 1
            continue
        stop = position
        while stop < len(photos) and photos[stop].path == first.path:
            stop += 1
        try:
            yield from _frames(first.path, photos[position:stop])
        except ComfaceError as error:
            if not hidden:
                raise
            raise _without_name(error, first.path, position) from None
        position = stop


def unreadable_pictures(photos: Sequence[Photo], hidden: bool = False) -> dict[int, ComfaceError]:
    """Check the headers of all image files without decoding them. Returns position → the error that `pictures` would
    raise."""
    wrong: dict[int, ComfaceError] = {}
    for position, photo in enumerate(photos):
        if photo.frame is None:
            try:
                check_photo(photo.path, _called(photos, position, hidden))
            except ComfaceError as error:
                wrong[position] = error
    return wrong


def video_length(path: Path, quick: bool = False) -> int:
    """Return the number of frames that can be decoded. The container's count is often wrong. With `quick`, it is
    accepted if its last frame exists and is the last one (seconds instead of minutes for DISFA). Raises DataError if
    there is no frame."""
    if quick and (told := _told_length(path)):
        return told
    count = sum(1 for _ in _grabs(path))
    if count == 0:
        raise DataError(f"The video '{path.name}' is damaged or has no frame that can be decoded; copy it again.")
    return count


def _told_length(path: Path) -> int:
    """Return the container's count, or 0 if it is wrong."""
    import cv2

    with _opened(path) as video:
        told = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        found = told > 0 and video.set(cv2.CAP_PROP_POS_FRAMES, told - 1) and video.grab() and not video.grab()
    return told if found else 0


def _without_name(error: ComfaceError, path: Path, position: int) -> ComfaceError:
    told = str(error)
    for name in (str(path), str(path)[:200], path.name):
        told = told.replace(f" '{name}'", f" of photo {position + 1:,}")
    return type(error)(told)


def _called(photos: Sequence[Photo], position: int, hidden: bool) -> str:
    line = f"; line {photos[position].line} of its table" if photos[position].line else ""
    return f"Photo {position + 1:,} of {len(photos):,} (in order of subject and file{line})" if hidden else ""


def _grabs(path: Path) -> Iterator[Any]:
    """Yield the open video once per frame."""
    with _opened(path) as video:
        while video.grab():
            yield video


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a video. Its format is checked by content, because FFmpeg would follow a playlist to other files and
    URLs."""
    import cv2

    with open_regular(path, "The video") as file:
        head = file.read(12)
    avi, mkv = head[:4] == b"RIFF" and head[8:] == b"AVI ", head[:4] == b"\x1aE\xdf\xa3"
    if not avi and not mkv and head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide"):
        raise DataError(f"The video '{path.name}' is not an AVI, MP4, MOV or MKV file; copy it again.")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg is quiet; the error message below says what is wrong
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if video.get(cv2.CAP_PROP_FRAME_WIDTH) * video.get(cv2.CAP_PROP_FRAME_HEIGHT) > MAX_FRAME_PIXELS:
            raise DataError(f"The frames of the video '{path.name}' have more than 50 megapixels; save them smaller.")
        yield video
    except cv2.error:
        raise DataError(f"The video '{path.name}' is damaged; copy it again.") from None
    finally:
        video.release()


def _frames(path: Path, photos: Sequence[Photo]) -> Iterator[tuple[Photo, NDArray[np.uint8]]]:
    import cv2

    wanted = iter(photos)
    photo = next(wanted)
    for index, video in enumerate(_grabs(path)):
        if index != photo.frame:
            continue
        decoded, bgr_HW3 = video.retrieve()
        if not decoded:
            break
        yield photo, cv2.cvtColor(bgr_HW3, cv2.COLOR_BGR2RGB)
        following = next(wanted, None)
        if following is None:
            return
        photo = following
    raise DataError(f"The video '{path.name}' ends before its labelled frame {(photo.frame or 0) + 1}; copy it again.")
