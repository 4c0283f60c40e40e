"""The location of a data set: a local folder, or objects in a store that are copied to a local folder.

In: a URI (`file:///…`, `s3://…`, or a plain path), or a `dataset` artifact. Out: a local folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from comface.artifacts.manifest import Artifact, file_sha256
from comface.datasets.files import files_in, is_left_by_a_system
from comface.errors import ComfaceError, DataError, TryAgain
from comface.files import failure, make_private_folder, write_file
from comface.runtime.folders import cache_folder
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
    places = cache_folder() / "datasets"
    name = hashlib.sha256(f"{store.access.endpoint} {store.uri}".encode()).hexdigest()[:20]
    try:
        make_private_folder(places)
        with _locked(places / f"{name}.lock"):
            _synchronize(store, places / name, places / f"{name}.json")
    except OSError as error:
        raise failure(error, f"the copy of the data set at {uri}") from None
    return places / name


def _synchronize(store: S3Store, folder: Path, record: Path) -> None:
    """Synchronise `folder` with the store: download new and changed objects, delete files without an object."""
    listing = {key: each for key, each in store.listing().items() if not is_left_by_a_system(PurePosixPath(key))}
    listing = {key: each for key, each in listing.items() if not key.endswith("/")}
    if not listing:
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
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, so that two steps do not copy a data set at the same time."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
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
