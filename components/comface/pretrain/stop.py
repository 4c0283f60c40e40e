"""Requests to stop a training (SIGTERM, SIGINT), and how all its processes end at the same step.

Before each step, the processes agree that each of them has its share of the batch and that none was asked to stop
(`agreed`). So they end between the same two steps, whatever reached only one of them, and the first process saves that
state. If this is not possible, for example because another process is gone, a process ends EXIT_S after the request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from comface.errors import ComfaceError, Preempted
from comface.pretrain.processes import Processes

T = TypeVar("T")
EXIT_S = 18.0
"""Seconds from a request to stop to the end of the process, at the latest."""
END = object()

logger = logging.getLogger(__name__)


class StopRequested(BaseException):
    """Raised while waiting for data. A BaseException, so that no error handler catches it."""


class StopRequests:
    """Records whether SIGTERM or SIGINT has arrived. A request ends a wait for data at once. A second SIGINT interrupts
    immediately."""

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    def note(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self._waiting:
            self._waiting = False
            raise StopRequested

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def next_of(self, feed: Iterator[T]) -> T | object:
        """Return the next item, or END. Raises StopRequested if a request to stop arrives before it."""
        try:
            with self.waiting():
                return END if self.requested else next(feed, END)
        except StopRequested:
            return END


def agreed(feed: Iterable[T], stop: StopRequests, processes: Processes) -> Iterator[T]:
    """Yield from `feed` while all processes have an item. All processes must have the same number of items. If the feed
    of any process raises an error, all processes raise it in place of the same item; if any was asked to stop, all
    raise Preempted."""
    items = iter(feed)
    while True:
        error: ComfaceError | None = None
        item: T | object = END
        try:
            item = stop.next_of(items)
        except ComfaceError as caught:
            error = caught
        if error is None and stop.requested:
            error = Preempted("Pre-training was asked to stop; run it again.")
        if (first := processes.first_error(error)) is not None:
            raise first
        if item is END:
            return
        yield item  # type: ignore[misc]


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Record requests to stop. A process that has not ended EXIT_S after a request is ended with the code of Preempted:
    a signal handler in Python does not run while the process waits for another one in a collective operation."""
    stop = StopRequests()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, stop.note) for number in numbers}
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    woken = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    ended = threading.Event()
    watch = threading.Thread(target=_end_in_time, args=(readable, numbers, ended), daemon=True)
    watch.start()
    try:
        yield stop
    finally:
        ended.set()
        signal.set_wakeup_fd(woken)
        with contextlib.suppress(BlockingIOError):  # full: the thread has something to read
            os.write(writable, b"\0")  # closing the pipe would not wake the thread: forked processes hold it open too
        watch.join()
        os.close(writable)
        os.close(readable)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_in_time(readable: int, numbers: tuple[int, ...], ended: threading.Event) -> None:
    while (told := os.read(readable, 64)) and not ended.is_set():
        if any(number in told for number in numbers):
            if not ended.wait(EXIT_S):
                logger.error(
                    f"Pre-training was asked to stop and could not save its state within {EXIT_S:g} s; its last "
                    "checkpoint is kept, run it again."
                )
                with contextlib.suppress(Exception):
                    logging.shutdown()
                os._exit(Preempted.exit_code)
            return
