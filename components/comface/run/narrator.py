"""Turns the output of KFP's local runner into log lines for a person: start and end of steps, and their own logs.

In: the runner's standard output. Out: all of it, unchanged, to a file; log lines, and a progress bar on a terminal. The
last message and the exit code of a failed step are kept, in case the step could not write a record.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import TextIO

from tqdm import tqdm

from comface.runtime.logs import PACKAGE, label, labelled, record_of, shows_bars
from comface.runtime.progress import duration

MARK = re.compile(r"comface run: ([\w-]+) (starts|ended with exit code (\d+))")
"""First and last line of a step's shell (run/one_machine.py); the runner loses some of its own lines."""
NOISE = re.compile(
    r"^\d\d:\d\d:\d\d\.\d+ - |^\[KFP Executor|^-{20,}$|^Looking for component|^Loading KFP component"
    r"|^Got executor_input|^INFO: Created|^$|^Wrote executor output"
    r"|^(During handling of|The above exception was)|^[{}\[\]\"]|^(-?[\d.]+(e[-+]?\d+)?|null|true|false),?$"
)
"""The runner's own lines, and lines of a step's JSON input, which may be mixed with others."""
COLOUR = re.compile(r"\x1b\[\d+m")

RECENT = 4
logger = logging.getLogger(__name__)
unsaid = logging.getLogger("steps")
unsaid.setLevel(logging.INFO)
"""Lines that a step printed without logging: for run.log and --verbose."""


class Course:
    """The progress of a run. `items`: the number of tasks of each step; a loop has more than one."""

    def __init__(self, items: Mapping[str, int], clock: Callable[[], float] = time.monotonic) -> None:
        self.items, self._clock = items, clock
        self.started: dict[str, float] = {}
        self.ended: Counter[str] = Counter()
        self._ends: dict[str, deque[float]] = {}

    def start(self, step: str) -> str | None:
        """The line for the start of a step; None for further items of a loop."""
        if step in self.started:
            return None
        self.started[step] = self._clock()
        self._ends[step] = deque([self.started[step]], RECENT + 1)
        count = f" ({self.items[step]:,} items)" if self.items.get(step, 1) > 1 else ""
        return f"step {len(self.started)} of {len(self.items)}: {step}{count}"

    def end(self, step: str) -> str | None:
        """The line for the end of an item of a loop. Items that an earlier run had made end at once and would promise
        too much, so the time left is that of the most recent ones."""
        self.start(step)
        self.ended[step] += 1
        done, total = self.ended[step], self.items.get(step, 1)
        if total <= 1:
            return None
        ends = self._ends[step]
        ends.append(self._clock())
        left_s = (total - done) * (ends[-1] - ends[0]) / (len(ends) - 1)
        rest = f", about {duration(left_s)} left for this step" if 1 < done < total else ""
        return f"{step} {done:,} of {total:,}{rest}"

    def is_running(self, step: str) -> bool:
        return step in self.started and self.ended[step] < self.items.get(step, 1)


class Narrator:
    """`raw` receives the whole output."""

    def __init__(self, raw: TextIO, course: Course) -> None:
        self._raw, self._course = raw, course
        self._rest = ""
        self._in_outputs = False
        self._traceback: int | None = None
        self._bar = tqdm(
            total=sum(course.items.values()), disable=not shows_bars(), leave=False, dynamic_ncols=True,
            bar_format="{desc} |{bar}| {elapsed}{postfix}",
        )  # fmt: skip
        self.sentences: list[str] = []
        """Messages of the failed steps, each with its step: "shard: The index is damaged; …"."""
        self.exit_codes: list[int] = []
        """Exit codes of the failed steps; 128 plus the number for a signal."""
        self.exception = ""
        """The last line of the last traceback."""

    def write(self, text: str) -> None:
        self._raw.write(text)
        self._raw.flush()
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(COLOUR.sub("", line))

    def close(self) -> None:
        self._bar.close()

    def _tell(self, line: str) -> None:
        if match := MARK.fullmatch(line.strip()):
            self._in_outputs = False
            if match[3] is None:
                self._start(match[1])
            else:
                self._end(match[1], int(match[3]))
        elif (record := record_of(line)) is not None:
            self._relay(record)
        elif not self._is_of_outputs(line):
            self._unsaid(line)

    def _start(self, step: str) -> None:
        text = self._course.start(step)
        if text is not None:
            self._bar.set_postfix_str("", refresh=False)
            self._bar.set_description_str(text, refresh=False)
            with labelled("run"):
                logger.info(text, extra={"lead": "▶ "})
            self._bar.refresh()

    def _end(self, step: str, code: int) -> None:
        with labelled("run"):
            if code:
                self.exit_codes.append(code)
                logger.info(f"{step} failed", extra={"lead": "✗ "})
            elif text := self._course.end(step):
                logger.info(text, extra={"on_the_bar": True})
                self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    def _relay(self, record: logging.LogRecord) -> None:
        """Passes on a step's log record. On a terminal its progress becomes part of the bar."""
        where, told = label(record), record.getMessage()
        if record.levelno >= logging.ERROR and record.name.startswith(f"{PACKAGE}."):
            self.sentences.append(f"{where}: {told}")
        item = vars(record).get("item", "")
        vars(record)["lead"] = "    " + (f"{item}: " if item and record.levelno < logging.ERROR else "")
        vars(record)["brief"] = not logger.isEnabledFor(logging.DEBUG)
        if "done" in vars(record):
            vars(record)["on_the_bar"] = True
            self._bar.set_postfix_str(told)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)

    def _unsaid(self, line: str) -> None:
        text = line.strip()
        before = self._traceback
        if self._is_traceback(line):
            text = line[before if before is not None else self._traceback or 0 :].rstrip()
        elif NOISE.search(text):
            return
        if text:
            running = [step for step in self._course.started if self._course.is_running(step)]
            with labelled(running[0] if len(running) == 1 else "run"):
                unsaid.info(text)

    def _is_traceback(self, line: str) -> bool:
        """A traceback ends with the exception, a line with the same indent as its first line."""
        text = line.lstrip()
        indent = len(line) - len(text)
        if text.startswith("Traceback (most recent call last)"):
            self._traceback = indent
        elif self._traceback is not None and text and indent <= self._traceback:
            self._traceback, self.exception = None, text.rstrip()
            return True
        return self._traceback is not None

    def _is_of_outputs(self, line: str) -> bool:
        """Whether the line belongs to the outputs of a task, which the runner prints after its end."""
        if line.rstrip().endswith("outputs:"):
            self._in_outputs = True
            return True
        self._in_outputs = self._in_outputs and line.startswith("    ")
        return self._in_outputs
