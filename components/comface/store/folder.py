"""The object store in a local folder: file:///…"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from comface.errors import DataError
from comface.files import WRITING, NotRegularError, failure, open_file, place_if_absent, write_private
from comface.store.interface import LARGEST_BYTES, REMAKE, Filling, checked_key, ends_early, missing, too_large


class FileStore:
    """A folder. Data are written to a temporary file in the same folder, flushed to disk, then renamed. Only the owner
    can read folders and files (modes 0700 and 0600), because they may contain patients' faces."""

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

    def write(self, key: str, data: bytes | Filling) -> None:
        self._publish(key, data if callable(data) else lambda file: file.write(data), os.replace)

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
