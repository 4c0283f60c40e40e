"""What a person sees while work is under way: a bar on a terminal, plain lines at a calm pace elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LINE_EVERY_S = 10.0


def say(text: str) -> None:
    """One line on stderr, flushed, so that logs of pods and of the local runner show it at once."""
    sys.stderr.write(f"{text}\n")  # not print(): KFP's local runner replaces it, and leaves it indenting
    sys.stderr.flush()


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield `items`, showing how far it is. `total` is taken from len() where the items have one."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=unit, file=sys.stderr, dynamic_ncols=True)
        return
    started = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            rate = done / (now - started)
            rest = f", {(total - done) / rate:.0f} s left" if total else ""
            say(f"{what}: {done}{f'/{total}' if total else ''} {unit}, {rate:.1f} {unit}/s{rest}")
    say(f"{what}: {done} {unit} in {time.monotonic() - started:.1f} s")
