"""One object of an artifact: its size and sha256, its key, and a verified local copy.

In: size and sha256 from a manifest. Out: keys, paths. A path that is not a regular file, or a file of another size, is
not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from comface.errors import DataError
from comface.files import NotRegularError, make_private_folder, open_file, open_regular
from comface.store import READINGS, REMAKE, FileStore, Store, TooLargeError

SHA256 = "^[0-9a-f]{64}$"


class StoredObject(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=SHA256)

    @classmethod
    def of(cls, data: bytes) -> StoredObject:
        return cls(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def own_key(name: str, entry: StoredObject | None) -> str:
    """The key of `name` with this content's digest in it: `heads/age.bin` -> `heads/age.0123456789abcdef.bin`. If
    `entry` is None, `*` replaces the digest."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.{entry.sha256[:16] if entry else '*'}{path.suffix}"))


def local_copy(
    store: Store, name: str, entry: StoredObject, cache: Path, remedy: str = REMAKE, checked: bool = False
) -> Path:
    """Path of a verified local file with the object's content; see Artifact.local. `remedy`: the last part of the error
    message, what to do if the object does not match `entry`. Raises DataError for a missing or different object."""
    if isinstance(store, FileStore):
        path = store.path(name)
    else:
        make_private_folder(cache)
        path = cache / f"{entry.sha256[:32]}-{Path(name).name}"
    if checked and path.is_file() and path.stat().st_size == entry.size_bytes:
        return path
    if not isinstance(store, FileStore):
        if path.is_file() and _measured(path, entry.size_bytes) == entry:
            return path
        with contextlib.suppress(TooLargeError):
            for _ in range(READINGS):
                store.download(name, path, entry.size_bytes, is_checked=True)
                if _measured(path, entry.size_bytes) == entry:
                    return path
        raise differs(store.uri, name, remedy)
    try:
        found = _measured(path, entry.size_bytes)
    except NotRegularError as error:
        raise DataError(f"The object '{name}' of {store.uri} is {error.strerror}; {remedy}.") from None
    except FileNotFoundError:
        raise DataError(f"The object '{name}' of {store.uri} no longer exists; rerun the step that makes it.") from None
    if found != entry:
        raise differs(store.uri, name, remedy)
    return path


def file_sha256(path: Path) -> str:
    with open_regular(path, "The file") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _measured(path: Path, expected_bytes: int) -> StoredObject | None:
    """Size and sha256 of a regular file; None, without reading it, if its size is not `expected_bytes`."""
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size != expected_bytes:
            return None
        return StoredObject(size_bytes=expected_bytes, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def differs(uri: str, name: str, remedy: str = REMAKE) -> DataError:
    return DataError(f"The object '{name}' of {uri} does not match its manifest (size or sha256 differs); {remedy}.")
