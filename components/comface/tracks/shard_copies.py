"""Verified copies of an artifact's shards on this node, made once and shared by all its processes.

A folder per artifact holds the copies and a file `state`: the number of bytes that the copies may take, and a byte per
object that says whether it was verified. Each process keeps a shared lock on `state`. The process that opens it alone
resets it: nothing counts as verified, and copies of other artifacts that no process has locked are deleted, oldest
first, until the copies fit. So nothing in use is ever deleted, and a copy from an earlier run is used only after it was
compared with the manifest again.

Shards of a file:// store are verified in place. From an s3:// store, as many shards are copied as fit, always the same
ones; images of the others are read by range requests (shard_reader.py). A pair may need any shard, so replacing copies
while training would read 96 MB for each image of 12 KB.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path

from comface.artifacts.manifest import Artifact
from comface.files import READING, failure, make_private_folder
from comface.store import FileStore

PREFIX = "shards-"
STATE = "state"
HEAD_BYTES = 8
"""Of `state`: the limit in bytes. Then follows a byte per object."""
FREE_SHARE = 0.05
"""Share of the disk that stays free if no limit is given."""
GIB = 2**30


class ShardCopies:
    """The copies of the objects `names` of an artifact. `limit_gib`: disk for all copies of this node in `cache`; None:
    what is free on the disk. `always`: objects that are copied whatever the limit is (the index)."""

    def __init__(
        self, names: Sequence[str], artifact: Artifact, cache: Path, limit_gib: float | None, always: Sequence[str] = ()
    ) -> None:
        self._number = {name: number for number, name in enumerate((*always, *names))}
        objects = artifact.manifest.objects
        self._size = {name: objects[name].size_bytes for name in self._number if name in objects}
        self.in_place = isinstance(artifact.store, FileStore)
        self.folder = cache / f"{PREFIX}{artifact.sha256[:20]}"
        self._always = frozenset(always)
        try:
            make_private_folder(self.folder)
            self._state = _opened(self.folder / STATE, lambda file: self._begin(file, cache, limit_gib))
        except OSError as error:
            raise failure(error, f"the folder '{self.folder}' for copies of shards") from None
        limit = int.from_bytes(os.pread(self._state.fileno(), HEAD_BYTES, 0), "little")
        self._copied = self._always | _first_fitting(names, self._size, limit)

    def sentence(self) -> str:
        """How the shards of an s3:// store are read."""
        copied, count = (len(names) - len(self._always) for names in (self._copied, self._number))
        if copied == count:
            return f"All {count:,} shards are copied to {self.folder} while the training runs"
        return (
            f"{copied:,} of {count:,} shards fit and are copied to {self.folder} while the training runs; images of "
            "the others are read from the store by range requests"
        )

    def may_copy(self, name: str) -> bool:
        """Whether there is room for a copy. Otherwise the object must be read by ranges."""
        return self.in_place or name in self._copied

    def is_verified(self, name: str) -> bool:
        return os.pread(self._state.fileno(), 1, HEAD_BYTES + self._number[name]) == b"\1"

    def path(self, artifact: Artifact, name: str, wait: bool = True) -> Path | None:
        """The path of the verified object, copied and verified first if no process has done it. If another process is
        doing it, wait, or return None if `wait` is false. Raises DataError if the object is absent or does not match
        the manifest, TryAgain if the store fails."""
        number = HEAD_BYTES + self._number[name]
        how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.lockf(self._state, how, 1, number)  # one lock per byte; it is released if the process dies
        except BlockingIOError:
            return None
        try:
            path = artifact.local(name, self.folder, checked=self.is_verified(name))
            os.pwrite(self._state.fileno(), b"\1", number)
            return path
        finally:
            fcntl.lockf(self._state, fcntl.LOCK_UN, 1, number)

    def missing(self, name: str) -> None:
        """Record that a copy has vanished or is damaged; the next call of `path` makes it again."""
        os.pwrite(self._state.fileno(), b"\0", HEAD_BYTES + self._number[name])

    def _begin(self, file: int, cache: Path, limit_gib: float | None) -> None:
        """Called by the first process: nothing is verified, and there is a limit. No process is copying, so partial
        copies are of processes that were killed."""
        for partial in self.folder.glob(f"{READING}*"):
            partial.unlink(missing_ok=True)
        os.ftruncate(file, 0)
        os.ftruncate(file, HEAD_BYTES + len(self._number))
        if self.in_place:
            return
        needed = sum(self._size.values())
        others = _make_room(cache, self.folder, needed, limit_gib)
        if limit_gib is None:
            disk = shutil.disk_usage(self.folder)
            limit = disk.free + _held(self.folder) - int(FREE_SHARE * disk.total)
        else:
            limit = int(limit_gib * GIB) - others
        os.pwrite(file, max(0, limit).to_bytes(HEAD_BYTES, "little"), 0)


def _first_fitting(names: Sequence[str], size: dict[str, int], limit: int) -> frozenset[str]:
    found = set()
    for name in names:
        limit -= size.get(name, 0)
        if limit < 0:
            break
        found.add(name)
    return frozenset(found)


def _make_room(cache: Path, own: Path, needed: int, limit_gib: float | None) -> int:
    """Delete copies of other artifacts that no process uses, oldest first, until `needed` bytes fit. Returns the size
    of the copies that remain."""
    others = [folder for folder in cache.glob(f"{PREFIX}*") if folder != own and (folder / STATE).is_file()]
    others.sort(key=lambda folder: (folder / STATE).stat().st_mtime)
    held = {folder: _held(folder) for folder in others}
    needed -= _held(own)
    for folder in others:
        used = sum(held.values()) + _held(own)
        room = shutil.disk_usage(cache).free if limit_gib is None else int(limit_gib * GIB) - used
        if needed <= room:
            break
        if _deleted(folder):
            del held[folder]
    return sum(held.values())


def _deleted(folder: Path) -> bool:
    """Delete a folder of copies, unless a process uses it."""
    with contextlib.suppress(OSError):
        state = os.open(folder / STATE, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            return True
        finally:
            os.close(state)
    return False


def _held(folder: Path) -> int:
    sizes = []
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


def _opened(path: Path, begin: Callable[[int], None]) -> FileIO:
    """Open `path` with a shared lock. `begin` is called first if no other process has it open."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            begin(file.fileno())
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(file.fileno()).st_nlink:  # else another process has just deleted it
            return file
        file.close()
        make_private_folder(path.parent)
