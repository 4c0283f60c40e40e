"""How any step runs inside a container or a local process, whatever started it.

A step's component calls `execute` with the plan it was given (artifacts/plans.py) and the function that does the
work. Errors, expected or not, become one sentence, a record in the store and the documented exit code; an orphaned
process ends.

KFP starts a failed step again whatever its exit code was. So a step that failed for good (64, 65, 66: the same would
come again) finds its own record when it is started again in the same run, and ends at once with the same sentence.
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
from typing import Any, TypeVar

from comface.artifacts.plans import P, open_place, planned
from comface.artifacts.sealed import read_sealed, sealed
from comface.errors import ComfaceError, ConfigurationError, DataError, GateRefused, Preempted, error_of
from comface.runtime.defects import as_failure, keep_traceback
from comface.runtime.logs import in_pod, labelled
from comface.store import Store

T = TypeVar("T")
logger = logging.getLogger(__name__)
RUNTIMES = {"_KFP_RUNTIME", "TORCHELASTIC_RUN_ID"}
"""Set where a step was started by KFP or by torchrun, not by a person."""
ORPHAN_S = 2.0
"""How long a step whose runner was killed has for its temporary files."""
FAILURES = "failures"
FOR_GOOD = (ConfigurationError.exit_code, DataError.exit_code, GateRefused.exit_code)
RETRIES_END_S = 900.0
"""Longer than KFP's own retries take (pipelines/comface.py: 140 s, and the pods' starts). Later it was a person who
pressed "Retry" after correcting something, and the step works again."""


def set_threads_passive() -> None:
    """Idle threads sleep instead of spinning. Must run before torch is imported.

    Price of not doing so: with anything else on the machine, two spinning OpenMP threads ran a training step 6 times
    slower than one thread did."""
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
    """Run `work(store, plan)` with the plan read as `kind`. An error is logged, recorded below `failures/` of the
    store, and ends the process with its exit code. `shares_cores`: other steps run beside this one on the same machine;
    `item` (else the plan's own) tells the step from those beside it."""
    set_threads_passive()
    if shares_cores:
        _share_cores()
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
            before, started = _record_before(store, run, _record_name(step, item)), time.monotonic()
            result = work(store, values)
            logger.debug(f"ended after {time.monotonic() - started:.1f} s")
            if before:
                store.delete(before)
            return result
        except Exception as error:
            failed = as_failure(error, partial(_keep_traceback, error))
            is_defect = not isinstance(error, ComfaceError) and type(failed) is ComfaceError
            logger.error(str(failed), exc_info=error if is_defect and _is_started_by_a_runtime() else None)
            _record(store, run, _record_name(step, item), failed)
            raise SystemExit(failed.exit_code) from None
        except KeyboardInterrupt:
            if not _is_started_by_a_runtime():
                raise  # a person's: the command line says what is kept
            raise SystemExit(128 + signal.SIGINT) from None


def _is_started_by_a_runtime() -> bool:
    return bool(RUNTIMES & os.environ.keys())


def _record_name(step: str, item: str) -> str:
    return "-".join([step, *re.split("[ /]", item)]) if item else step


def _keep_traceback(error: Exception) -> str:
    """In a pod, and below `comface run`, what a step says is its log; a person's terminal is none."""
    if _is_started_by_a_runtime():
        return "the traceback in the step's log (run.log of `comface run`)"
    return keep_traceback(error)


def _share_cores() -> None:
    """On one machine (not in a pod, which has cores of its own) the runner's loops are two wide: one thread each,
    unless the user says otherwise; more get into each other's way. Must run before numpy and torch are imported."""
    if not in_pod():
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def recorded_failure(store: Store, run: str) -> ComfaceError | None:
    """The error of the first step that failed in `run`, if one left a record. Raises DataError where no
    record can be trusted."""
    keys = list(store.keys(f"{FAILURES}/{run}"))
    records = [record for key in keys if (record := read_failure(store, key))]
    if keys and not records:
        raise DataError(f"The record '{keys[0]}' of {store.uri} is damaged or was changed; delete it.")
    first = min(records, key=lambda record: record["at"], default=None)
    return error_of(first["exit_code"], f"{first['step']}: {first['sentence']}") if first else None


def read_failure(store: Store, key: str) -> dict[str, Any] | None:
    """The record of a failure; None where there is none, or one that was damaged and so decides nothing."""
    try:
        return read_sealed(store, key)
    except (DataError, ValueError):
        return None


def _record_before(store: Store, run: str, step: str) -> str | None:
    """The key of the record of an earlier attempt of this step in this run, if there was one. Ends the process when
    that attempt failed for good."""
    key = f"{FAILURES}/{run}/{step}.json"
    if not run or not store.exists(key):
        return None
    record = read_failure(store, key)
    if record and record["exit_code"] in FOR_GOOD and time.time() - record["at"] < RETRIES_END_S:
        logger.error(record["sentence"])
        logger.info(
            "This was found by an earlier attempt, so nothing was tried again; correct it, then start a new run."
        )
        raise SystemExit(record["exit_code"])
    return key


def _record(store: Store | None, run: str, step: str, error: ComfaceError) -> None:
    if store is None or not run:
        return
    record = {"step": step, "sentence": str(error), "exit_code": error.exit_code, "at": round(time.time())}
    try:
        store.write(f"{FAILURES}/{run}/{step}.json", sealed(record))
    except ComfaceError as second:
        logger.warning(f"The failure could not be recorded either: {second}")


def _end_with_parent() -> None:
    """A step whose runner was killed must not go on beside the run that replaces it; a command of a person may.

    KFP's runner starts a step through a shell, which outlives the runner; the pipe that it reads does not. SIGTERM is
    an exception here, as in the command line, so that temporary folders go; a step that has not ended then is ended."""
    if not _is_started_by_a_runtime():
        return

    def stop(*_: object) -> None:
        raise SystemExit(Preempted.exit_code)

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)
    parent, output = os.getppid(), select.poll()
    if stat.S_ISFIFO(os.fstat(1).st_mode):
        output.register(1, 0)  # reports nothing but that nobody reads

    def watch() -> None:
        while os.getppid() == parent and not output.poll(0):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_S)
        os._exit(Preempted.exit_code)

    threading.Thread(target=watch, daemon=True).start()
