"""Folders of this machine that a step may fill: scratch space, and copies of objects from an s3:// store."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from comface.errors import ConfigurationError
from comface.files import failure


def cache_folder() -> Path:
    """Where a step keeps local copies of objects from an s3:// store: a folder of this user alone in the container's
    scratch space. Raises ConfigurationError where somebody else made it, or could have written to it."""
    path = scratch_folder() / f"comface-cache-{os.geteuid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigurationError(
                f"The cache folder '{path}' belongs to another user, can be written by others or is no folder; delete "
                "it, or set TMPDIR to a folder of your own."
            )
        if found.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise failure(error, f"the cache folder '{path}'") from None
    return path


def scratch_folder() -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp")
