"""A chunk: some tracks of a part in one tar, with its index, as stored.

In: tracks and their JPEGs, or what an interrupted run had stored. Out: the chunk's bytes and index. The index is the
chain of trust: the manifest names its sha256, it names the crc32 of every image, so that shard may read ranges.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from comface.artifacts.manifest import Draft
from comface.tracks.tar import IndexedTrack, Track, TrackTar

INDEX = TypeAdapter(list[IndexedTrack])


class LookedAt(BaseModel):
    """An identity whose unedited image the detector looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    generator: str
    identity: str
    lightness: float
    """Of its skin, L* (comface.faces.lightness)."""
    face: bool


LOOKED_AT = TypeAdapter(list[LookedAt])


@dataclass(frozen=True)
class Chunk:
    index: list[IndexedTrack]
    data: bytes
    looked_at: list[LookedAt]

    def image(self, track: int, alpha: int) -> bytes:
        member = self.index[track].images[alpha]
        return self.data[member.offset : member.offset + member.size_bytes]


def make_chunk(
    draft: Draft, name: str, rendered: Sequence[tuple[Track, Future[list[bytes]]]], looked_at: Sequence[LookedAt]
) -> Chunk:
    """Waits for the encoders, then stores NAME.tar, NAME.screened.json and NAME.index.json."""
    tar = TrackTar()
    for track, jpegs in rendered:
        tar.add(track, jpegs.result())
    chunk = Chunk(tar.index, tar.close(), list(looked_at))
    draft.write(f"{name}.tar", chunk.data)
    draft.write(f"{name}.screened.json", LOOKED_AT.dump_json(chunk.looked_at))
    draft.write(f"{name}.index.json", INDEX.dump_json(chunk.index))
    return chunk


def adopt_chunk(draft: Draft, name: str, expected: Sequence[Track]) -> Chunk | None:
    """The chunk as an interrupted run of the same work stored it; None when it is not there whole and sound (then
    it is made again)."""
    names = (f"{name}.index.json", f"{name}.tar", f"{name}.screened.json")
    return draft.adopt(names, lambda listing, data, screened: _whole(listing, data, screened, expected))


def _whole(listing: bytes, data: bytes, screened: bytes, expected: Sequence[Track]) -> Chunk | None:
    try:
        chunk = Chunk(INDEX.validate_json(listing), data, LOOKED_AT.validate_json(screened))
    except ValidationError:
        return None
    known = {track.key: track for track in expected}
    for i, indexed in enumerate(chunk.index):
        wanted = known.pop(indexed.track.key, None)
        if wanted is None or wanted != indexed.track:
            return None
        if any(zlib.crc32(chunk.image(i, a)) != member.crc32 for a, member in enumerate(indexed.images)):
            return None
    return chunk
