"""What a person sees while work is under way: a bar on a terminal, plain lines at a calm pace elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")
LINE_EVERY_S = 10.0
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All control characters but tab and newline, and what turns the direction of writing."""


def say(text: str) -> None:
    """One line on stderr, flushed, so that logs of pods and of the local runner show it at once. When nobody reads it
    any more (`comface run 2>&1 | head`), the work goes on without a word and the exit code tells its end."""
    try:
        sys.stderr.write(f"{without_codes(text)}\n")
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
