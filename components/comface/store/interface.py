"""The interface of every object store, and the error messages that all stores share.

Keys are relative to the store's root. A write is atomic: a reader sees the old object, the new one, or none, never part
of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from comface.errors import ConfigurationError, DataError

REMAKE = "delete the artifact and rerun its step"
LARGEST_BYTES = 1 << 30
"""Size limit of an object that is read whole when its expected size is unknown."""
READINGS = 5
"""Number of reads before a digest mismatch is reported: a bit may flip during the transfer."""
Filling = Callable[[BinaryIO], object]


class TooLargeError(DataError):
    """An object is larger than the reader's limit; none of it was read."""


class Store(Protocol):
    """Keys are relative POSIX paths. Raises DataError (no such object), TryAgain (store unreachable or full) and
    ConfigurationError (credentials or bucket refused)."""

    @property
    def uri(self) -> str: ...

    def read(self, key: str, limit_bytes: int = LARGEST_BYTES, is_checked: bool = False) -> bytes:
        """The whole object. Raises TooLargeError, before reading, if it is larger than `limit_bytes`. `is_checked`: the
        caller compares a digest and reads again on a mismatch, so the store need not check the content."""
        ...

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        """Exactly `size_bytes` bytes from `offset`. Raises DataError if the object is shorter."""
        ...

    def write(self, key: str, data: bytes | Filling) -> None:
        """Write an object: bytes, or a function that writes them to a file, which may seek in it."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` unless the object exists; return whether it was written. If several processes call this at the
        same time, exactly one gets True, provided that their data differ."""
        ...

    def upload(self, key: str, path: Path) -> None: ...
    def download(self, key: str, path: Path, limit_bytes: int | None = None, is_checked: bool = False) -> None: ...
    def exists(self, key: str) -> bool: ...
    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys in the folder `prefix` and below it, sorted, relative to the store's root."""
        ...

    def delete(self, key: str) -> None: ...
    def child(self, prefix: str) -> Store: ...


def checked_key(key: str) -> str:
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or not path.parts or min(map(ord, key)) < 32:
        raise ConfigurationError(f"The object key {key!r} is not a relative path below the store; rename it.")
    return str(path)


def missing(uri: str, key: str) -> DataError:
    return DataError(f"There is no object '{key}' in {uri}; run the step that makes it.")


def ends_early(uri: str, key: str, offset: int, size_bytes: int) -> DataError:
    return DataError(f"The object '{key}' of {uri} ends before byte {offset + size_bytes}; {REMAKE}.")


def too_large(uri: str, key: str, size_bytes: int, limit_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"The object '{key}' of {uri} has {size_bytes:,} bytes, more than the limit of {limit_bytes:,}; {REMAKE}."
    )
