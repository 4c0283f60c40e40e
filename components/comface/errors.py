"""The errors a user can meet, in one tree, each with the exit code of its branch.

A message is one sentence: what happened, to which object, what to do. Any other exception is a defect of comface: the
process exits with 1 and a message that asks for a report (runtime/defects.py).

    ComfaceError
    ├── ConfigurationError  64  wrong configuration: change it, then run again
    ├── DataError           65  data that cannot be trusted: image, label, shard, checkpoint, weight file
    ├── GateRefused         66  the challenger did not pass the gate (a recorded result, not a failure)
    ├── TryAgain            75  store unreachable, disk full, download refused: nothing is lost, run again
    ├── OutputLost         141  the reader of standard output closed it, as in `comface models list | head -1`
    └── Preempted          143  SIGTERM: work is checkpointed, run again
"""

from __future__ import annotations

import re
from collections.abc import Iterable

UNSAFE = re.compile(r"\n(?!  \d+\. )|[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that are escaped in a message: control codes, text-direction marks and line breaks (except those that
`gathered` inserts)."""
MOST_LINES = 40


class ComfaceError(Exception):
    exit_code = 1
    meaning = "a defect of comface, please report it"

    def __init__(self, sentence: str = "", problems: Iterable[ComfaceError] = ()) -> None:
        super().__init__(UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), sentence))
        self.problems: tuple[ComfaceError, ...] = tuple(problems) or (self,)
        """The separate problems to correct; usually this error alone."""


def gathered(errors: Iterable[ComfaceError]) -> ComfaceError:
    """One error with a numbered line for each of `errors`. Its exit code is the lowest of theirs: a configuration
    problem comes first, then a data problem."""
    problems = list({str(problem): problem for error in errors for problem in error.problems}.values())
    if len(problems) == 1:
        return problems[0]
    gravest = min(problems, key=lambda problem: problem.exit_code)
    lines = [f"\n  {number}. {problem}" for number, problem in enumerate(problems[:MOST_LINES], start=1)]
    more = f"\n  {MOST_LINES + 1}. {len(problems) - MOST_LINES} more." if len(problems) > MOST_LINES else ""
    return type(gravest)(f"There are {len(problems)} problems:{''.join(lines)}{more}", problems)


def raise_any(errors: Iterable[ComfaceError]) -> None:
    """Raise all `errors` as one error, if there are any."""
    found = list(errors)
    if found:
        raise gathered(found)


class ConfigurationError(ComfaceError):
    exit_code = 64
    meaning = "wrong configuration"


class DataError(ComfaceError):
    exit_code = 65
    meaning = "data that cannot be trusted"


class GateRefused(ComfaceError):
    exit_code = 66
    meaning = "gate refused"


class TryAgain(ComfaceError):
    exit_code = 75
    meaning = "try again"


class OutputLost(ComfaceError):
    """No message, but not a success: the shell reports the same code for `cat` in `cat FILE | head` (128 + SIGPIPE)."""

    exit_code = 141
    meaning = "output closed by its reader"


class Preempted(ComfaceError):
    exit_code = 143
    meaning = "preempted"


EXIT_CODES: dict[int, type[ComfaceError]] = {
    kind.exit_code: kind for kind in (ConfigurationError, DataError, GateRefused, TryAgain, OutputLost, Preempted)
}
"""Exit code of a process or a failure record → error class."""


def error_of(exit_code: int, sentence: str) -> ComfaceError:
    """The error that another process recorded, from its exit code and message."""
    return EXIT_CODES.get(exit_code, ComfaceError)(sentence)
