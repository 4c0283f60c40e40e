"""The index of a split's shards as arrays: which tracks there are, and where each image lies in which shard.

`SPLIT.tracks.npz` has one row per track: its key, identity, generator, attribute, seed and shard. `SPLIT.images.npy`
(T,A,3) has for each image the number of its first tar block, its size in bytes and its crc32. A reader keeps 10 bytes
per track in memory: names stay in the first file until one is asked for, and positions are read from the second file,
12 bytes per image. Artifacts from before these files have `SHARD.index.json` only, from which the same arrays are made.

Legend: T tracks of the split, K tracks that are kept, I identities, E pairs of generator and attribute, A alphas.
"""

from __future__ import annotations

import functools
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import arrays_bytes
from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.files import open_regular
from comface.files.arrays import LONGEST_HEADER, array_in, header_in
from comface.tracks.located import BLOCK, Located
from comface.tracks.tar import Track

Arrays = dict[str, NDArray[Any]]
FIELDS = 3
"""First tar block, size in bytes and crc32 of an image, uint32 each."""
SEPARATOR = " "
"""Between generator and attribute, whose names have no spaces."""


class ShardedTrack(NamedTuple):
    track: Track
    shard: str
    """Name of the tar object with its images."""


class Place(NamedTuple):
    """Where an image lies in its shard."""

    offset: int
    size_bytes: int
    crc32: int


def table_name(split: str) -> str:
    return f"{split}.tracks.npz"


def images_name(split: str) -> str:
    return f"{split}.images.npy"


def table_bytes(shards: Sequence[Sequence[Located]]) -> bytes:
    """The content of `SPLIT.tracks.npz` for the tracks of each shard of a split."""
    tracks = [item.track for shard in shards for item in shard]
    shard_T = np.repeat(np.arange(len(shards)), [len(shard) for shard in shards])
    return arrays_bytes(_table(tracks, shard_T))


