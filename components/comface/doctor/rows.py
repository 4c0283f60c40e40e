"""Checks that end in seconds, and the table of what they found.

In: checks, each a function that asks something outside. Out: rows. All are asked side by side, each in a thread of its
own that is left behind when its time is over: a server that does not answer delays nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from comface.cluster.client import NoAnswer, NotPermitted, Refused
from comface.errors import ComfaceError
from comface.runtime.extras import absent_extra

DEADLINE_S = 15.0
State = Literal["ok", "note", "red", "skipped"]
MARKS = {"ok": "✓", "note": "–", "red": "✗", "skipped": " "}


@dataclass(frozen=True)
class Row:
    """`todo` is what to do about it; a red row always has one."""

    section: str
    name: str
    state: State
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Check:
    section: str
    name: str
    ask: Callable[[], list[Row]]
    todo: str = "look at the server's log; then ask again"
    """What to do when nothing answers."""


def run_checks(checks: Sequence[Check], deadline_s: float = DEADLINE_S) -> list[Row]:
    """Rows in the order of the checks."""
    found: list[list[Row] | None] = [None] * len(checks)

    def ask(place: int, check: Check) -> None:
        found[place] = answer(check)

    threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in enumerate(checks)]
    until = time.monotonic() + deadline_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    rows = []
    for check, answered in zip(checks, list(found), strict=True):
        late = Row(check.section, check.name, "red", f"no answer within {deadline_s:.0f} s", check.todo)
        rows += [late] if answered is None else answered
    return rows


def answer(check: Check) -> list[Row]:
    """What `check` says; what it raises becomes its row."""
    try:
        return check.ask()
    except ComfaceError as error:
        told = [str(problem).partition("; ") for problem in error.problems]
        return [
            Row(check.section, check.name, "red", found.rstrip("."), todo.rstrip(".") or check.todo)
            for found, _, todo in told
        ]
    except NotPermitted as error:
        return [Row(check.section, check.name, "note", f"you may not ask ({error}), so it is unknown")]
    except NoAnswer as error:
        return [Row(check.section, check.name, "red", str(error), error.todo)]
    except Refused as error:
        return [Row(check.section, check.name, "red", f"the API server refuses the question: {error}", check.todo)]
    except Exception as error:  # in a thread of its own, where nobody would see it
        if lacking := absent_extra(error):
            found, _, todo = str(lacking).rstrip(".").partition("; ")
            return [Row(check.section, check.name, "red", found, todo)]
        found = f"an unexpected answer ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        return [Row(check.section, check.name, "red", found, "please report this")]


def table(rows: Sequence[Row]) -> str:
    """One line per row, and below each red one what to do."""
    width = max((len(row.name) for row in rows), default=0)
    lines: list[str] = []
    for place, row in enumerate(rows):
        if place == 0 or rows[place - 1].section != row.section:
            lines += ["", row.section]
        lines.append(f"  {MARKS[row.state]} {row.name:<{width}}  {row.found}")
        if row.todo:
            lines.append(f"    {'':<{width}}  → {row.todo}")
    red = sum(row.state == "red" for row in rows)
    lines += ["", f"{red} of {len(rows)} lines {'is' if red == 1 else 'are'} red" if red else "All checks passed"]
    return "\n".join(lines).lstrip("\n")


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    return {"red": sum(row.state == "red" for row in rows), "checks": [asdict(row) for row in rows]}
