"""SIGTERM to a launcher: an exception that its cleanup can take its time over.

In: a signal. Out: Preempted, raised wherever the launcher stands.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from comface.errors import Preempted


@contextlib.contextmanager
def termination_as_preempted() -> Iterator[None]:
    """SIGTERM raises Preempted, wherever the launcher stands. In a thread that gets no signals nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the cleanup is not to be interrupted
        raise Preempted("The step was asked to stop; its job is deleted and checkpointed, run the step again to go on.")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
