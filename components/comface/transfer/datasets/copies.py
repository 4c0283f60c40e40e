"""The same picture twice: under two subjects or two labels it would teach or test what is not so.

In: the photos of a data set. Out: the photos, each content once, and how many were left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from comface.errors import DataError
from comface.manifest import file_sha256
from comface.transfer.datasets import Photo


def without_copies(photos: Sequence[Photo], hidden: bool, place: str) -> tuple[list[Photo], int]:
    """Copies under one subject with the same labels are left out and counted, all others refused (DataError). Files of
    different sizes are not compared, so little is read."""
    kept: list[Photo] = []
    first: dict[str, Photo] = {}
    sizes = _sizes(photos)
    for photo in photos:
        if photo.frame is not None or len(sizes[photo.path.stat().st_size]) < 2:
            kept.append(photo)
            continue
        before = first.setdefault(file_sha256(photo.path), photo)
        if before is photo:
            kept.append(photo)
        elif before.subject != photo.subject:
            raise DataError(f"{_both(before, photo, photos, hidden, place)} under two subjects; delete the wrong one.")
        elif _datum(before) != _datum(photo):
            raise DataError(
                f"{_both(before, photo, photos, hidden, place)} with different labels; delete the wrong one."
            )
    return kept, len(photos) - len(kept)


def _sizes(photos: Sequence[Photo]) -> dict[int, set[Path]]:
    sizes: dict[int, set[Path]] = defaultdict(set)
    for photo in photos:
        if photo.frame is None:
            sizes[photo.path.stat().st_size].add(photo.path)
    return sizes


def _datum(photo: Photo) -> tuple[object, ...]:
    return dict(photo.labels), photo.session, photo.phase


def _both(one: Photo, other: Photo, photos: Sequence[Photo], hidden: bool, place: str) -> str:
    if hidden:
        first, second = sorted(photos.index(photo) + 1 for photo in (one, other))
        lines = sorted({one.line, other.line})
        more = f"; lines {lines[0]} and {lines[1]} of its table" if len(lines) == 2 else ""
        return (
            f"Photos {first:,} and {second:,} of {len(photos):,} (in order of subject and file{more}) of the data set "
            f"at '{place}' are the same picture"
        )
    return f"'{one.path.name}' and '{other.path.name}' of the data set at '{place}' are the same picture"
