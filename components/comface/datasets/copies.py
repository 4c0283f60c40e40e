"""Finds copies of pictures. The same picture under two subjects or labels would falsify training and test.

In: the photos of a data set. Out: the photos, each content once, and the number of copies that were removed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import file_sha256
from comface.datasets.dataset import Photo
from comface.datasets.leaks import same_pictures
from comface.datasets.registry import Layout
from comface.errors import DataError

MADE_FROM = re.compile(r"([ _.-]*(crop|cropped|copy|aligned|edited|resized|small|thumb)|\s*\(\d+\))+$")
MADE_IN = re.compile(r"crops?|cropped|aligned|edited|resized|small|thumb(nail)?s?|faces?|copies")


def without_copies(
    photos: Sequence[Photo], hidden: bool, place: str
) -> tuple[list[Photo], list[Photo], list[DataError]]:
    """Remove copies that have the same subject and labels; return the rest, the copies, and an error for each copy that
    differs in subject or labels. Only files with equal size and equal last 512 bytes are read completely."""
    kept: list[Photo] = []
    copies: list[Photo] = []
    wrong: list[DataError] = []
    first: dict[str, Photo] = {}
    keys = [_size_and_end(photo.path) if photo.frame is None else None for photo in photos]
    times = Counter(keys)
    for photo, key in zip(photos, keys, strict=True):
        if key is None or times[key] < 2:
            kept.append(photo)
            continue
        before = first.setdefault(file_sha256(photo.path), photo)
        (kept if before is photo else copies).append(photo)
        try:
            _check_pair(before, photo, photos, hidden, place)
        except DataError as error:
            wrong.append(error)
    return kept, copies, wrong


def look_alikes(photos: Sequence[Photo]) -> list[str]:
    """Return a remark if file names suggest that pictures were made from others: a_crop.jpg or crops/a.jpg beside
    a.jpg, a.jpg beside a.heic. These pictures are used; the user decides whether to remove them."""
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
    return [f"photos whose names suggest that they are crops or copies of others: {count:,}"] if count else []


def near_copies(
    photos: Sequence[Photo], prints: Mapping[int, NDArray[np.uint8]], layout: Layout, place: str
) -> list[str]:
    """Raises DataError if a photo of a subject is a photo of another one that was compressed again, resized, mirrored
    or cropped. Returns remarks about such photos of one subject, unless these are similar anyway. `prints`: position of
    a photo -> its print (comface.datasets.leaks)."""
    at, among_one = list(prints), not (layout.alike or layout.video)
    found = same_pictures(np.stack([*prints.values()]), [photos[i].subject for i in at], among_one)
    pairs = [(at[i], at[j]) for i, j in found]
    across = [(i, j) for i, j in pairs if photos[i].subject != photos[j].subject]
    if across:
        one, other = (photos[k] for k in across[0])
        more = f" There are {len(across) - 1:,} further pairs." if len(across) > 1 else ""
        raise DataError(
            f"{_both(one, other, photos, layout.patients, place)} under two subjects (compressed again, resized, "
            f"mirrored or cropped); delete the wrong one, or give both the same subject.{more}"
        )
    if not pairs:
        return []
    shown = "; ".join(" and ".join(_short(photos, k, layout.patients) for k in pair) for pair in pairs[:10])
    return [f"pairs of photos of one subject that seem to be the same picture: {len(pairs):,} ({shown})"]


def check_pixels(photos: Sequence[Photo], digests: Sequence[str], hidden: bool, place: str) -> None:
    """Raises DataError if photos with identical pixels (equal `digests`) have different subjects or labels. Frames of
    videos are not checked, because consecutive frames can be identical."""
    first: dict[str, Photo] = {}
    for photo, digest in zip(photos, digests, strict=True):
        if photo.frame is None:
            _check_pair(first.setdefault(digest, photo), photo, photos, hidden, place)


def _check_pair(before: Photo, photo: Photo, photos: Sequence[Photo], hidden: bool, place: str) -> None:
    if before.subject != photo.subject:
        raise DataError(f"{_both(before, photo, photos, hidden, place)} under two subjects; delete the wrong one.")
    if _datum(before) != _datum(photo):
        raise DataError(f"{_both(before, photo, photos, hidden, place)} with different labels; delete the wrong one.")


def _short(photos: Sequence[Photo], position: int, hidden: bool) -> str:
    photo = photos[position]
    if not hidden:
        return photo.path.name
    return f"line {photo.line}" if photo.line else f"photo {position + 1:,}"


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
    names = (f"'{each.path.name}'{_frame(each)}" for each in (one, other))
    return f"{' and '.join(names)} of the data set at '{place}' are the same picture"


def _frame(photo: Photo) -> str:
    return "" if photo.frame is None else f" (frame {photo.frame + 1:,})"
