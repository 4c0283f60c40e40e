"""How a step runs: failures are recorded with sentence and exit code, and an orphan ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comface.artifacts.plans import Plan
from comface.artifacts.sealed import sealed, unsealed
from comface.errors import ComfaceError, ConfigurationError, DataError, GateRefused, Preempted, TryAgain
from comface.execution import RETRIES_END_S, execute, recorded_failure
from comface.store import FileStore, Store

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
KINDS = (ConfigurationError, DataError, GateRefused, TryAgain, Preempted)


def plan(store: FileStore, run: str = "run-1", **more: object) -> str:
    return json.dumps({"store": store.uri, "run": run, **more})


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def test_work_gets_the_store_and_the_plan_and_its_result_is_handed_on(store: FileStore) -> None:
    class Part(Plan):
        part: int

    def work(opened: Store, planned: Part) -> tuple[str, int]:
        return opened.uri, planned.part

    assert execute("synthesize", plan(store, part=3), Part, work) == (store.uri, 3)
    assert list(store.keys()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_is_said_recorded_and_ends_with_its_code(
    store: FileStore, capsys: pytest.CaptureFixture[str], kind: type[ComfaceError]
) -> None:
    def work(*_: object) -> None:
        raise kind("The thing is wrong; correct it.")

    with pytest.raises(SystemExit) as ended:
        execute("shard", plan(store), Plan, work)
    assert ended.value.code == kind.exit_code
    assert re.fullmatch(f"{TIME} ERROR shard: The thing is wrong; correct it.\n", capsys.readouterr().err)
    found = recorded_failure(store, "run-1")
    assert (type(found), str(found)) == (kind, "shard: The thing is wrong; correct it.")
    assert recorded_failure(store, "run-2") is None
    assert recorded_failure(store, "run") is None, "a run's name is a folder, not a prefix"


def test_a_command_of_a_person_leaves_no_record(store: FileStore) -> None:
    def work(*_: object) -> None:
        raise DataError("The thing is wrong.")

    with pytest.raises(SystemExit):
        execute("shard", plan(store, run=""), Plan, work)
    assert list(store.keys()) == []


def test_a_store_that_cannot_take_the_record_hides_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = FileStore(tmp_path / "file" / "store")

    def work(*_: object) -> None:
        raise DataError("The thing is wrong.")

    with pytest.raises(SystemExit) as ended:
        execute("shard", plan(blocked), Plan, work)
    assert ended.value.code == 65
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"{TIME} ERROR shard: The thing is wrong\\.", lines[0])
    assert re.match(f"{TIME} WARNING shard: The failure could not be recorded: ", lines[1])


def test_a_defect_of_ours_is_recorded_with_code_1_and_asks_for_a_report(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object) -> None:
        raise KeyError("defect\x1b[31m")

    with pytest.raises(SystemExit) as ended:
        execute("shard", plan(store), Plan, work)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    sentence = (
        r"This is a defect of comface: KeyError in execution/__init__\.py:\d+ \(.defect.*\); "
        r"please report it with (\S+)\."
    )
    found = re.fullmatch(f"{TIME} ERROR shard: {sentence}\n", said)
    assert found is not None, said
    assert "\x1b" not in said
    kept = Path(found[1])
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.unlink()
    record = recorded_failure(store, "run-1")
    assert record is not None
    assert record.exit_code == 1


def test_what_the_machine_lacks_is_no_defect(store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> None:
        with Path("/dev/full").open("w") as file:
            file.write("x")

    def forbidden(*_: object) -> None:
        Path("/sys/kernel/none").write_text("x")

    def memory(*_: object) -> None:
        raise MemoryError

    for work, code, sentence in ((full, 75, "The disk is full"), (forbidden, 64, "'/sys/kernel/none' is denied"),
                                 (memory, 75, "There is not enough memory")):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            execute("shard", plan(store, run=""), Plan, work)
        assert ended.value.code == code
        assert sentence in capsys.readouterr().err


def test_an_interruption_ends_as_shells_expect_below_a_runner_and_is_said_by_the_command_of_a_person(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute("shard", plan(store), Plan, work)
    monkeypatch.setattr("comface.execution._end_with_parent", lambda: None)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(SystemExit) as ended:
        execute("shard", plan(store), Plan, work)
    assert ended.value.code == 130


# Retries: KFP starts a failed step again whatever its exit code was


def attempt(store: FileStore, error: ComfaceError | None, calls: list[int], run: str = "run-1") -> int:
    """The exit code of one attempt at a step that fails with `error`."""

    def work(*_: object) -> str:
        calls.append(1)
        if error:
            raise error
        return "done"

    try:
        assert execute("shard", plan(store, run), Plan, work) == "done"
    except SystemExit as ended:
        return int(ended.code)
    return 0


@pytest.mark.parametrize("kind", [ConfigurationError, DataError, GateRefused])
def test_what_failed_for_good_is_not_tried_again_in_the_same_run(
    store: FileStore, capsys: pytest.CaptureFixture[str], kind: type[ComfaceError]
) -> None:
    calls: list[int] = []
    for _ in range(3):
        assert attempt(store, kind("The thing is wrong; correct it."), calls) == kind.exit_code
    assert len(calls) == 1
    said = capsys.readouterr().err
    assert said.count("ERROR shard: The thing is wrong; correct it.\n") == 3
    assert said.count("An earlier attempt reported this error") == 2
    assert attempt(store, None, calls, run="run-2") == 0, "another run is another matter"


@pytest.mark.parametrize("kind", [TryAgain, Preempted])
def test_what_may_pass_is_tried_again_and_its_record_goes_with_success(
    store: FileStore, kind: type[ComfaceError]
) -> None:
    calls: list[int] = []
    assert attempt(store, kind("The store is away."), calls) == kind.exit_code
    assert attempt(store, kind("The store is away."), calls) == kind.exit_code
    assert recorded_failure(store, "run-1") is not None
    assert attempt(store, None, calls) == 0
    assert len(calls) == 3
    assert recorded_failure(store, "run-1") is None


def test_a_person_who_retries_a_run_after_mending_it_is_not_stopped_by_the_record(store: FileStore) -> None:
    calls: list[int] = []
    assert attempt(store, DataError("The thing is wrong."), calls) == 65
    key = "failures/run-1/shard.json"
    record = unsealed(store.read(key))
    store.write(key, sealed({**record, "at": record["at"] - RETRIES_END_S - 1}))
    assert attempt(store, None, calls) == 0
    assert recorded_failure(store, "run-1") is None


PIPELINE = """
from kfp import dsl, local

