"""What KFP's local runner prints, told to a person: steps as they start and end, and what they say of themselves.

In: the runner's standard output. Out: everything, unchanged, to run.log; a quiet version to the terminal.
"""

from __future__ import annotations

import io
import re
import threading
from typing import TextIO

START = re.compile(r"Executing task '?([\w-]+)'?")
END = re.compile(r"Task '?([\w-]+)'? finished with status (\w+)")
NOISE = re.compile(
    r"^\d\d:\d\d:\d\d\.\d+ - |^\[KFP Executor|^-{20,}$|^Looking for component|^Loading KFP component"
    r"|^Got executor_input|^INFO: Created|^\s*$|^[{}\]]|^\"|^Wrote executor output"
)
COLOUR = re.compile(r"\x1b\[\d+m")


class Narrator(io.TextIOBase):
    """A stream to put in place of sys.stdout; the runner writes to it from several threads."""

    def __init__(self, log: TextIO, terminal: TextIO, verbose: bool) -> None:
        self._log, self._terminal, self._verbose = log, terminal, verbose
        self._rest = ""
        self._in_outputs = False
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            self._log.write(text)
            self._log.flush()
            if self._verbose:
                self._terminal.write(text)
                return len(text)
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                told = self._tell(COLOUR.sub("", line))
                if told:
                    self._terminal.write(told + "\n")  # not print(): the runner replaces it, and it comes back here
                    self._terminal.flush()
        return len(text)

    def _tell(self, line: str) -> str | None:
        """The line for a person, or None."""
        if match := START.search(line):
            self._in_outputs = False
            return f"▶ {match[1]}"
        if match := END.search(line):
            return None if match[2] == "SUCCESS" else f"✗ {match[1]}"
        if line.rstrip().endswith("outputs:"):
            self._in_outputs = True
            return None
        if self._in_outputs and line.startswith("    "):
            return None
        self._in_outputs = False
        stripped = line.strip()
        return None if NOISE.search(stripped) else f"    {stripped}"
