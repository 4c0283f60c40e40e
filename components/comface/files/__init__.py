"""Reading and writing files that users name: reads accept only regular files of bounded size; writes are atomic.

In: paths from a command line, a data set or a store. Out: bytes, or a complete file. A FIFO, a device or a folder is
refused without blocking. An output never replaces an input or a device.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from comface.errors import ComfaceError, ConfigurationError, DataError, TryAgain

Error = type[ComfaceError]
MOST_FACTS_BYTES = 2**20
SPARSE_FROM_BYTES = 2**26
"""Smaller sparse files are accepted: reading their holes costs nothing."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_PLACE = (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
WRITING, READING = ".writing-", ".reading-"
"""How the names of temporary files begin."""


class NotRegularError(OSError):
    """The path exists but is not a regular file."""


def open_file(path: Path) -> BufferedReader:
    """A regular file, open for reading. Raises OSError: NotRegularError for a folder, a FIFO or a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would wait for a writer
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise NotRegularError(errno.EINVAL, "a folder" if stat.S_ISDIR(mode) else "not a regular file")
    return os.fdopen(descriptor, "rb")


def open_regular(path: Path, what: str, error: Error = DataError) -> BufferedReader:
    """`path` open for reading. `what` is the subject of each message: "The photo", "The weight file". Raises `error` if
    the file is absent or not a regular file, and ConfigurationError if permission is denied."""
    try:
        return open_file(path)
    except NotRegularError as caught:
        raise error(f"{what} '{path}' is {caught.strerror}; give the path of a file.") from None
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{what} '{path}' does not exist; check the path.") from None
    except (OSError, ValueError) as caught:
        raise _unreadable(caught, path, what, error) from None


def read_bounded(path: Path, limit_bytes: int, what: str, error: Error = DataError) -> bytes:
    """The content of a regular file of at most `limit_bytes`. Raises as `open_regular` does, and `error`, without
    reading, for a larger file or a large sparse one."""
    with open_regular(path, what, error) as file:
        size_bytes = _bounded_size(file, path, limit_bytes, what, error)
        try:
            return file.read(size_bytes)  # not limit_bytes, which would be allocated at once
        except OSError as caught:
            raise _unreadable(caught, path, what, error) from None


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON file with the provenance of another file; empty if it is absent or cannot be read."""
    try:
        facts = json.loads(read_bounded(path, MOST_FACTS_BYTES, "The file"))
    except (ComfaceError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def check_file(path: Path, limit_bytes: int, what: str, error: Error = DataError) -> None:
    """The checks of `read_bounded`, for a file that is read later in chunks."""
    with open_regular(path, what, error) as file:
        _bounded_size(file, path, limit_bytes, what, error)


def _bounded_size(file: BinaryIO, path: Path, limit_bytes: int, what: str, error: Error) -> int:
    size_bytes, there_bytes = (status := os.fstat(file.fileno())).st_size, 512 * status.st_blocks
    if size_bytes > limit_bytes:
        raise error(
            f"{what} '{path}' has {size_bytes / 1e6:,.1f} MB, more than the limit of {limit_bytes / 1e6:,.1f} MB for "
            "such a file; check that it is the right file."
        )
    if size_bytes > SPARSE_FROM_BYTES and 0 < there_bytes < size_bytes / 2:  # 0: the file system does not report it
        raise error(
            f"{what} '{path}' is sparse: only {there_bytes / 1e6:,.1f} MB of its {size_bytes / 1e6:,.1f} MB are on "
            "the disk; copy it again."
        )
    return size_bytes


def check_output(output: Path, inputs: Iterable[Path], option: str = "--output") -> None:
    """Check an output path before any work (missing folders are made later). Raises ConfigurationError if it is one of
    the inputs (by any name or link), is not a regular file, is inside an artifact of a store, or is not writable."""
    if output == Path():  # the empty string
        raise ConfigurationError(f"{option} is empty; give the path of a file.")
    try:
        if output.exists() or output.is_symlink():
            if not output.is_file():
                kind = "a folder" if output.is_dir() else "not a regular file"
                raise ConfigurationError(f"{option} '{output}' is {kind}; give the path of a file.")
            for each in inputs:
                if each.exists() and os.path.samefile(output, each):
                    raise ConfigurationError(
                        f"{option} '{output}' is the input '{each}', which it would overwrite; give another path."
                    )
        _check_artifact(output, option)
        _check_place(output.parent, output, option)
    except (OSError, ValueError) as caught:  # a name too long, a NUL byte, a folder that may not be searched
        raise ConfigurationError(f"{option} '{output}' cannot be used ({_why(caught)}); choose another path.") from None


def _check_artifact(output: Path, option: str) -> None:
    """Raises ConfigurationError for a path inside an artifact (KIND/ADDRESS of a store) or a model registry."""
    for folder in list(output.resolve().parents)[:3]:
        if (folder / "manifest.json").is_file() or (folder.parent.name == "registry" and output.suffix == ".json"):
            raise ConfigurationError(f"{option} '{output}' is inside the artifact '{folder}'; give another path.")


def check_output_folder(output: Path, option: str = "--output") -> None:
    """Check an output folder before any work. Raises ConfigurationError if it is not a folder or is not writable."""
    try:
        if (output.exists() or output.is_symlink()) and not output.is_dir():
            raise ConfigurationError(f"{option} '{output}' is not a folder; give the path of one.")
        _check_place(output, output, option)
    except (OSError, ValueError) as caught:
        raise ConfigurationError(f"{option} '{output}' cannot be used ({_why(caught)}); choose another path.") from None


def _check_place(folder: Path, output: Path, option: str) -> None:
    """Check that the nearest existing parent is a writable folder."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ConfigurationError(f"'{folder}', the folder of {option} '{output}', is not a folder; name another.")
    try:
        tempfile.TemporaryFile(dir=folder).close()  # mode bits are not sufficient (root, /proc, a network share)
    except OSError as caught:
        raise ConfigurationError(
            f"The folder '{folder}' of {option} is not writable ({_why(caught)}); choose another."
        ) from None


def write_file(path: Path, data: bytes | Callable[[BinaryIO], object], private: bool = False) -> None:
    """Write `data` (bytes, or a function that writes them to a stream) to `path` atomically. `private`: only the owner
    can read the file (0600); always used for pictures of faces and figures about people. Otherwise the process's umask
    sets the mode. Raises the errors of `failure`."""

    def fill(file: BinaryIO) -> None:
        if isinstance(data, bytes):
            file.write(data)
        else:
            data(file)
        if not private:
            os.fchmod(file.fileno(), 0o666 & ~_umask())

    try:
        write_private(path, fill, os.replace)
    except OSError as caught:
        raise failure(caught, f"'{path}'") from None


def write_private(path: Path, fill: Callable[[BinaryIO], object], place: Callable[[Path, Path], None]) -> None:
    """Fill a temporary file in the folder of `path`, flush it to disk, then `place` it (os.replace or
    place_if_absent). Raises OSError."""
    make_private_folder(path.parent)
    temporary = path.parent / f"{WRITING}{uuid.uuid4().hex}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        place(temporary, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def place_if_absent(temporary: Path, path: Path) -> None:
    """Move `temporary` to `path`. Raises FileExistsError if `path` exists. Only one of several processes succeeds."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS or path.exists():
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # briefly visible as an empty file
        temporary.replace(path)


def make_private_folder(folder: Path) -> None:
    """Make `folder` and its missing parents with mode 0700 (os.makedirs applies the mode to the last one only)."""
    absent = []
    while not folder.is_dir():
        absent.append(folder)
        folder = folder.parent
    for each in reversed(absent):
        with contextlib.suppress(FileExistsError):  # made by another process; if it is a file, the next mkdir fails
            each.mkdir(mode=0o700)
            sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Flush `folder` to disk, so that a rename in it survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def failure(error: OSError, what: str) -> ComfaceError:
    """The error for a failed operation on `what`, a file on this machine."""
    if error.errno in NO_ROOM:
        return TryAgain(f"The disk is full: {what} could not be written; free some space, then run again.")
    if error.errno == errno.EROFS:
        return ConfigurationError(
            f"The file system of {what} is mounted read-only; mount it writable, or give another path."
        )
    if error.errno in NOT_ALLOWED:
        return ConfigurationError(f"Permission to read or write {what} is denied; check its owner and mode.")
    if error.errno in NO_PLACE:
        return ConfigurationError(f"Reading or writing {what} is not possible ({error.strerror}); give another path.")
    return TryAgain(f"Reading or writing {what} failed ({error.strerror}); run again.")


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def _unreadable(caught: OSError | ValueError, path: Path, what: str, error: Error) -> ComfaceError:
    if isinstance(caught, PermissionError):
        return ConfigurationError(f"{what} '{path}' is not readable; check its owner and mode.")
    return error(f"{what} '{str(path)[:200]}' cannot be opened ({_why(caught)}); check the path.")


def _why(caught: OSError | ValueError) -> str:
    return (caught.strerror or "") if isinstance(caught, OSError) else str(caught)
