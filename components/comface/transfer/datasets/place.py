"""Where a data set lies: a folder on this machine, or objects in a store that are copied here once.

In: a URI (`file:///…`, `s3://…`, or a plain path), or a `dataset` artifact. Out: a local folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from comface.errors import DataError
from comface.execution import cache_folder
from comface.manifest import Artifact, file_sha256
from comface.progress import track
from comface.store import FileStore, open_store


def local_folder(uri: str) -> Path:
    """The folder at `uri`; objects of an s3:// store are copied into the cache once."""
    if "://" not in uri:
        return Path(uri).expanduser()
    store = open_store(uri)
    if isinstance(store, FileStore):
        return store.root
    folder = cache_folder() / "datasets" / hashlib.sha256(uri.encode()).hexdigest()[:20]
    keys = list(store.keys())
    if not keys:
        raise DataError(f"There is no object below {uri}; mend the `uri` of the data set.")
    for key in track(keys, "copying the data set", unit="files"):
        path = folder / PurePosixPath(key)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(key, path)
    return folder


def artifact_folder(artifact: Artifact) -> Path:
    """A `dataset` artifact as a folder, every object checked against the manifest."""
    if isinstance(artifact.store, FileStore) and all(artifact.key(name) == name for name in artifact.manifest.objects):
        for name in artifact.manifest.objects:
            artifact.local(name, artifact.store.root)
        return artifact.store.root
    folder = cache_folder() / "datasets" / artifact.sha256[:20]
    for name, entry in track(artifact.manifest.objects.items(), "copying the data set", unit="files"):
        path = folder / PurePosixPath(name)
        if not path.is_file() or file_sha256(path) != entry.sha256:
            path.parent.mkdir(parents=True, exist_ok=True)
            artifact.store.download(artifact.key(name), path, entry.size_bytes)
            if file_sha256(path) != entry.sha256:
                raise DataError(f"A file of {artifact.uri} is not what its manifest names; make the data set again.")
    return folder


def fingerprint(folder: Path) -> str:
    """One digest over all files: relative path, size and content. It is the identity of a data set without manifest."""
    digest = hashlib.sha256()
    for path in track(list(_files(folder)), "reading the data set", unit="files"):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path