def image_bytes(shards: Sequence[Sequence[Located]]) -> bytes:
    """The content of `SPLIT.images.npy`, computed from the plan, as TrackTar places the images."""
    rows = []
    for shard in shards:
        begin = 0
        for item in shard:
            sizes_A = item.sizes_A.astype(np.int64)
            end = begin + item.tar_bytes
            first = end - int((-(-sizes_A // BLOCK) * BLOCK).sum()) - BLOCK * (len(sizes_A) - 1)
            rows.append(np.stack([(first + item.starts) // BLOCK, sizes_A, item.crc32_A], axis=1).astype(np.uint32))
            begin = end
    alphas = rows[0].shape[0] if rows else 0
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(rows).reshape(-1, alphas, FIELDS) if rows else np.zeros((0, 0, FIELDS), np.uint32))
    return buffer.getvalue()


def _table(tracks: Sequence[Track], shard_T: NDArray[Any]) -> Arrays:
    identities_I, identity_T = _coded([track.identity for track in tracks])
    edits_E, edit_T = _coded([f"{track.generator}{SEPARATOR}{track.attribute}" for track in tracks])
    return {
        "key": _texts([track.key for track in tracks]),
        "identity": identity_T.astype(np.uint32),
        "edit": edit_T.astype(np.uint16),
        "seed": np.array([track.seed for track in tracks], dtype=np.int64),
        "shard": shard_T.astype(np.uint32),
        "identities": identities_I,
        "edits": edits_E,
    }


def _coded(names: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The different names in order, and the number of each name among them."""
    different, code = np.unique(_texts(names), return_inverse=True)
    return different, code.reshape(-1)


def _texts(names: Sequence[str]) -> NDArray[Any]:
    return np.array([name.encode() for name in names], dtype=bytes)


class TrackTable(Sequence[ShardedTrack]):
    """The tracks of a split. Codes are in memory; names are read again when one is asked for, and then kept."""

    def __init__(self, read: Callable[[Sequence[str]], Arrays], alphas: tuple[float, ...], shards: tuple[str, ...]):
        found = read(("identity", "edit", "shard", "edits"))
        self._read, self.alphas, self.shards = read, alphas, shards
        self.identity_T = found["identity"]
        """Number of each track's identity, in the order of the identities' names."""
        self.edit_T, self.shard_T = found["edit"], found["shard"].astype(np.min_scalar_type(max(1, len(shards))))
        self.edits_E = [tuple(edit.decode().split(SEPARATOR)) for edit in found["edits"].tolist()]
        """(generator, attribute)."""
        self.row_T: NDArray[np.uint32] | None = None
        """Numbers of these tracks among all tracks of the split; None: no track was dropped."""

    def __len__(self) -> int:
        return len(self.identity_T)

    @overload
    def __getitem__(self, number: int) -> ShardedTrack: ...
    @overload
    def __getitem__(self, number: slice) -> list[ShardedTrack]: ...
    def __getitem__(self, number: int | slice) -> ShardedTrack | list[ShardedTrack]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        generator, attribute = self.edits_E[self.edit_T[number]]
        row, names = self.row(number), self._names
        track = Track(
            key=names["key"][row].decode(), generator=generator, attribute=attribute, alphas=self.alphas,
            identity=names["identities"][self.identity_T[number]].decode(), seed=int(names["seed"][row]),
        )  # fmt: skip
        return ShardedTrack(track, self.shards[self.shard_T[number]])

    def row(self, number: int) -> int:
        """The number of a track among all tracks of the split, before any was dropped."""
        return number if self.row_T is None else int(self.row_T[number])

    def identities(self) -> list[str]:
        """The names of the identities in the order of their numbers."""
        return [name.decode() for name in self._read(("identities",))["identities"].tolist()]

    def keep(self, index_K: NDArray[np.integer[Any]]) -> None:
        """Drop all tracks but these."""
        self.row_T = (np.arange(len(self), dtype=np.uint32) if self.row_T is None else self.row_T)[index_K]
        self.identity_T, self.edit_T, self.shard_T = (
            codes_T[index_K] for codes_T in (self.identity_T, self.edit_T, self.shard_T)
        )

    @functools.cached_property
    def _names(self) -> Arrays:
        return self._read(("key", "seed", "identities"))


@dataclass
class ShardIndex:
    """The tracks of a split and the positions of their images."""

    table: TrackTable
    _images: BinaryIO
    _start: int
    _alphas: int

    def __len__(self) -> int:
        return len(self.table)

    def place(self, track: int, alpha: int) -> Place:
        """Where an image lies. Raises DataError if the file of positions was truncated."""
        number = self.table.row(track) * self._alphas + alpha
        data = os.pread(self._images.fileno(), 4 * FIELDS, self._start + 4 * FIELDS * number)
        if len(data) != 4 * FIELDS:
            raise DataError("The index of the shards was truncated while it was read; run again.")
        block, size_bytes, crc32 = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4, 8))
        return Place(block * BLOCK, size_bytes, crc32)


def open_index(
    artifact: Artifact, split: str, alphas: tuple[float, ...], shards: tuple[str, ...], local: Callable[[str], Path]
) -> ShardIndex:
    """The index of a split. `local`: gives the path of a verified local copy of an object. Raises DataError if the
    index cannot be read or does not fit."""
    if images_name(split) not in artifact.manifest.objects:
        return _from_json(artifact, alphas, shards)
    table = TrackTable(functools.partial(_read_arrays, artifact, table_name(split)), alphas, shards)
    name = images_name(split)
    file = open_regular(local(name), "The index")
    try:
        shape, in_fortran_order, dtype, start = header_in(os.pread(file.fileno(), LONGEST_HEADER, 0))
        there = os.fstat(file.fileno()).st_size - start
        if there != 4 * FIELDS * len(table) * len(alphas):
            raise ValueError(f"it has {there:,} bytes for {len(table)} tracks of {len(alphas)} alphas")
        if len(table) and (shape != (len(table), len(alphas), FIELDS) or in_fortran_order or dtype != np.dtype("<u4")):
            raise ValueError(f"its shape is {shape}, for {len(table)} tracks of {len(alphas)} alphas")
    except ValueError as error:
        raise _unreadable(artifact, name, error) from None
    return ShardIndex(table, file, start, len(alphas))


def _read_arrays(artifact: Artifact, object_name: str, names: Sequence[str]) -> Arrays:
    """Some of the arrays in an .npz object."""
    try:
        with zipfile.ZipFile(io.BytesIO(artifact.read(object_name))) as archive:
            return {name: array_in(archive.read(f"{name}.npy")) for name in names}
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(artifact, object_name, error) from None


def _from_json(artifact: Artifact, alphas: tuple[float, ...], shards: tuple[str, ...]) -> ShardIndex:
    """The index of an artifact that has `SHARD.index.json` only."""
    tracks: list[Track] = []
    counts = []
    images = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the index)
    for shard in shards:
        before = len(tracks)
        for track, positions_A3 in _json_tracks(artifact, shard.removesuffix(".tar") + ".index.json", alphas):
            tracks.append(track)
            images.write(positions_A3.tobytes())
        counts.append(len(tracks) - before)
    images.flush()
    arrays = _table(tracks, np.repeat(np.arange(len(shards)), counts))
    return ShardIndex(TrackTable(functools.partial(_chosen, arrays), alphas, shards), images, 0, len(alphas))


def _chosen(arrays: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays:
    return {name: arrays[name] for name in names}


def _json_tracks(artifact: Artifact, name: str, alphas: tuple[float, ...]) -> Iterator[tuple[Track, NDArray[Any]]]:
    try:
        for entry in json.loads(artifact.read(name)):
            track = Track.model_validate({**entry["track"], "alphas": alphas})
            if tuple(entry["track"]["alphas"]) != alphas:
                raise ValueError(f"'{track.key}' has other alphas")
            rows = [[m["offset"], m["size_bytes"], m["crc32"]] for m in entry["images"]]
            positions_A3 = np.array(rows, dtype=np.int64).reshape(len(alphas), FIELDS)
            if (positions_A3[:, 0] % BLOCK).any():
                raise ValueError("an image does not begin at a tar block")
            positions_A3[:, 0] //= BLOCK
            yield track, positions_A3.astype("<u4")
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(artifact, name, error) from None


def _unreadable(artifact: Artifact, name: str, error: Exception) -> DataError:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(
        f"The index '{name}' of {artifact.uri} cannot be read ({why}); delete the artifact and run shard again."
    )
