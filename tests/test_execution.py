"""How a step runs: failures are recorded with sentence and exit code, and an orphan ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comface.errors import ComfaceError, ConfigurationError, DataError, GateRefused, Preempted, TryAgain
from comface.execution import execute, recorded_failure
from comface.store import FileStore

KINDS = (ConfigurationError, DataError, GateRefused, TryAgain, Preempted)


def plan(store: FileStore, run: str = "run-1", **more: object) -> str:
    return json.dumps({"store": store.uri, "run": run, **more})


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def test_work_gets_the_store_and_the_plan_and_its_result_is_handed_on(store: FileStore) -> None:
    def work(opened: object, values: dict[str, object]) -> tuple[str, object]:
        return opened.uri, values["part"]

    assert execute("synthesize", plan(store, part=3), work) == (store.uri, 3)
    assert list(store.keys()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_is_said_recorded_and_ends_with_its_code(
    store: FileStore, capsys: pytest.CaptureFixture[str], kind: type[ComfaceError]
) -> None:
    def work(*_: object) -> None:
        raise kind("The thing is wrong; mend it.")

    with pytest.raises(SystemExit) as ended:
        execute("shard", plan(store), work)
    assert ended.value.code == kind.exit_code
    assert capsys.readouterr().err == "error in shard: The thing is wrong; mend it.\n"
    assert recorded_failure(store, "run-1") == ("shard: The thing is wrong; mend it.", kind.exit_code)
    assert recorded_failure(store, "run-2") is None
    assert recorded_failure(store, "run") is None, "a run's name is a folder, not a prefix"


def test_a_command_of_a_person_leaves_no_record(store: FileStore) -> None:
    def work(*_: object) -> None:
        raise DataError("The thing is wrong.")

    with pytest.raises(SystemExit):
        execute("shard", plan(store, run=""), work)
    assert list(store.keys()) == []


def test_a_store_that_cannot_take_the_record_hides_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = FileStore(tmp_path / "file" / "store")

    def work(*_: object) -> None:
        raise DataError("The thing is wrong.")

    with pytest.raises(SystemExit) as ended:
        execute("shard", plan(blocked), work)
    assert ended.value.code == 65
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error in shard: The thing is wrong."
    assert lines[1].startswith("the failure could not be recorded either: ")


def test_a_defect_of_ours_is_not_dressed_as_a_failure(store: FileStore) -> None:
    def work(*_: object) -> None:
        raise KeyError("defect")

    with pytest.raises(KeyError):
        execute("shard", plan(store), work)


def test_an_interruption_ends_as_shells_expect(store: FileStore) -> None:
    def work(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        execute("shard", plan(store), work)
    assert ended.value.code == 130


# Orphans

STEP = """
import pathlib, sys, time
from comface.execution import execute
def work(store, values):
    pathlib.Path(values["pid_file"]).write_text(str(__import__("os").getpid()))
    time.sleep(60)
execute("shard", sys.argv[1], work)
"""
RUNNER = """
import subprocess, sys
shell = ["sh", "-ec", '"$0" "$@"\\n:'] if sys.argv[1] == "shell" else []
with subprocess.Popen([*shell, sys.executable, "-c", sys.argv[2], sys.argv[3]], stdout=subprocess.PIPE) as step:
    step.stdout.read()
"""


def started(pid_file: Path) -> int:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if pid_file.is_file() and pid_file.read_text():
            return int(pid_file.read_text())
        time.sleep(0.05)
    pytest.fail("the step did not start")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("between", ["nothing", "shell"])
def test_a_step_ends_soon_after_its_runner_was_killed(store: FileStore, tmp_path: Path, between: str) -> None:
    """KFP's runner starts a step through a shell, which lives on when the runner is killed."""
    pid_file = tmp_path / "pid"
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, between, STEP, plan(store, pid_file=str(pid_file))],
        env={**os.environ, "_KFP_RUNTIME": "true"},
    )
    step = started(pid_file)
    time.sleep(0.7)
    assert alive(step), "it goes on while its runner lives"
    runner.send_signal(signal.SIGKILL)
    runner.wait(10)
    until = time.monotonic() + 5
    while alive(step) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(step)


def test_a_command_of_a_person_outlives_its_shell(store: FileStore, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    environment = {name: value for name, value in os.environ.items() if name != "_KFP_RUNTIME"}
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, "nothing", STEP, plan(store, pid_file=str(pid_file))], env=environment
    )
    step = started(pid_file)
    runner.kill()
    runner.wait(10)
    time.sleep(1.2)
    try:
        assert alive(step)
    finally:
        os.kill(step, signal.SIGKILL)
