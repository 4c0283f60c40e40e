"""Reads and checks images of shards.

In: an artifact of kind `shards`. Out: JPEG bytes by (track, alpha) index. Every image is checked against the crc32 in
the index. A shard is verified once per node (shard_copies.py) and then read from the local file. An image whose shard
is not on this node is read from the store by a range request, again if its crc32 differs.

Shards are read, not mapped into memory: if a file is truncated or its disk fails, access to a mapped page ends the
process with SIGBUS, while a failed read gives an error message.

Legend: T tracks of the split, A alphas, N images.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Set
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import numpy as np

from comface.artifacts.facts import ShardsFacts
from comface.artifacts.manifest import Artifact, open_artifact
from comface.errors import DataError
from comface.files import failure, open_regular
from comface.store import READINGS
from comface.tracks.shard_copies import ShardCopies
from comface.tracks.shard_index import Place, TrackTable, images_name, open_index

Split = Literal["train", "validation"]

OPEN_FILES = 256
"""Maximum number of open shards per process. The paper's data set has 4,000 shards, but most systems allow 1,024
files."""
REQUESTS = 16
"""Parallel range requests of a process: one takes a few milliseconds, most of it the store's latency."""


class ShardReader:
    """The tracks of one split, in the order of the shards. `cache`: folder for local copies of shards in an s3://
    store; `cache_gib`: its size (None: what is free). `copies_elsewhere`: another process makes the copies
    (`copy_all`), so that this one reads by ranges until they are there."""

    def __init__(self, artifact: Artifact, split: Split, cache: Path, cache_gib: float | None = None) -> None:
        self.uri, self.pinned, self.cache, self.split = artifact.uri, artifact.pinned, cache, split
        self.cache_gib, self.copies_elsewhere = cache_gib, False
        facts = artifact.facts_as(ShardsFacts)
        self.alphas, self.image_size_px, self._ranges = facts.alphas, facts.image_size_px, facts.alpha_ranges or {}
        self._artifact, self._files = artifact, dict[str, BufferedReader]()
        self._requests: tuple[int, ThreadPoolExecutor] | None = None
        indices = [name for name in map(images_name, ("validation", "train")) if name in artifact.manifest.objects]
        shards = (*facts.validation.shards, *facts.train.shards)
        self.copies = ShardCopies(shards, artifact, cache, cache_gib, indices)
        self._index = open_index(artifact, split, self.alphas, getattr(facts, split).shards, self._local)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def tracks(self) -> TrackTable:
        """The tracks; their names are read when one is asked for."""
        return self._index.table

    @property
    def identity_T(self) -> np.ndarray:  # noqa: N802 (a shape)
        """The number of each track's identity, in the order of the identities' names."""
        return self._index.table.identity_T

    def keep(self, identities: Set[str]) -> None:
        """Drop the tracks of all other identities."""
        kept_I = np.array([name in identities for name in self.tracks.identities()], dtype=bool)
        self.tracks.keep(np.flatnonzero(kept_I[self.identity_T]))

    def usable(self) -> np.ndarray | None:
        """Return the half-open range of usable alphas of each track (T,2), as accepted by screening; None: all."""
        if not self._ranges:
            return None
        alpha_A = np.array(self.alphas)
        spans_E2 = np.tile([0, len(alpha_A)], (len(self.tracks.edits_E), 1)).astype(np.uint16)
        for span, (generator, attribute) in zip(spans_E2, self.tracks.edits_E, strict=True):
            if (bounds := self._ranges.get(generator, {}).get(attribute)) is not None:
                inside = np.flatnonzero((alpha_A >= bounds[0] - 1e-6) & (alpha_A <= bounds[1] + 1e-6))
                span[:] = inside[0], inside[-1] + 1
        return spans_E2[self.tracks.edit_T]

    def place(self, track: int, alpha: int) -> Place:
        """Return where an image lies in its shard."""
        return self._index.place(track, alpha)

    def jpeg(self, track: int, alpha: int) -> bytes:
        """Return the JPEG of one image. Raises DataError if it is absent or its crc32 differs from the index, TryAgain
        if the store fails."""
        return self.jpegs([track], [alpha])[0]

    def jpegs(self, track_N: Iterable[int], alpha_N: Iterable[int]) -> list[bytes]:
        """Return the JPEGs of several images, with parallel requests for those that are not on this node."""
        found: list[bytes | Future[bytes]] = []
        for track, alpha in zip(track_N, alpha_N, strict=True):
            place = self.place(int(track), int(alpha))
            shard = self.tracks.shards[self.tracks.shard_T[track]]
            data = self._from_file(shard, place)
            if data is None or zlib.crc32(data) != place.crc32:
                if self.copies.in_place:
                    raise self._damaged(int(track), int(alpha))
                if data is not None:
                    self._discard(shard)
                found.append(self._pool().submit(self._from_store, shard, place, int(track), int(alpha)))
            else:
                found.append(data)
        return [each if isinstance(each, bytes) else each.result() for each in found]

    def copy_all(self) -> None:
        """Copy the shards of this split that fit, as far as no other process is copying them. Returns at the end."""
        for shard in self.tracks.shards:
            if self.copies.may_copy(shard) and not self.copies.is_verified(shard):
                self.copies.path(self._artifact, shard, wait=False)

    def _local(self, name: str) -> Path:
        path = self.copies.path(self._artifact, name)
        assert path is not None, "it waits for another process"
        return path

    def _from_file(self, shard: str, place: Place) -> bytes | None:
        """The bytes from the local file; None if there is none, or if it is a copy that cannot be read."""
        try:
            file = self._open(shard)
            if file is None:
                return None
            return os.pread(file.fileno(), place.size_bytes, place.offset)  # processes share the file position
        except OSError as error:
            if self.copies.in_place:
                raise failure(error, f"the shard '{shard}' of {self.uri}") from None
            return None

    def _open(self, shard: str) -> BufferedReader | None:
        file = self._files.get(shard)
        if file is None:
            ready = self.copies.is_verified(shard)
            if not ready and (not self.copies.may_copy(shard) or self.copies_elsewhere):
                return None
            if len(self._files) >= OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            file = self._files[shard] = open_regular(self._local(shard), "The shard")
        return file

    def _discard(self, shard: str) -> None:
        """Stop using a damaged copy; the image is read from the store."""
        self._files.pop(shard).close()
        self.copies.missing(shard)

    def _from_store(self, shard: str, place: Place, track: int, alpha: int) -> bytes:
        for _ in range(READINGS):
            data = self._artifact.read_range(shard, place.offset, place.size_bytes)
            if zlib.crc32(data) == place.crc32:
                return data
        raise self._damaged(track, alpha)

    def _damaged(self, track: int, alpha: int) -> DataError:
        key, shard = self.tracks[track].track.key, self.tracks[track].shard
        return DataError(
            f"The image '{key}.{alpha:03d}.jpg' in '{shard}' of {self.uri} is damaged (its crc32 differs); delete the "
            "artifact and run shard again."
        )

    def _pool(self) -> ThreadPoolExecutor:
        """The threads of this process for range requests: a forked process has none of its parent's threads."""
        if self._requests is None or self._requests[0] != os.getpid():
            self._requests = os.getpid(), ThreadPoolExecutor(REQUESTS)
        return self._requests[1]

    def __getstate__(self) -> dict[str, Any]:
        return {"pinned": self.pinned, "split": self.split, "cache": self.cache, "cache_gib": self.cache_gib,
                "rows": self.tracks.row_T}  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open it again in another process, because connections cannot be shared."""
        artifact = open_artifact(state["pinned"], "shards")
        self.__init__(artifact, state["split"], state["cache"], state["cache_gib"])  # type: ignore[misc]
        if state["rows"] is not None:
            self.tracks.keep(state["rows"])
