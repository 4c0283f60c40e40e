"""Reads and checks images from local shards.

In: an artifact of kind `shards`. Out: JPEG bytes by (track, alpha) index. Every image is checked against the crc32 in
the index. The sha256 of a shard is checked when it is first opened: one of the forked processes checks it while the
others wait. If the reader is pickled, each process checks for itself.

Shards are read, not mapped into memory: if a file is truncated or its disk fails, access to a mapped page ends the
process with SIGBUS, while a failed read gives an error message.

Legend: T tracks of the split, A alphas.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterator, Set
from io import BufferedReader
from pathlib import Path
from tarfile import BLOCKSIZE
from typing import Any, Literal, NamedTuple

import numpy as np

from comface.artifacts.facts import ShardsFacts
from comface.artifacts.manifest import Artifact, open_artifact
from comface.errors import DataError
from comface.files import failure, open_regular
from comface.tracks.tar import Track

Split = Literal["train", "validation"]


OPEN_FILES = 256
"""Maximum number of open shards per process. The paper's data set has 4,000 shards, but most systems allow 1,024
files."""


class ShardedTrack(NamedTuple):
    track: Track
    shard: str
    """Name of the tar object with its images."""


class CheckedOnce:
    """Records which shards have been checked: one byte per shard in a temporary file that forked processes share."""

    def __init__(self, count: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as this object)
        self._file.truncate(max(1, count))
        self._byte = mmap.mmap(self._file.fileno(), 0)

    @contextlib.contextmanager
    def checking(self, number: int) -> Iterator[bool]:
        """Yield whether shard `number` has been checked, after waiting for a process that is checking it. If the block
        ends without an error, the shard is recorded as checked."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, number)  # one lock per byte; it is released if the process dies
        try:
            yield bool(self._byte[number])
            self._byte[number] = 1
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)


class ShardReader:
    """The tracks of one split, in the order of the shards. `cache`: folder for local copies of shards in an s3://
    store."""

    def __init__(self, artifact: Artifact, split: Split, cache: Path) -> None:
        self.uri, self.pinned, self.cache, self.split = artifact.uri, artifact.pinned, cache, split
        facts = artifact.facts_as(ShardsFacts)
        self.alphas, self.image_size_px, self._ranges = facts.alphas, facts.image_size_px, facts.alpha_ranges or {}
        self.tracks: list[ShardedTrack] = []
        self._artifact: Artifact | None = artifact
        self._owner = os.getpid()
        self._files: dict[str, BufferedReader] = {}
        self._number = {name: number for number, name in enumerate(getattr(facts, split).shards)}
        self._checked: CheckedOnce | None = CheckedOnce(len(self._number))
        pieces = [self._index(artifact, name) for name in self._number]
        self._members_TA3 = np.concatenate(pieces) if pieces else np.zeros((0, len(self.alphas), 3), np.uint32)

    def __len__(self) -> int:
        return len(self.tracks)

    def keep(self, identities: Set[str]) -> None:
        """Drop the tracks of all other identities."""
        kept_T = np.array([track.identity in identities for track, _ in self.tracks], dtype=bool)
        self.tracks = [each for each, kept in zip(self.tracks, kept_T, strict=True) if kept]
        self._members_TA3 = self._members_TA3[kept_T]

    def usable(self) -> np.ndarray:
        """Return the half-open range of usable alphas of each track (T,2): all, or those accepted by screening."""
        alpha_A = np.array(self.alphas)
        everything = (0, len(alpha_A))
        spans = []
        for track, _ in self.tracks:
            bounds = self._ranges.get(track.generator, {}).get(track.attribute)
            if bounds is None:
                spans.append(everything)
            else:
                inside = np.flatnonzero((alpha_A >= bounds[0] - 1e-6) & (alpha_A <= bounds[1] + 1e-6))
                spans.append((int(inside[0]), int(inside[-1]) + 1))
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def jpeg(self, track: int, alpha: int) -> bytes:
        """Return the JPEG of one image. Raises DataError if its crc32 differs from the index."""
        sharded = self.tracks[track]
        block, size_bytes, crc32 = (int(n) for n in self._members_TA3[track, alpha])
        file = self._open(sharded.shard)
        try:
            data = os.pread(file.fileno(), size_bytes, block * BLOCKSIZE)  # forked processes share the file position
        except OSError as error:
            raise failure(error, f"the shard '{sharded.shard}' of {self.uri}") from None
        if zlib.crc32(data) != crc32:
            raise DataError(
                f"The image '{sharded.track.key}.{alpha:03d}.jpg' in '{sharded.shard}' of {self.uri} is damaged "
                "(its crc32 differs); delete the artifact and run shard again."
            )
        return data

    def _index(self, artifact: Artifact, shard: str) -> np.ndarray:
        """Add the tracks of a shard, and return block number, size and crc32 of their images (T,A,3)."""
        name = shard.removesuffix(".tar") + ".index.json"
        try:
            entries = json.loads(artifact.read(name))
            for entry in entries:
                track = Track.model_validate({**entry["track"], "alphas": self.alphas})
                if tuple(entry["track"]["alphas"]) != self.alphas:
                    raise ValueError(f"'{track.key}' has other alphas")
                self.tracks.append(ShardedTrack(track, shard))
            rows = [[(m["offset"], m["size_bytes"], m["crc32"]) for m in entry["images"]] for entry in entries]
            members_TA3 = np.array(rows, dtype=np.int64).reshape(len(entries), len(self.alphas), 3)
            if (members_TA3[..., 0] % BLOCKSIZE).any():
                raise ValueError("an image does not begin at a tar block")
            members_TA3[..., 0] //= BLOCKSIZE
            return members_TA3.astype(np.uint32)
        except (ValueError, KeyError, TypeError) as error:
            why = str(error).splitlines()[0]
            raise DataError(
                f"The index '{name}' of {self.uri} cannot be read ({why}); delete the artifact and run shard again."
            ) from None

    def _open(self, shard: str) -> BufferedReader:
        file = self._files.get(shard)
        if file is None:
            if self._checked is None:
                self._checked = CheckedOnce(len(self._number))
            with self._checked.checking(self._number[shard]) as checked:
                path = self._source().local(shard, self.cache, checked)
            if len(self._files) >= OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            file = self._files[shard] = open_regular(path, "The shard")
        return file

    def _source(self) -> Artifact:
        """Return the artifact, reopened in a forked or unpickled process, because connections cannot be shared."""
        if self._artifact is None or self._owner != os.getpid():
            self._artifact, self._owner = open_artifact(self.pinned, "shards"), os.getpid()
        return self._artifact

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_artifact": None, "_files": {}, "_checked": None}
