"""The object store: `file:///…` on one machine, `s3://bucket/prefix` (MinIO or any S3) elsewhere, one small interface.

In: keys relative to the store's root. Out: bytes. A write is atomic: a reader sees the old object, the new one,
or none, never a part. Credentials come from the environment only (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION), and are never part of a URI, a message or a log line.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol
from urllib.parse import unquote_to_bytes, urlparse

from comface.errors import ConfigurationError, DataError
from comface.files import WRITING, NotRegularError, failure, open_file, place_if_absent, write_private

REMAKE = "delete its artifact and make it again"
LARGEST_BYTES = 1 << 30
"""Of an object that is read whole where nothing says how large it is."""
READINGS = 5
"""How often content that does not hold is read before anyone says so: a bit may change on the way."""


class TooLargeError(DataError):
    """An object is larger than its reader takes; nothing of it was read."""


class Store(Protocol):
    """Keys are relative POSIX paths. Errors: DataError (no such object), TryAgain (unreachable, full),
    ConfigurationError (credentials or bucket refused)."""

    @property
    def uri(self) -> str: ...

    def read(self, key: str, limit_bytes: int = LARGEST_BYTES, is_checked: bool = False) -> bytes:
        """The whole object. Raises TooLargeError, before reading, when it is larger than `limit_bytes`. `is_checked`:
        the reader has a digest, and reads again where it does not hold, so the store need not look at the content."""
        ...

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        """Exactly `size_bytes` bytes. Raises DataError when the object ends before."""
        ...

    def write(self, key: str, data: bytes) -> None: ...
    def create(self, key: str, data: bytes) -> bool:
        """Write `data` only where there is no such object yet; False when there is one. Of several processes that
        try at the same time exactly one is told True, provided that their data differ."""
        ...

    def upload(self, key: str, path: Path) -> None: ...
    def download(self, key: str, path: Path, limit_bytes: int | None = None, is_checked: bool = False) -> None: ...
    def exists(self, key: str) -> bool: ...
    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys in the folder `prefix` and below it, sorted, relative to the store's root."""
        ...

    def delete(self, key: str) -> None: ...
    def child(self, prefix: str) -> Store: ...


def place_uri(place: str) -> str:
    """A plain path as a file:// URI; anything else (a URI, what looks like one, nothing) as it is."""
    if not place.strip() or re.match("[A-Za-z][A-Za-z0-9+.-]*:", place) or "@" in place.partition("/")[0]:
        return place
    return Path(os.path.abspath(Path(place).expanduser())).as_uri()


def open_store(uri: str, environment: Mapping[str, str] = os.environ) -> Store:
    """The store at `uri`, or at a plain path. Raises ConfigurationError for another scheme or missing credentials."""
    uri = place_uri(uri)
    parsed = urlparse(uri)
    if "@" in uri.removeprefix("file://").partition("/")[0] or parsed.username or parsed.password:
        raise ConfigurationError(
            "The store's URI carries credentials; take them out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost") and parsed.path.startswith("/"):
        path = unquote_to_bytes(parsed.path.encode("utf-8", "surrogateescape"))
        return FileStore(Path(os.fsdecode(path)))  # names of files are bytes, whatever the locale
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if uri.startswith("s3://") and bucket:
        from comface.store_s3 import S3Store, access_from

        prefix = prefix.strip("/")
        return S3Store(access_from(environment), bucket, checked_key(prefix) if prefix else "")
    raise ConfigurationError(
        f"The store '{uri}' is neither file:///absolute/path nor s3://bucket/prefix; give one of these, or a path."
    )


def checked_key(key: str) -> str:
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or not path.parts or min(map(ord, key)) < 32:
        raise ConfigurationError(f"The object key {key!r} is not a relative path below the store; rename it.")
    return str(path)


class FileStore:
    """A folder. Data are written to a temporary name beside their place, flushed, then renamed, and folder and file
    are the owner's alone (0700, 0600): faces of patients may be among them."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = self.root.as_uri()

    def path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def read(self, key: str, limit_bytes: int = LARGEST_BYTES, is_checked: bool = False) -> bytes:
        with self._reading(key), open_file(self.path(key)) as file:
            return file.read(self._check_size(key, file, limit_bytes))

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        with self._reading(key), open_file(self.path(key)) as file:
            file.seek(offset)
            data = file.read(size_bytes)
        if len(data) != size_bytes:
            raise ends_early(self.uri, key, offset, size_bytes)
        return data

    def write(self, key: str, data: bytes) -> None:
        self._publish(key, lambda file: file.write(data), os.replace)

    def create(self, key: str, data: bytes) -> bool:
        try:
            self._publish(key, lambda file: file.write(data), place_if_absent)
        except FileExistsError:
            return False
        return True

    def upload(self, key: str, path: Path) -> None:
        with path.open("rb") as source:
            self._publish(key, lambda file: shutil.copyfileobj(source, file, 1 << 20), os.replace)

    def download(self, key: str, path: Path, limit_bytes: int | None = None, is_checked: bool = False) -> None:
        with self._reading(key), open_file(self.path(key)) as source:
            self._check_size(key, source, limit_bytes)
            write_private(path, lambda file: shutil.copyfileobj(source, file, 1 << 20), os.replace)

    def exists(self, key: str) -> bool:
        with self._reading(key):
            return self.path(key).is_file()

    def keys(self, prefix: str = "") -> Iterator[str]:
        top = self.root / checked_key(prefix) if prefix else self.root
        found = []
        for folder, _, names in os.walk(top, onerror=self._unless_gone):
            found += [Path(folder, name).relative_to(self.root).as_posix() for name in names]
        yield from sorted(key for key in found if not PurePosixPath(key).name.startswith(WRITING))

    def delete(self, key: str) -> None:
        with self._reading(key):
            self.path(key).unlink(missing_ok=True)

    def child(self, prefix: str) -> FileStore:
        return FileStore(self.path(prefix))

    def _publish(self, key: str, fill: Callable[[BinaryIO], object], place: Callable[[Path, Path], None]) -> None:
        try:
            write_private(self.path(key), fill, place)
        except FileExistsError:
            raise
        except OSError as error:
            raise failure(error, f"'{key}' of {self.uri}") from error

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except NotRegularError as error:
            raise DataError(f"The object '{key}' of {self.uri} is {error.strerror}; {REMAKE}.") from None
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise missing(self.uri, key) from error
        except OSError as error:
            raise failure(error, f"'{key}' of {self.uri}") from error

    def _check_size(self, key: str, file: BinaryIO, limit_bytes: int | None) -> int:
        size_bytes = os.fstat(file.fileno()).st_size
        if limit_bytes is not None and size_bytes > limit_bytes:
            raise too_large(self.uri, key, size_bytes, limit_bytes)
        return size_bytes

    def _unless_gone(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise failure(error, self.uri) from error


def missing(uri: str, key: str) -> DataError:
    return DataError(f"There is no object '{key}' in {uri}; run the step that makes it.")


def ends_early(uri: str, key: str, offset: int, size_bytes: int) -> DataError:
    return DataError(f"The object '{key}' of {uri} ends before byte {offset + size_bytes}; {REMAKE}.")


def too_large(uri: str, key: str, size_bytes: int, limit_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"The object '{key}' of {uri} has {size_bytes:,} bytes, but at most {limit_bytes:,} may lie there; {REMAKE}."
    )
