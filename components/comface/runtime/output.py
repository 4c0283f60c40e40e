"""Printing of a command's output, robust against closed pipes, full disks and control characters.

In: text. Out: the text, or OutputLost. A character that the stream cannot encode becomes a question mark; control
characters are replaced. `say` prints a command's result; progress is logged (logs.py).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from comface.errors import OutputLost, TryAgain

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All control characters except tab and newline, and the marks that change the text direction."""


def say(text: str) -> None:
    """Print one line on stderr for the user: a result or an error."""
    write_line(without_codes(text))


def write_line(text: str) -> None:
    """Print a line on stderr and flush it, so that it appears at once in the logs of pods and of the local runner. If
    the reader has closed the pipe (`comface run 2>&1 | head`), the work continues without output, and the exit code
    shows how it ended."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        silence(sys.stderr)


def without_codes(text: str) -> str:
    """`text` with control characters (ESC and the like) replaced."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def silence(stream: TextIO) -> None:
    """Redirect `stream` to /dev/null, so that its buffer does not fail again when Python exits."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Output:
    """A replacement for sys.stdout that checks writes; all other attributes are those of the stream."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._clean = stream is not None and stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._told():
            if self._stream is None:
                raise BrokenPipeError
            self._stream.write(without_codes(text) if self._clean else text)
        return len(text)

    def flush(self) -> None:
        with self._told():
            if self._stream is not None:
                self._stream.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._stream is not None:
                silence(self._stream)
            if error.errno in (errno.EPIPE, None):
                raise OutputLost from None
            raise TryAgain(
                f"The output cannot be written ({error.strerror}); free some space, then run again."
            ) from None


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Make the standard streams safe for a command. Raises as `Output` does, also in the final flush. A closed standard
    error stays replaced, because the command's result is still printed there."""
    before = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.stdout = Output(sys.stdout)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    finally:
        sys.stdout = before
