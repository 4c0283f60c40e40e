"""The same picture twice: under two subjects or two labels it would teach or test what is not so.

In: the photos of a data set. Out: the photos, each content once, and how many were left out.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from comface.errors import DataError
from comface.manifest import file_sha256
from comface.transfer.datasets import Photo

MADE_FROM = re.compile(r"([ _.-]*(crop|cropped|copy|aligned|edited|resized|small|thumb)|\s*\(\d+\))+$")
MADE_IN = re.compile(r"crops?|cropped|aligned|edited|resized|small|thumb(nail)?s?|faces?|copies")


def without_copies(photos: Sequence[Photo], hidden: bool, place: str) -> tuple[list[Photo], int]:
    """Copies under one subject with the same labels are left out and counted, all others refused (DataError). Files
    of one size that end alike are read whole, others are not."""
    kept: list[Photo] = []
    first: dict[str, Photo] = {}
    keys = [_size_and_end(photo.path) if photo.frame is None else None for photo in photos]
    times = Counter(keys)
    for photo, key in zip(photos, keys, strict=True):
        if key is None or times[key] < 2:
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


def look_alikes(photos: Sequence[Photo]) -> list[str]:
    """A sentence where names tell that pictures were made from others: a_crop.jpg or crops/a.jpg beside
    a.jpg, a.jpg beside a.heic. They are used; who knows them may not want them."""
    plain, made = Counter[tuple[str, ...]](), list[tuple[str, ...]]()
    for photo in photos:
        if photo.frame is None:
            stem = photo.path.stem.casefold()
            base = MADE_FROM.sub("", stem)
            made_from = base != stem or MADE_IN.fullmatch(photo.path.parent.name.casefold())
            key = (photo.subject, photo.session, photo.phase, base)
            if made_from:
                made.append(key)
            else:
                plain[*key, str(photo.path.parent)] += 1
    bases = {key[:-1] for key in plain}
    count = sum(times - 1 for times in plain.values()) + sum(key in bases for key in made)
    return [f"photos that look by their names like crops or copies of others: {count:,}"] if count else []


def _size_and_end(path: Path) -> tuple[int, bytes]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 512))
        return size, file.read()


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
