"""NumPy arrays as objects of artifacts: whole, or in chunks of rows that are read by index.

An array with a row per photo can be larger than memory (19.7 GB for the faces of DISFA at 224 px). So it is stored as
STEM-00000.npy, STEM-00001.npy …, and `Rows` reads only the rows that are asked for. STEM.npy is one chunk.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.files import open_file
from comface.files.arrays import LONGEST_HEADER, array_in, header_in
from comface.runtime.folders import cache_folder, drop_unused

CHUNK_ROWS = 1024
"""Rows of a chunk. 1,024 faces of 224 px take 154 MB."""


def read_array(artifact: Artifact, name: str) -> NDArray[Any]:
    """The array in the object `name`, verified against the manifest. Raises DataError if it is not a NumPy array."""
    try:
        return array_in(artifact.read(name))
    except ValueError:
        raise _no_array(artifact, name) from None


def array_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_arrays(artifact: Artifact, name: str) -> dict[str, NDArray[Any]]:
    """The named arrays in the object `name` (.npz). Raises DataError if it has another format."""
    try:
        with zipfile.ZipFile(io.BytesIO(artifact.read(name))) as archive:
            return {each.removesuffix(".npy"): array_in(archive.read(each)) for each in archive.namelist()}
    except (ValueError, zipfile.BadZipFile):
        raise DataError(f"'{name}' of {artifact.uri} is not an .npz file; rerun the step that makes it.") from None


def arrays_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An .npz file. Equal arrays give equal bytes, because the archive has no times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array_bytes(array))
    return buffer.getvalue()


def chunk_name(stem: str, number: int) -> str:
    return f"{stem}-{number:05d}.npy"


class Rows:
    """An array (N, …) of an artifact, of which only the requested rows are in memory.

    `rows[i]`, `rows[2:5]` and `rows[[7, 3, 7]]` return arrays; iteration yields the chunks. Each chunk is verified
    before its first use. On s3://, `rows[…]` copies chunks to the cache folder, from which
    unused ones are deleted; iteration copies nothing."""

    def __init__(self, artifact: Artifact, stem: str) -> None:
        pattern = re.compile(rf"{re.escape(stem)}(-\d{{5,}})?\.npy")
        self.artifact = artifact
        self.names = sorted(name for name in artifact.manifest.objects if pattern.fullmatch(name))
        if not self.names:
            raise DataError(f"The artifact at {artifact.uri} has no object '{stem}.npy'; pass the right artifact.")
        first, self.dtype, self._start_bytes = self._header(self.names[0])
        self._row_bytes = self.dtype.itemsize * int(np.prod(first[1:]))
        sizes = (artifact.manifest.objects[name].size_bytes - self._start_bytes for name in self.names)
        counts = [first[0]] if len(self.names) == 1 else [size // max(self._row_bytes, 1) for size in sizes]
        self.sizes = tuple(counts)
        """Number of rows of each chunk."""
        self._ends = list(itertools.accumulate(counts))
        self.shape: tuple[int, ...] = (self._ends[-1], *first[1:])
        self._files: dict[int, Path] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return map(self.chunk, range(len(self.names)))

    def chunk(self, number: int) -> NDArray[Any]:
        rows = read_array(self.artifact, self.names[number])
        self._expect(number, rows.shape, rows.dtype)
        return rows

    def __getitem__(self, rows: int | slice | Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        if isinstance(rows, int | np.integer):
            one: NDArray[Any] = self[[int(rows)]][0]
            return one
        rows_N = np.arange(len(self))[rows]  # NumPy's own rules for slices, masks and negative indices
        found = np.empty((len(rows_N), *self.shape[1:]), self.dtype)
        number_N = np.searchsorted(self._ends, rows_N, side="right")
        for number in np.unique(number_N):
            start = self._ends[number - 1] if number else 0
            self._fill(found, int(number), np.flatnonzero(number_N == number), rows_N - start)
        return found

    def _fill(self, found: NDArray[Any], number: int, places: NDArray[Any], within_N: NDArray[Any]) -> None:
        """Copy the rows `within_N[places]` of one chunk to `found[places]`. Reading takes no memory besides, which a
        mapping of the file would."""
        with open_file(self._file(number)) as file:
            for place in places:
                offset = self._start_bytes + int(within_N[place]) * self._row_bytes
                got = os.preadv(file.fileno(), [found[place : place + 1].data], offset)
                if got != self._row_bytes:
                    raise _no_array(self.artifact, self.names[number])

    def _file(self, number: int) -> Path:
        if number not in self._files:
            cache = cache_folder() / "rows"
            if not self._files:
                drop_unused(cache)
            path = self._files[number] = self.artifact.local(self.names[number], cache)
            if path.parent == cache:
                path.touch()
            self._expect(number, *self._header(self.names[number])[:2])
        return self._files[number]

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        size_bytes = self.artifact.manifest.objects[name].size_bytes
        head = self.artifact.read_range(name, 0, min(size_bytes, LONGEST_HEADER))
        try:
            shape, in_fortran_order, dtype, start = header_in(head)
        except ValueError:
            raise _no_array(self.artifact, name) from None
        if in_fortran_order or not shape or size_bytes != start + dtype.itemsize * int(np.prod(shape)):
            raise _no_array(self.artifact, name)
        return shape, dtype, start

    def _expect(self, number: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if shape != (self.sizes[number], *self.shape[1:]) or dtype != self.dtype:
            raise _no_array(self.artifact, self.names[number])


def _no_array(artifact: Artifact, name: str) -> DataError:
    return DataError(f"'{name}' of {artifact.uri} is not a NumPy array; rerun the step that makes it.")
