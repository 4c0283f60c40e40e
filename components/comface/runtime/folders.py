"""Local folders for temporary data: scratch space, and a cache of objects from an s3:// store."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

from comface.errors import ConfigurationError
from comface.files import failure

UNUSED_DAYS = 30
"""A local copy of data of people that nobody has used for this long is deleted."""


def cache_folder() -> Path:
    """The folder for local copies of objects from an s3:// store: a private folder of this user in the scratch space.
    Raises ConfigurationError if another user owns it or can write to it."""
    path = scratch_folder() / f"comface-cache-{os.geteuid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigurationError(
                f"The cache folder '{path}' belongs to another user, is writable by others or is not a folder; delete "
                "it, or set TMPDIR to a folder that only you can write to."
            )
        if found.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise failure(error, f"the cache folder '{path}'") from None
    return path


def unused_since() -> float:
    """Copies that were last used before this time are deleted when another one is made or used."""
    return time.time() - UNUSED_DAYS * 86400


def drop_unused(folder: Path) -> None:
    """Delete the files of a folder that were last used UNUSED_DAYS ago. Whoever uses one touches it."""
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if path.is_file() and path.lstat().st_mtime < unused_since():
                path.unlink()


def scratch_folder() -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp")
