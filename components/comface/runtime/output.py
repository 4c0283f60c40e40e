"""What a command prints, to whatever standard output is: a terminal, a pipe that nobody reads any more, a full disk.

In: the text. Out: the text, or OutputLost; what the stream cannot spell becomes a question mark, and no text commands a
terminal.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from comface.errors import OutputLost, TryAgain
from comface.runtime.progress import silence, without_codes


class Output:
    """A stream in place of sys.stdout; everything but writing is the stream's own."""

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
                f"The output cannot be written ({error.strerror}); free some room, then run again."
            ) from None


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Standard streams that a command can count on. Raises as `Output` does, at the end too. A standard error that was
    closed stays replaced: how the command ended is still to be said."""
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
