"""Requests to stop a training: SIGTERM and SIGINT are noted, and the training ends where it can save its state."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
WAIT_S = 10.0
"""How long after a request to stop a process may still wait for data."""


class StopRequested(BaseException):
    """Raised in the middle of a wait, so no handler of errors may take it for one."""


class StopRequests:
    """Whether SIGTERM or SIGINT has arrived. All processes stop together, after a step. One that waits for data longer
    than WAIT_S after the request stops alone: there may be no further step. A second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    def note(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt
        if number == signal.SIGALRM and self._waiting:
            self._waiting = False
            raise StopRequested
        self.requested = True
        signal.setitimer(signal.ITIMER_REAL, WAIT_S)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def stoppable(self, feed: Iterator[T]) -> Iterator[T]:
        """`feed`; a request to stop also ends the wait for data that do not come, with StopRequested."""
        while True:
            try:
                with self.waiting():
                    item = next(feed)
            except StopIteration:
                return
            yield item


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    stop = StopRequests()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.signal(number, stop.note) for number in numbers}
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
