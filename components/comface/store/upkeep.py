"""What keeping a store in order needs beyond reading and writing: sizes, ages, incomplete writes, earlier versions.

In: a store. Out: entries and remnants. `erase` removes an object with all its versions, which `Store.delete` does not.
An incomplete write is a temporary file of a folder, or a multipart upload of a bucket.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from comface.errors import ConfigurationError
from comface.files import WRITING
from comface.store.folder import FileStore
from comface.store.interface import Store, checked_key
from comface.store.s3 import S3Store

RIGHTS = "s3:ListBucketVersions and s3:DeleteObjectVersion"


@dataclass(frozen=True)
class Entry:
    size_bytes: int
    modified: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Remnant:
    """An incomplete write."""

    name: str
    entry: Entry
    drop: Callable[[], object]


def entries(store: Store, prefix: str = "") -> dict[str, Entry]:
    """Every object below the folder `prefix`, by key."""
    if isinstance(store, S3Store):
        found = store._listed(prefix)
        return {k: Entry(o.size or 0, o.last_modified.timestamp()) for k, o in found.items() if not k.endswith("/")}
    assert isinstance(store, FileStore)
    stats = {key: _stat(store.path(key)) for key in store.keys(prefix)}
    return {key: entry for key, entry in stats.items() if entry is not None}


def remnants(store: Store, prefix: str = "") -> Iterator[Remnant]:
    """The incomplete writes below the folder `prefix`."""
    if isinstance(store, S3Store):
        yield from _uploads(store, prefix)
        return
    assert isinstance(store, FileStore)
    for folder, _, names in os.walk(store.path(prefix) if prefix else store.root):
        for name in names:
            path = Path(folder, name)
            if name.startswith(WRITING) and (entry := _stat(path)):
                yield Remnant(path.relative_to(store.root).as_posix(), entry, partial(path.unlink, missing_ok=True))


def erase(store: Store, key: str) -> None:
    """Remove an object. In a bucket that keeps versions, remove every version of it. Raises ConfigurationError if the
    access key may not."""
    if isinstance(store, S3Store) and store.versioning() != "Off":
        full = store._key(key)
        _remove(store, [each for each in _versions(store, full) if each.object_name == full])
        return
    store.delete(key)


def erase_history(store: Store, prefix: str) -> int:
    """In a bucket that keeps versions, remove the earlier versions of what was replaced or removed below the folder
    `prefix`; the current objects stay. Returns how many."""
    if not isinstance(store, S3Store) or store.versioning() == "Off":
        return 0
    found = _versions(store, f"{store._key(prefix)}/")
    before = [each for each in found if each.is_delete_marker or str(each.is_latest).lower() != "true"]
    _remove(store, before)
    return len(before)


def _stat(path: Path) -> Entry | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return Entry(found.st_size, found.st_mtime)


def _uploads(store: S3Store, prefix: str) -> Iterator[Remnant]:
    full = "/".join(part for part in (store.prefix, checked_key(prefix) if prefix else "") if part)
    marker: dict[str, Any] = {}
    while True:
        ask = partial(store.client._list_multipart_uploads, store.bucket, prefix=f"{full}/" if full else None, **marker)
        page = store._call(prefix, ask)
        for each in page.uploads:
            name, upload = each.object_name, each.upload_id
            yield Remnant(
                name.removeprefix(f"{store.prefix}/"),
                Entry(0, each.initiated_time.timestamp() if each.initiated_time else 0.0),
                partial(store.client._abort_multipart_upload, store.bucket, name, upload),
            )
        if not page.is_truncated:
            return
        marker = {"key_marker": page.next_key_marker, "upload_id_marker": page.next_upload_id_marker}


def _versions(store: S3Store, prefix: str) -> list[Any]:
    def ask() -> list[Any]:
        return list(store.client.list_objects(store.bucket, prefix=prefix, recursive=True, include_version=True))

    found: list[Any] = _permitted(store, lambda: store._call("", ask))
    return found


def _remove(store: S3Store, versions: list[Any]) -> None:
    for each in versions:
        drop = partial(store.client.remove_object, store.bucket, each.object_name, each.version_id)
        _permitted(store, partial(store._call, "", drop))


def _permitted(store: S3Store, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except ConfigurationError as error:
        if "refused the access key" not in str(error):
            raise
        raise ConfigurationError(
            f"The store {store.uri} keeps earlier versions of its objects, and this access key may not remove them; "
            f"run again with a key that has {RIGHTS}."
        ) from None
