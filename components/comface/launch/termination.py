"""Turns SIGTERM to a launcher into an exception, so that its cleanup can run.

In: a signal. Out: Preempted, raised at the current line of the launcher.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from comface.errors import Preempted


@contextlib.contextmanager
def termination_as_preempted() -> Iterator[None]:
    """SIGTERM raises Preempted at the current line. In a thread that receives no signals nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal must not interrupt the cleanup
        raise Preempted(
            "The step was asked to stop; its job is checkpointed and deleted. Run the step again to resume."
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
