"""Finds copies of pictures. The same picture under two subjects or labels would falsify training and test.

In: the photos of a data set. Out: the photos, each content once, and the number of copies that were removed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import file_sha256
from comface.datasets.dataset import Photo
from comface.errors import DataError

SAME_PICTURE = 0.97
"""Minimum cosine similarity of the grey levels of two faces to count as one picture. Different rehearsal subjects reach
0.72, photos of one subject 0.92. Most copies that were cropped and compressed again are above it (median 0.99)."""
MOST_COMPARED = 20_000
"""Maximum number of photos to compare. It takes seconds; the time grows with the square of the number."""
MOST_TOLD = 1000
MADE_FROM = re.compile(r"([ _.-]*(crop|cropped|copy|aligned|edited|resized|small|thumb)|\s*\(\d+\))+$")
MADE_IN = re.compile(r"crops?|cropped|aligned|edited|resized|small|thumb(nail)?s?|faces?|copies")


def without_copies(photos: Sequence[Photo], hidden: bool, place: str) -> tuple[list[Photo], int]:
    """Remove copies that have the same subject and labels; return the rest and the number of copies. Raises DataError
    if copies differ in subject or labels. Only files with equal size and equal last 512 bytes are read completely."""
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
        _check_pair(before, photo, photos, hidden, place)
    return kept, len(photos) - len(kept)


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


def near_copies(photos: Sequence[Photo], x_ND: NDArray[np.float32], hidden: bool, among_one: bool = True) -> list[str]:
    """Return remarks about aligned faces that seem to be one picture, compressed or cropped again, by their
    `lookalike_vectors`. They are used, because this is no proof. `among_one`: also compare photos of the same subject;
    False if these are a series of similar photos."""
    if len(photos) > MOST_COMPARED:
        return []
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(x_ND), 500):
        near = np.argwhere(np.triu(x_ND[start : start + 500] @ x_ND.T > SAME_PICTURE, start + 1))
        pairs += [(start + int(i), int(j)) for i, j in near[:MOST_TOLD]]
    sentences = []
    for what, chosen in (
        ("two subjects", [(i, j) for i, j in pairs if photos[i].subject != photos[j].subject]),
        ("one subject", [(i, j) for i, j in pairs if photos[i].subject == photos[j].subject]),
    ):
        if chosen and (among_one or what == "two subjects"):
            shown = "; ".join(" and ".join(_short(photos, k, hidden) for k in pair) for pair in chosen[:10])
            sentences.append(f"pairs of photos of {what} that seem to be the same picture: {len(chosen):,} ({shown})")
    return sentences


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


def lookalike_vectors(faces_NSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the centre of each face as 24 x 24 grey levels (N,576), with mean 0 and length 1."""
    import cv2

    side = faces_NSSC.shape[1]
    edge = slice(side // 11, side - side // 11)
    small = [
        cv2.resize(cv2.cvtColor(face[edge, edge], cv2.COLOR_RGB2GRAY), (24, 24), interpolation=cv2.INTER_AREA).ravel()
        for face in faces_NSSC
    ]
    x_ND = np.stack(small).astype(np.float32)
    x_ND -= x_ND.mean(axis=1, keepdims=True)
    unit_ND: NDArray[np.float32] = x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-6)
    return unit_ND


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
