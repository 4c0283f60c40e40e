"""What a command prints, to whatever standard output is: a terminal, a pipe that nobody reads any more, a full disk.

In: the text. Out: the text, or OutputLost; what the stream cannot spell becomes a question mark, and no text commands a
terminal. `say` is for a command's answer to a person; what is under way is logged (logs.py).
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
"""All control characters but tab and newline, and what turns the direction of writing."""


def say(text: str) -> None:
    """One line on stderr for the person who started the command: a result, or an error."""
    write_line(without_codes(text))


def write_line(text: str) -> None:
    """Flushed, so that logs of pods and of the local runner show it at once. When nobody reads it any more
    (`comface run 2>&1 | head`), the work continues silently and the exit code tells how it ended."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        silence(sys.stderr)


def without_codes(text: str) -> str:
    """`text` without characters that command a terminal (ESC and its kind), whoever wrote it."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def silence(stream: TextIO) -> None:
    """Nothing more reaches the file behind `stream`; what waits in its buffer would fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


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
