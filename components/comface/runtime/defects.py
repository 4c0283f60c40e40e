"""Convert unexpected exceptions to errors of errors.py: a defect asks for a report; a full disk does not.

In: any exception that ends a command or a step. Out: an error of errors.py. The traceback of a defect is saved in a
file or in the step's log; it is not shown on the terminal.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from comface.config.names import printable
from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.files import NO_ROOM, NOT_ALLOWED, failure
from comface.runtime.extras import absent_extra

NO_SUCH_PATH = (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ELOOP)
FOR_NOW = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EAGAIN)
PACKAGE = Path(__file__).parents[1]


def as_failure(error: Exception, report_with: Callable[[], str]) -> ComfaceError:
    """`error` as a ComfaceError; one that is already a ComfaceError is returned unchanged. `report_with` saves the
    traceback of a defect and returns its location."""
    if isinstance(error, ComfaceError):
        return error
    if isinstance(error, MemoryError):
        return TryAgain("There is not enough memory; close other programs, or make the run smaller, then run again.")
    if isinstance(error, OSError) and (known := _of_the_machine(error)):
        return known
    if lacking := absent_extra(error):
        return lacking
    text = " ".join(printable(str(error)).split())[:200]
    told = f" ({text})" if text else ""
    return ComfaceError(
        f"This is a defect of comface: {type(error).__name__} in {_place(error)}{told}; please report it with "
        f"{report_with()}."
    )


def keep_traceback(error: Exception) -> str:
    """Write the traceback to a new file that only its owner can read; return its path, or the traceback itself if no
    file can be written."""
    text = "".join(traceback.format_exception(error))
    for folder in (None, "."):
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(".txt", "comface-defect-", folder)  # 0600
            with os.fdopen(descriptor, "w", errors="replace") as file:
                file.write(text)
            return os.path.abspath(name)
    return f"this traceback: {text}"


def _of_the_machine(error: OSError) -> ComfaceError | None:
    what = f"'{error.filename}'" if error.filename else "a temporary file"
    if error.errno in (*NO_ROOM, *NOT_ALLOWED, *FOR_NOW):
        return failure(error, what)
    if error.errno in NO_SUCH_PATH and error.filename:
        return ConfigurationError(f"The path {what} cannot be used ({error.strerror}); give another path.")
    if "No usable temporary directory" in (error.strerror or ""):
        return TryAgain("No folder for temporary files is writable; free some space, or set TMPDIR to another folder.")
    return None


def _place(error: Exception) -> str:
    """File and line of the innermost frame in this package."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents]
    if not ours:
        return "code outside the package"
    return f"{Path(ours[-1].filename).relative_to(PACKAGE).as_posix()}:{ours[-1].lineno}"