@dsl.component(packages_to_install=[], install_kfp_package=False)
def step(plan: str, tries: str, error: str) -> str:
    from pathlib import Path
    from comface import errors
    from comface.artifacts.plans import Plan
    from comface.execution import execute

    def work(*_):
        with Path(tries).open("a") as file:
            file.write("x")
        if error and len(Path(tries).read_text()) < 3:
            raise getattr(errors, error)("The thing is wrong; correct it.")
        return "done"

    return execute("shard", plan, Plan, work)

@dsl.pipeline
def retried(plan: str, tries: str, error: str) -> str:
    return step(plan=plan, tries=tries, error=error).set_retry(3, backoff_duration="0s").output

if __name__ == "__main__":
    import sys
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[4])
    print(retried(plan=sys.argv[1], tries=sys.argv[2], error=sys.argv[3]).output)
"""


@pytest.mark.parametrize(("error", "tries", "code"), [("DataError", 1, 1), ("TryAgain", 3, 0)])
def test_kfps_own_retries_repeat_only_what_may_pass(
    store: FileStore, tmp_path: Path, error: str, tries: int, code: int
) -> None:
    """Through KFP's local runner, which retries as a cluster does."""
    (tmp_path / "retried.py").write_text(PIPELINE)
    arguments = [plan(store), str(tmp_path / "tries"), error, str(tmp_path / "root")]
    done = subprocess.run(
        [sys.executable, tmp_path / "retried.py", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == code, done.stderr
    assert (tmp_path / "tries").read_text() == "x" * tries
    if code:
        assert done.stdout.count("ERROR shard: The thing is wrong; correct it.") == 4, "every attempt says it"
    else:
        assert list(store.keys()) == []


# Orphans

STEP = """
import pathlib, sys, time
from comface.artifacts.plans import Plan
from comface.execution import execute
class Waits(Plan):
    pid_file: str
def work(store, planned):
    pathlib.Path(planned.pid_file).write_text(str(__import__("os").getpid()))
    time.sleep(60)
execute("shard", sys.argv[1], Waits, work)
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


def test_a_record_with_a_flipped_bit_ends_no_step_and_tells_no_sentence(store: FileStore) -> None:
    calls: list[int] = []
    assert attempt(store, DataError("The thing is wrong."), calls) == 65
    key = "failures/run-1/shard.json"
    whole = store.read(key)
    for position in range(0, 8 * len(whole), 13):
        data = bytearray(whole)
        data[position // 8] ^= 1 << position % 8
        store.write(key, bytes(data))
        with pytest.raises(DataError, match="is damaged or was changed; delete it"):
            recorded_failure(store, "run-1")
    assert attempt(store, None, calls) == 0
    assert len(calls) == 2
    assert not store.exists(key)
