"""Requests to stop a training: SIGTERM and SIGINT are recorded, and the training ends when it can save its state."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
WAIT_S = 10.0
"""Seconds after a request to stop during which a process may still wait for data."""


class StopRequested(BaseException):
    """Raised while waiting for data. A BaseException, so that no error handler catches it."""


class StopRequests:
    """Records whether SIGTERM or SIGINT has arrived. All processes stop together after a step. A process that waits for
    data longer than WAIT_S after the request stops alone, because there may be no further step. A second SIGINT
    interrupts immediately."""

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
        """Yield from `feed`. Raises StopRequested if no data arrive within WAIT_S after a request to stop."""
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
