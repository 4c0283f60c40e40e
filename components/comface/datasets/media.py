"""Pictures of photos: image files and frames of videos, decoded in order, RGB uint8 (H,W,3).

Photos of patients (`hidden`) are called by their number in every sentence, others by their file's name.
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
from comface.errors import DataError
from comface.faces.photos import check_photo, read_photo
from comface.files import open_regular

MAX_FRAME_PIXELS = 50_000_000


def pictures(photos: Sequence[Photo], hidden: bool = False) -> Iterator[tuple[Photo, NDArray[np.uint8]]]:
    """Every photo with its picture, in the given order. The frames of a video must stand together, in order: a video
    is decoded once, from its start. Raises DataError for a file that cannot be decoded."""
    position = 0
    while position < len(photos):
        first = photos[position]
        if first.frame is None:
            yield first, read_photo(first.path, _called(photos, position, hidden), whole=bool(first.eyes))
            position += 1
            continue
        stop = position
        while stop < len(photos) and photos[stop].path == first.path:
            stop += 1
        yield from _frames(first.path, photos[position:stop])
        position = stop


def check_pictures(photos: Sequence[Photo], hidden: bool = False) -> None:
    """What the headers of all image files tell, without decoding them. Raises as `pictures` does."""
    for position, photo in enumerate(photos):
        if photo.frame is None:
            check_photo(photo.path, _called(photos, position, hidden))


def video_length(path: Path, quick: bool = False) -> int:
    """Number of frames that can be decoded. The container's own count is often wrong; `quick` believes it where the
    last frame that it tells of is there and is the last (seconds instead of minutes for DISFA)."""
    if quick and (told := _told_length(path)):
        return told
    count = sum(1 for _ in _grabs(path))
    if count == 0:
        raise DataError(f"The video '{path.name}' is damaged or holds no frame that can be decoded; copy it again.")
    return count


def _told_length(path: Path) -> int:
    """0 where the container's count is not to be believed."""
    import cv2

    with _opened(path) as video:
        told = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        found = told > 0 and video.set(cv2.CAP_PROP_POS_FRAMES, told - 1) and video.grab() and not video.grab()
    return told if found else 0


def _called(photos: Sequence[Photo], position: int, hidden: bool) -> str:
    line = f"; line {photos[position].line} of its table" if photos[position].line else ""
    return f"Photo {position + 1:,} of {len(photos):,} (in order of subject and file{line})" if hidden else ""


def _grabs(path: Path) -> Iterator[Any]:
    """The open video, once per frame."""
    with _opened(path) as video:
        while video.grab():
            yield video


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """By content: FFmpeg would also follow a playlist to other files and addresses."""
    import cv2

    with open_regular(path, "The video") as file:
        head = file.read(12)
    avi, mkv = head[:4] == b"RIFF" and head[8:] == b"AVI ", head[:4] == b"\x1aE\xdf\xa3"
    if not avi and not mkv and head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide"):
        raise DataError(f"The video '{path.name}' is not an AVI, MP4, MOV or MKV file; copy it again.")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: what is wrong is said in one sentence
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
