"""The location of a data set: a local folder, or objects in a store that are copied to a local folder.

In: a URI (`file:///…`, `s3://…`, or a plain path), or a `dataset` artifact. Out: a local folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from comface.artifacts.manifest import Artifact, file_sha256
from comface.datasets.files import files_in, is_left_by_a_system
from comface.errors import ComfaceError, DataError, TryAgain
from comface.files import failure, make_private_folder, write_file
from comface.runtime.folders import cache_folder, unused_since
from comface.runtime.progress import shown
from comface.store import FileStore, open_store
from comface.store.s3 import S3Store

Seen = list[int | str]
"""[size in bytes, ETag, modification time of the copy in ns]: identifies the copy of an object."""


def local_folder(uri: str) -> Path:
    """Return the folder at `uri`. For an s3:// URI, update the copy in the cache and return it."""
    if "://" not in uri:
        return Path(uri).expanduser()
    store = open_store(uri)
    if isinstance(store, FileStore):
        return store.root
    assert isinstance(store, S3Store)
    places, name = _copies(), _copy_name(store)
    try:
        make_private_folder(places)
        _drop_unused(places, unused_since())
        with _locked(places / f"{name}.lock"):
            _synchronize(store, places / name, places / f"{name}.json")
    except OSError as error:
        raise failure(error, f"the copy of the data set at {uri}") from None
    return places / name


def drop_copy(place: str) -> None:
    """Delete the local copy of a remote data set (`place`: its URI) or of a `dataset` artifact (its folder's name), if
    there is one."""
    name = place
    if "://" in place:
        store = open_store(place)
        if not isinstance(store, S3Store):
            return
        name = _copy_name(store)
    if _copies().is_dir():
        with _locked(_copies() / f"{name}.lock"):
            _forget_copy(_copies(), name)


def _copies() -> Path:
    return cache_folder() / "datasets"


def _copy_name(store: S3Store) -> str:
    return hashlib.sha256(f"{store.access.endpoint} {store.uri}".encode()).hexdigest()[:20]


def _forget_copy(places: Path, name: str) -> None:
    """The record goes too: it has the names of files, which can name people."""
    shutil.rmtree(places / name, ignore_errors=True)
    (places / f"{name}.json").unlink(missing_ok=True)


def _drop_unused(places: Path, before: float) -> None:
    """Delete the copies that were last synchronised before this time, unless another process uses them."""
    for record in places.glob("*.json"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            if record.stat().st_mtime < before:
                with _locked(record.with_suffix(".lock"), wait=False):
                    _forget_copy(places, record.stem)


def _synchronize(store: S3Store, folder: Path, record: Path) -> None:
    """Synchronise `folder` with the store: download new and changed objects, delete files without an object."""
    listing = {key: each for key, each in store.listing().items() if not is_left_by_a_system(PurePosixPath(key))}
    listing = {key: each for key, each in listing.items() if not key.endswith("/")}
    if not listing:
        _forget_copy(folder.parent, folder.name)
        raise DataError(f"There are no objects below {store.uri}; correct the `uri` of the data set.")
    _check_names(listing, store.uri)
    known: dict[str, Seen] = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    kept = {key: seen for key, seen in known.items() if key in listing and _is_copy(folder / key, listing[key], seen)}
    make_private_folder(folder)
    _drop(folder, {folder / key for key in kept})
    wanted = [key for key in listing if key not in kept]
    try:
        for key in shown(wanted, "copying the data set", unit="file") if wanted else ():
            kept[key] = _fetch(store, key, folder / key, listing[key])
    finally:
        write_file(record, json.dumps(kept).encode(), private=True)


def _check_names(keys: Iterable[str], uri: str) -> None:
    keys = set(keys)
    for key in keys:
        path = PurePosixPath(key)
        parts = key.split("/")
        bad = any(part in ("", ".", "..") or len(part.encode()) > 255 or "\0" in part for part in parts)
        if bad or any(str(parent) in keys for parent in path.parents):
            raise DataError(
                f"An object below {uri} has a name that is not a valid file name (an empty part, '..', more than 255 "
                "bytes, or the name of a folder); rename it."
            )


def _is_copy(path: Path, listed: tuple[int, str], seen: Seen) -> bool:
    """Whether `path` is an unmodified copy of the current object."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return [*listed, found.st_mtime_ns] == seen and found.st_size == listed[0]


def _drop(folder: Path, kept: set[Path]) -> None:
    """Delete all files except `kept`, and empty folders."""
    for place, folders, names in os.walk(folder, topdown=False):
        for name in names:
            if Path(place, name) not in kept:
                Path(place, name).unlink()
        for name in folders:
            with contextlib.suppress(OSError):  # not empty
                Path(place, name).rmdir()


def _fetch(store: S3Store, key: str, path: Path, listed: tuple[int, str]) -> Seen:
    try:
        store.download(key, path, listed[0])
    except ComfaceError as error:  # the object's name may identify a patient
        told = str(error).replace(f"'{key}'", "a file of the data set").replace(f"'{path}'", "a file of the data set")
        raise type(error)(told) from None
    found = path.lstat()
    if found.st_size != listed[0]:
        raise TryAgain(f"The data set at {store.uri} changed while it was copied; run again when it is complete.")
    return [*listed, found.st_mtime_ns]


@contextlib.contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock, so that two steps do not copy a data set at the same time. Raises BlockingIOError if
    another process holds it and this one should not `wait`."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def artifact_folder(artifact: Artifact) -> Path:
    """Return a local folder with the files of a `dataset` artifact. Raises DataError if a file differs from the
    manifest."""
    if isinstance(artifact.store, FileStore) and all(artifact.key(name) == name for name in artifact.manifest.objects):
        for name in artifact.manifest.objects:
            artifact.local(name, artifact.store.root)
        return artifact.store.root
    folder = cache_folder() / "datasets" / artifact.sha256[:20]
    for name, entry in shown(artifact.manifest.objects.items(), "copying the data set", unit="file"):
        path = folder / PurePosixPath(name)
        if not path.is_file() or file_sha256(path) != entry.sha256:
            path.parent.mkdir(parents=True, exist_ok=True)
            artifact.store.download(artifact.key(name), path, entry.size_bytes)
            if file_sha256(path) != entry.sha256:
                raise DataError(
                    f"A file of {artifact.uri} differs from its manifest; delete the data set and generate it again."
                )
    return folder


def fingerprint(folder: Path, place: str = "") -> str:
    """Return the sha256 over relative path, size and content of all files. It identifies a data set that has no
    manifest. Files of operating systems are ignored. Raises DataError if the folder does not exist, ConfigurationError
    if it cannot be read."""
    digest = hashlib.sha256()
    try:
        if not folder.is_dir():
            raise DataError(f"The data set folder '{place or folder}' does not exist; mount it, or correct its `uri`.")
        for path in shown(files_in(folder), "reading the data set", unit="file"):
            relative = path.relative_to(folder).as_posix()
            digest.update(f"{relative} {path.stat().st_size} {file_sha256(path)}\n".encode())
    except OSError as error:
        raise failure(error, f"a file or folder of the data set at '{place or folder}'") from None
    return digest.hexdigest()
