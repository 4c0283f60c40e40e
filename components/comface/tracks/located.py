"""The byte range of each track in its block's tar.

In: the indices of blocks. Out: the position of every track. One range read returns the images of a track.

Legend: T tracks, A alphas.
"""

from __future__ import annotations

import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from comface.artifacts.facts import PartFacts, TracksFacts
from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.runtime.progress import shown
from comface.store import READINGS
from comface.tracks.tar import IndexedTrack, Track

BLOCK = tarfile.BLOCKSIZE
INDEX = TypeAdapter(list[IndexedTrack])
TAR_NAME, INDEX_NAME = "tracks.tar", "tracks.index.json"


@dataclass(frozen=True, slots=True)
class Located:
    """A track and the byte range of its images in its block's tar."""

    track: Track
    block: int
    """Index of its artifact in the given sequence."""
    offset: int
    """Of its first image, in bytes. Between two images are the padding to a whole tar block and a header of one tar
    block."""
    sizes_A: np.ndarray
    crc32_A: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """Start of each image, in bytes after `offset`."""
        return np.concatenate([[0], np.cumsum(_blocks(self.sizes_A) + BLOCK)[:-1]])

    @property
    def span_bytes(self) -> int:
        return int(self.starts[-1] + self.sizes_A[-1])

    @property
    def tar_bytes(self) -> int:
        """Its size in a shard, with headers and padding."""
        listing = BLOCK + int(_blocks(np.array([len(self.track.model_dump_json().encode())]))[0])
        return listing + int((_blocks(self.sizes_A) + BLOCK).sum())


def check_parts(parts: Sequence[Artifact]) -> None:
    """Raises DataError if the parts do not form one data set: there is none, one is missing, or alphas or image sizes
    differ."""
    if not parts:
        raise DataError("No part was given to shard; run synthesize first.")
    first, facts = parts[0], parts[0].facts_as(PartFacts)
    sets: dict[str, list[PartFacts]] = {}
    for part in parts:
        own = part.facts_as(PartFacts)
        for name in ("alphas", "image_size_px"):
            here, there = getattr(own, name), getattr(facts, name)
            if here != there:
                raise DataError(
                    f"{part.uri} has other {name} than {first.uri} ({_short(here)} instead of {_short(there)}); "
                    "synthesize all parts with one configuration."
                )
        sets.setdefault(repr(part.manifest.config.get("synthesize")), []).append(own)
    for members in sets.values():
        count = members[0].parts
        seen = Counter(each.part for each in members)
        missing = sorted(set(range(count)) - set(seen))
        if missing:
            raise DataError(
                f"Part {missing[0]} of {count} is missing ({len(missing)} in total); synthesize it, then shard again."
            )


def tracks_of_parts(parts: Sequence[Artifact]) -> list[Artifact]:
    """The `tracks` artifacts of all parts, sorted by URI, so that the order does not depend on the parts."""
    found = (each for part in parts for each in part.inputs().values())
    return sorted(found, key=lambda artifact: artifact.uri)


def located_tracks(tracks: Sequence[Artifact]) -> Iterator[Located]:
    """Yield the position of every track, from the indices. Raises DataError if an index is invalid."""
    for number, each in enumerate(shown(tracks, "reading the indices", unit="block") if tracks[1:] else tracks):
        alphas = each.facts_as(TracksFacts).alphas
        try:
            index = INDEX.validate_json(each.read(INDEX_NAME))
        except ValidationError:
            raise DataError(f"'{INDEX_NAME}' of {each.uri} is not an index of tracks; synthesize it again.") from None
        for indexed in index:
            if indexed.track.alphas != alphas:
                raise DataError(
                    f"Track '{indexed.track.key}' of {each.uri} has other alphas than its block; synthesize it again."
                )
            shared = Track.model_construct(**{**indexed.track.__dict__, "alphas": alphas})
            yield locate(indexed.model_copy(update={"track": shared}), number)


def locate(indexed: IndexedTrack, block: int) -> Located:
    """The position of one track. Raises DataError if its images are not adjacent, as TrackTar writes them."""
    members = indexed.images
    located = Located(
        indexed.track,
        block,
        members[0].offset if members else 0,
        np.array([m.size_bytes for m in members], dtype=np.uint32),
        np.array([m.crc32 for m in members], dtype=np.uint32),
    )
    offsets_A = np.array([m.offset for m in members], dtype=np.int64)
    if len(members) != len(indexed.track.alphas) or not members or (located.starts + located.offset != offsets_A).any():
        raise DataError(f"The index does not fit track '{indexed.track.key}'; synthesize it again.")
    return located


def track_jpegs(tracks: Artifact, item: Located) -> list[bytes]:
    """The track's images, from one range read. Raises DataError if an image does not match the crc32 of its index."""
    for _ in range(READINGS):
        run = tracks.read_range(TAR_NAME, item.offset, item.span_bytes)
        images = [run[start : start + size] for start, size in zip(item.starts, item.sizes_A, strict=True)]
        pairs = enumerate(zip(images, item.crc32_A, strict=True))
        wrong = next((alpha for alpha, (image, crc32) in pairs if zlib.crc32(image) != int(crc32)), None)
        if wrong is None:
            return images
    raise DataError(
        f"The image '{item.track.key}.{wrong:03d}.jpg' in '{TAR_NAME}' of {tracks.uri} is damaged "
        "(its crc32 differs); delete that artifact and synthesize the part again."
    )


def _blocks(sizes: np.ndarray) -> np.ndarray:
    """Sizes rounded up to whole tar blocks."""
    return -(-sizes.astype(np.int64) // BLOCK) * BLOCK


def _short(value: Any) -> str:
    return f"{len(value)} from {value[0]} to {value[-1]}" if isinstance(value, tuple) else str(value)
