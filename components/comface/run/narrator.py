"""What KFP's local runner prints, told to a person: steps as they start and end, and what they say of themselves.

In: the runner's standard output. Out: everything, unchanged, to run.log; a quiet version to the terminal. What a step
said last and how it ended is kept, for a step that could leave no record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TextIO

START = re.compile(r"Executing task '?([\w-]+)'?")
END = re.compile(r"Task '?([\w-]+)'? finished with status (\w+)")
ENDED_WITH = "exit code of the step: "
"""What the shell of a step that failed says last (run/local.py)."""
SENTENCE = re.compile(r"^error in ([\w-]+): (.*)$")
NOISE = re.compile(
    rf"^\d\d:\d\d:\d\d\.\d+ - |^\[KFP Executor|^-{{20,}}$|^Looking for component|^Loading KFP component"
    rf"|^Got executor_input|^INFO: Created|^\s*$|^[{{}}\]]|^\"|^Wrote executor output|^{ENDED_WITH}"
    r"|^(During handling of|The above exception was)"
)
COLOUR = re.compile(r"\x1b\[\d+m")


class Narrator:
    """`tell` takes the lines for a person."""

    def __init__(self, log: TextIO, tell: Callable[[str], object], verbose: bool) -> None:
        self._log, self._tell, self._verbose = log, tell, verbose
        self._rest = ""
        self._in_outputs = False
        self._traceback: int | None = None
        self.sentences: list[str] = []
        """What the steps that failed said, each with its step: "shard: The index is damaged; …"."""
        self.exit_codes: list[int] = []
        """With what the steps that failed ended; 128 and the number where it was a signal."""
        self.exception = ""
        """The last line of the last traceback."""

    def write(self, text: str) -> None:
        self._log.write(text)
        self._log.flush()
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            bare = COLOUR.sub("", line)
            self._note(bare.strip())
            trace = self._is_traceback(bare)
            told = bare if self._verbose else None if trace else self._for_a_person(bare)
            if told is not None:
                self._tell(told)

    def _note(self, line: str) -> None:
        if match := SENTENCE.match(line):
            self.sentences.append(f"{match[1]}: {match[2]}")
        elif line.startswith(ENDED_WITH):
            self.exit_codes.append(int(line.removeprefix(ENDED_WITH)))

    def _is_traceback(self, line: str) -> bool:
        """A defect's traceback is for the log. It ends with the exception, a line as far to the left as its first."""
        text = line.lstrip()
        indent = len(line) - len(text)
        if text.startswith("Traceback (most recent call last)"):
            self._traceback = indent
        elif self._traceback is not None and text and indent <= self._traceback:
            self._traceback, self.exception = None, text
            return True
        return self._traceback is not None

    def _for_a_person(self, line: str) -> str | None:
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
