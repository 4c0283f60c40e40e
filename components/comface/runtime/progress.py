"""Progress: a bar on a terminal, otherwise log lines at increasing intervals."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

from comface.runtime.logs import shows_bars

T = TypeVar("T")
FIRST_LINE_S, PACE, LONGEST_PAUSE_S = 10.0, 0.1, 300.0
"""The first line after 10 s, then a line after another tenth of the elapsed time, at the latest after 5 minutes. Two
minutes of work log about 10 lines, a day about 300."""

logger = logging.getLogger(__name__)


def shown(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    unit: str = "item",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yield `items` and show progress. `total` defaults to len(items) if available; `unit`: the singular noun for one
    item."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if shows_bars():
        yield from tqdm(items, desc=what, total=total, unit=f" {plural(unit)}", file=sys.stderr, dynamic_ncols=True)
        return
    started = last = clock()
    done = 0
    for item in items:
        yield item
        done += 1
        now = clock()
        if now - last >= min(max(FIRST_LINE_S, PACE * (now - started)), LONGEST_PAUSE_S):
            last = now
            so_far = f"{done:,}/{total:,} {plural(unit)}" if total else counted(done, unit)
            rest = f", {duration((total - done) * (now - started) / done)} left" if total and total > done else ""
            text = f"{what}: {so_far}, {pace(done, now - started, unit)}{rest}"
            logger.info(text, extra={"done": done, "total": total})
    logger.info(f"{what}: {counted(done, unit)} in {duration(clock() - started)}")


def pace(done: int, seconds: float, unit: str) -> str:
    rate = done / max(seconds, 1e-9)
    return f"{rate:,.1f} {plural(unit)}/s" if rate >= 1 else f"{duration(1 / rate)} per {unit}"


def duration(seconds: float) -> str:
    """A duration with two or three digits in a suitable unit: "9.0 s", "4 min", "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str) -> str:
    """The count with its noun: "1 step", "1,800 identities"."""
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    if re.search("[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if re.search("(s|x|z|[^o]ch|sh)$", noun) else f"{noun}s"
