"""How a training ends early: on a request to one of its processes, or on an error in one, all end between the same two
steps with the same error."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from gloo import together

from comface.errors import ComfaceError, DataError, Preempted, TryAgain
from comface.pretrain.processes import Processes
from comface.pretrain.stop import StopRequests, agreed, stop_requests

ALONE = Processes(0, 1, torch.device("cpu"))
STEPS = 20


def test_a_request_to_stop_ends_a_wait_for_data_at_once() -> None:
    def stalled() -> Iterator[int]:
        yield 1
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        time.sleep(20)
        yield 2

    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    started, taken = time.monotonic(), []
    with pytest.raises(Preempted), stop_requests() as stop:
        taken += agreed(stalled(), stop, ALONE)
    assert time.monotonic() - started < 10
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_a_request_to_stop_does_not_interrupt_a_step() -> None:
    steps = []

    def step(item: int) -> None:
        if item == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        steps.append(item)

    with pytest.raises(Preempted), stop_requests() as stop:
        deque(map(step, agreed(range(5), stop, ALONE)), maxlen=0)
    assert steps == [0, 1, 2]


def ended_by_signal(processes: Processes) -> tuple[int, int]:
    """SIGTERM reaches one process in its step 7. Returns the steps done and the exit code."""
    done = 0
    try:
        with stop_requests() as stop:
            for item in agreed(range(STEPS), stop, processes):
                if (processes.rank, item) == (2, 7):
                    os.kill(os.getpid(), signal.SIGTERM)
                done += 1
    except ComfaceError as error:
        return done, error.exit_code
    return done, 0


def ended_by_error(processes: Processes) -> tuple[int, int, str]:
    def feed() -> Iterator[int]:
        yield from range(5)
        if processes.rank == 1:
            raise TryAgain("The store does not answer; run again.")
        if processes.rank == 3:
            raise DataError("A shard is damaged; run shard again.")
        yield from range(5, STEPS)

    stop, done = StopRequests(), 0
    stop.requested = False
    try:
        for _ in agreed(feed(), stop, processes):
            done += 1
            stop.requested = done == 5 and processes.rank == 0  # at the same time, which counts less than an error
    except ComfaceError as error:
        return done, error.exit_code, str(error)
    return done, 0, ""


def undisturbed(processes: Processes) -> int:
    return sum(1 for _ in agreed(range(STEPS), StopRequests(), processes))


def test_a_request_to_one_process_ends_all_after_the_same_step(tmp_path: Path) -> None:
    assert together(4, ended_by_signal, tmp_path) == [(8, 143)] * 4


def test_an_error_in_one_process_is_the_error_of_all(tmp_path: Path) -> None:
    assert together(4, ended_by_error, tmp_path) == [(5, 75, "The store does not answer; run again.")] * 4


def published_by_the_first(processes: Processes) -> str:
    def publish() -> str:
        if processes.first:
            raise TryAgain("The store does not answer; run again.")
        return ""

    try:
        return processes.jointly(publish)
    except ComfaceError as error:
        return str(error)


def test_what_fails_in_the_first_process_fails_in_those_that_would_wait_for_it(tmp_path: Path) -> None:
    assert together(2, published_by_the_first, tmp_path) == ["The store does not answer; run again."] * 2


def test_without_either_all_have_all_items(tmp_path: Path) -> None:
    assert together(2, undisturbed, tmp_path) == [STEPS] * 2


def stuck() -> None:
    """In a lock, as in a collective operation whose partner is gone: no signal handler in Python runs."""
    from comface.pretrain import stop

    stop.EXIT_S = 0.5
    with stop_requests():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        signal.raise_signal(signal.SIGTERM)
        signal.sigwait({signal.SIGUSR1})


def test_a_process_that_cannot_end_by_itself_is_ended_with_the_code_of_a_request_to_stop(
    capfd: pytest.CaptureFixture[str],
) -> None:
    child = get_context("fork").Process(target=stuck)
    child.start()
    child.join(20)
    child.kill()
    assert child.exitcode == 143
    assert "could not save its state within 0.5 s" in capfd.readouterr().err


def test_the_end_does_not_wait_for_a_forked_process_that_cannot_be_killed() -> None:
    """A loader process that waits for a disk keeps all files of the training open."""
    started = time.monotonic()
    with stop_requests():
        child = get_context("fork").Process(target=time.sleep, args=(20,), daemon=True)
        child.start()
    child.kill()
    assert time.monotonic() - started < 10
