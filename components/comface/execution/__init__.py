"""Run a step in a container or a local process.

A step's component calls `execute` with its plan (artifacts/plans.py) and the function that does the work. Any error
becomes one message, a record in the store and the documented exit code. An orphaned process ends.

KFP restarts a failed step, whatever its exit code. A permanent failure (64, 65, 66) would only repeat, so a step that
KFP restarts in the same run reads the record of its failure and ends at once with the same message.
"""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from comface.artifacts.plans import P, open_place, planned
from comface.artifacts.sealed import read_sealed, sealed
from comface.errors import ComfaceError, ConfigurationError, DataError, GateRefused, Preempted, error_of
from comface.runtime.defects import as_failure, keep_traceback
from comface.runtime.logs import in_pod, labelled
from comface.store import Store

T = TypeVar("T")
logger = logging.getLogger(__name__)
RUNTIMES = {"_KFP_RUNTIME", "TORCHELASTIC_RUN_ID"}
"""Environment variables that KFP and torchrun set; a step that a user started has none of them."""
ORPHAN_S = 2.0
"""Time for a step to delete its temporary files after its runner was killed."""
FAILURES = "failures"
FOR_GOOD = (ConfigurationError.exit_code, DataError.exit_code, GateRefused.exit_code)
RETRIES_END_S = 900.0
"""Longer than KFP's automatic retries take (pipelines/comface.py: 140 s plus the start of the pods). After that, a user
pressed "Retry" after a correction, so the step runs again."""


class Failure(BaseModel):
    """The record of a failed step in `failures/`."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    step: str
    sentence: str
    exit_code: int
    at: int | float
    """Seconds since 1970."""


def set_threads_passive() -> None:
    """Make idle OpenMP threads sleep instead of spin. Must run before torch is imported.

    On a machine with other load, a training step with two spinning threads took 6 times as long as with one thread."""
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        os.environ.setdefault("GOMP_SPINCOUNT", "0")


def execute(
    step: str,
    plan: str,
    kind: type[P],
    work: Callable[[Store, P], T],
    shares_cores: bool = True,
    item: str = "",
) -> T:
    """Run `work(store, plan)` with the plan parsed as `kind`. An error is logged, recorded in `failures/` of the store,
    and ends the process with its exit code. `shares_cores`: other steps run at the same time on this machine; `item`:
    the item of a loop that this step processes (default: that of the plan)."""
    set_threads_passive()
    if shares_cores:
        share_cores()
    _end_with_parent()
    store: Store | None = None
    run = ""
    with labelled(step, item) as label:
        try:
            store, place = open_place(plan)
            run = place.run
            values = planned(kind, plan, store)
            item = item or values.item
            label(item=item, run=run)
            before, started = _record_before(store, run, record_name(step, item)), time.monotonic()
            result = work(store, values)
            logger.debug(f"ended after {time.monotonic() - started:.1f} s")
            if before:
                store.delete(before)
            return result
        except Exception as error:
            failed = as_failure(error, partial(_keep_traceback, error))
            is_defect = not isinstance(error, ComfaceError) and type(failed) is ComfaceError
            logger.error(str(failed), exc_info=error if is_defect and _is_started_by_a_runtime() else None)
            _record(store, run, record_name(step, item), failed)
            raise SystemExit(failed.exit_code) from None
        except KeyboardInterrupt:
            if not _is_started_by_a_runtime():
                raise  # the command line reports the interruption
            raise SystemExit(128 + signal.SIGINT) from None


def _is_started_by_a_runtime() -> bool:
    return bool(RUNTIMES & os.environ.keys())


def record_name(step: str, item: str) -> str:
    return "-".join([step, *re.split("[ /]", item)]) if item else step


def _keep_traceback(error: Exception) -> str:
    """The location of the traceback: the step's log in a pod or under `comface run`, otherwise a new file."""
    if _is_started_by_a_runtime():
        return "the traceback in the step's log (run.log of `comface run`)"
    return keep_traceback(error)


def share_cores() -> None:
    """Use one thread per step outside a pod, unless the user sets another number: the local runner runs two steps at a
    time, and more threads slow each other down. Must run before numpy and torch are imported."""
    if not in_pod():
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def recorded_failure(store: Store, run: str) -> ComfaceError | None:
    """The error of the first step that failed in `run`; None without a record. Raises DataError if all records are
    damaged."""
    keys = list(store.keys(f"{FAILURES}/{run}"))
    records = [record for key in keys if (record := read_failure(store, key))]
    if keys and not records:
        raise DataError(f"The record '{keys[0]}' of {store.uri} is damaged or was changed; delete it.")
    first = min(records, key=lambda record: record.at, default=None)
    return error_of(first.exit_code, f"{first.step}: {first.sentence}") if first else None


def read_failure(store: Store, key: str) -> Failure | None:
    """The record of a failure; None if it is absent or damaged."""
    try:
        return Failure.model_validate(read_sealed(store, key))
    except (DataError, ValueError):
        return None


def _record_before(store: Store, run: str, step: str) -> str | None:
    """The key of the failure record of an earlier attempt of this step in this run; None without one. Ends the process
    if that failure is permanent."""
    key = f"{FAILURES}/{run}/{step}.json"
    if not run or not store.exists(key):
        return None
    record = read_failure(store, key)
    if record and record.exit_code in FOR_GOOD and time.time() - record.at < RETRIES_END_S:
        logger.error(record.sentence)
        logger.info(
            "An earlier attempt reported this error, so the step was not repeated; correct it, then start a new run."
        )
        raise SystemExit(record.exit_code)
    return key


def _record(store: Store | None, run: str, step: str, error: ComfaceError) -> None:
    if store is None or not run:
        return
    record = Failure(step=step, sentence=str(error), exit_code=error.exit_code, at=round(time.time()))
    try:
        store.write(f"{FAILURES}/{run}/{step}.json", sealed(record.model_dump()))
    except ComfaceError as second:
        logger.warning(f"The failure could not be recorded: {second}")


def _end_with_parent() -> None:
    """End this step if its runner was killed, so that it does not run in parallel with a new run. A command that a user
    started continues.

    KFP's runner starts a step through a shell that outlives the runner, so this function also watches the pipe that
    the runner reads. SIGTERM raises SystemExit, as in the command line, so that temporary folders are deleted. A step
    that has not ended after ORPHAN_S is killed."""
    if not _is_started_by_a_runtime():
        return

    def stop(*_: object) -> None:
        raise SystemExit(Preempted.exit_code)

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)
    parent, output = os.getppid(), select.poll()
    if stat.S_ISFIFO(os.fstat(1).st_mode):
        output.register(1, 0)  # reports only that the reader has closed the pipe

    def watch() -> None:
        while os.getppid() == parent and not output.poll(0):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_S)
        os._exit(Preempted.exit_code)

    threading.Thread(target=watch, daemon=True).start()
