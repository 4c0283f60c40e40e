"""The tar format of tracks: one sample per track, compatible with the `webdataset` library (docs/architecture.md).

    KEY.json        the track (Track below)
    KEY.000.jpg …   its images in alpha order

In: tracks and their JPEG bytes. Out: tar bytes that depend on the content only (no times, no owners), and an index with
offset, size and crc32 of every member, so that each image can be read with one range read.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

LONGEST_KEY = 80


class Track(BaseModel):
    """One identity edited along one attribute: w_edit = w + alpha * n_m for all alphas (section 3.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str = Field(
        pattern=rf"^[A-Za-z0-9_-]{{1,{LONGEST_KEY}}}$", description="GENERATOR-IDENTITY-ATTRIBUTE; no dots (webdataset)"
    )
    generator: str
    identity: str
    attribute: str
    seed: int
    alphas: tuple[float, ...]


class Member(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    offset: int
    size_bytes: int
    crc32: int


class IndexedTrack(BaseModel):
    """A track in a tar file, with the position of each image in alpha order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    track: Track
    images: tuple[Member, ...]


class TrackTar:
    """Writes tracks to a tar file in memory. `close` returns its bytes; `index` lists its tracks."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by close()
        self.index: list[IndexedTrack] = []

    @property
    def size_bytes(self) -> int:
        return self._buffer.tell()

    def add(self, track: Track, jpegs: Sequence[bytes]) -> None:
        """Add a track. Raises ValueError if there is not one image per alpha."""
        if len(jpegs) != len(track.alphas):
            raise ValueError(f"{track.key} has {len(jpegs)} images for {len(track.alphas)} alphas")
        self._member(f"{track.key}.json", track.model_dump_json().encode())
        images = tuple(self._member(f"{track.key}.{i:03d}.jpg", jpeg) for i, jpeg in enumerate(jpegs))
        self.index.append(IndexedTrack(track=track, images=images))

    def close(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()

    def _member(self, name: str, data: bytes) -> Member:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))
        padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return Member(offset=self._buffer.tell() - padded, size_bytes=len(data), crc32=zlib.crc32(data))
