"""Runs checks that end in seconds, and prints the table of their results.

In: checks, each a function that sends requests. Out: rows. All checks run in parallel, each in its own thread. A thread
that exceeds the deadline is abandoned, so a server that does not answer delays no other check.
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
    """`todo`: what to do about it; a red row always has one."""

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
    todo: str = "check the server's log, then retry"
    """What to do if there is no answer."""


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
    """The rows of `check`; its exception becomes a row."""
    try:
        return check.ask()
    except ComfaceError as error:
        told = [str(problem).partition("; ") for problem in error.problems]
        return [
            Row(check.section, check.name, "red", found.rstrip("."), todo.rstrip(".") or check.todo)
            for found, _, todo in told
        ]
    except NotPermitted as error:
        return [Row(check.section, check.name, "note", f"unknown, because you may not read it ({error})")]
    except NoAnswer as error:
        return [Row(check.section, check.name, "red", str(error), error.todo)]
    except Refused as error:
        return [Row(check.section, check.name, "red", f"the API server rejects the request: {error}", check.todo)]
    except Exception as error:  # otherwise it would be lost in its thread
        if lacking := absent_extra(error):
            found, _, todo = str(lacking).rstrip(".").partition("; ")
            return [Row(check.section, check.name, "red", found, todo)]
        found = f"an unexpected answer ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        return [Row(check.section, check.name, "red", found, "please report this")]


def table(rows: Sequence[Row]) -> str:
    """One line per row, and below it what to do."""
    width = max((len(row.name) for row in rows), default=0)
    lines: list[str] = []
    for place, row in enumerate(rows):
        if place == 0 or rows[place - 1].section != row.section:
            lines += ["", row.section]
        lines.append(f"  {MARKS[row.state]} {row.name:<{width}}  {row.found}")
        if row.todo:
            lines.append(f"    {'':<{width}}  → {row.todo}")
    red = sum(row.state == "red" for row in rows)
    lines += ["", f"{red} of {len(rows)} checks failed" if red else "All checks passed"]
    return "\n".join(lines).lstrip("\n")


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    return {"red": sum(row.state == "red" for row in rows), "checks": [asdict(row) for row in rows]}
