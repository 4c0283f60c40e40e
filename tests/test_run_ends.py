"""However `comface run` ends, its last sentence is the step's own, and nothing of it is left: no process, no folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stub_run import StubRun, compile_stub
from tiny_run import TINY, sets

from comface.cli import main

Start = Callable[..., StubRun]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture
def start(pipeline: Path, tmp_path: Path) -> Iterator[Start]:
    runs: list[StubRun] = []

    def begin(does: str, **options: object) -> StubRun:
        runs.append(StubRun(pipeline, tmp_path / f"{len(runs)}-{does}", does, **options))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()


SENTENCES = {
    "data": (65, r"shard: The .*shard.* 3 is truncated; make it again\."),
    "defect": (1, r"shard: This is a defect of comface: TypeError in .* \(unsupported operand .*\); please report "
                  r"it with the traceback in the step's log \(run\.log of `comface run`\)\."),
    "killed": (75, r"The run stopped because SIGKILL ended one of its processes \(.*\); free some memory, .*"),
    "import": (1, r"This is a defect of comface: the run stopped with ModuleNotFoundError: No module named "
                  r"'not_there'; please report it with '.*run\.log'\."),
}  # fmt: skip


def test_whatever_ends_a_step_its_own_sentence_is_the_last_one_and_no_folder_is_left(start: Start) -> None:
    runs = {does: start(does) for does in SENTENCES}
    deaf = start("data", stderr=subprocess.STDOUT)  # comface run 2>&1 | head -1
    assert deaf.process.stdout is not None
    deaf.process.stdout.close()
    for does, (code, sentence) in SENTENCES.items():
        run = runs[does]
        output, said = run.process.communicate(timeout=120)
        assert run.process.returncode == code, said
        assert output == ""
        assert re.fullmatch(f"comface: {sentence}", said.splitlines()[-1]), said
        for noise in ("Traceback", "\x1b", "Inner task"):
            assert noise not in said
        assert list(run.scratch.iterdir()) == [], "KFP's runner leaves a folder for every task"
        assert not (run.folder / "out" / "kfp" / "tasks").exists()
        log = (run.folder / "out" / "run.log").read_text()
        assert re.search(f" ERROR run: {sentence}$", log, re.MULTILINE), log
        assert ("Traceback" in log) == (does in ("defect", "import")), log
    assert deaf.process.wait(120) == 65, "a run whose reader left goes on to its end, and its code tells how that was"
    assert "ERROR shard: The" in (deaf.folder / "out" / "run.log").read_text()


def test_a_run_in_a_folder_that_the_locale_cannot_spell(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    run = StubRun(pipeline, tmp_path / "L\N{LATIN SMALL LETTER A WITH DIAERESIS}ufe", "data")
    said = run.process.communicate(timeout=120)[1]
    assert run.process.returncode == 65, said
    odd = ["run", "--pipeline", str(pipeline), "--output", str(tmp_path / "\udcff"), *sets(TINY)]
    assert main(odd) == 64
    assert "of --output is not UTF-8" in capfd.readouterr().err


@pytest.mark.parametrize(
    "ways",
    [
        (signal.SIGKILL, signal.SIGTERM),
        pytest.param((signal.SIGHUP, signal.SIGINT), marks=pytest.mark.system),
    ],
)
def test_no_process_outlives_a_run_that_was_killed_or_stopped(start: Start, ways: tuple[signal.Signals, ...]) -> None:
    """A process of the step ignores SIGTERM."""
    runs = {number: start("sleep") for number in ways}
    for run in runs.values():
        run.wait_for_the_step()
        assert len(run.living()) >= 4
    for number, run in runs.items():
        run.process.send_signal(number)
    for number, run in runs.items():
        assert run.gone_within(20), f"{number}: {run.living()}"
        said = run.process.communicate(timeout=10)[1]
        assert list(run.scratch.iterdir()) == [], "a step that is stopped removes its temporary folders"
        if number != signal.SIGKILL:
            assert run.process.returncode == 143, said
            last = said.splitlines()[-1]
            assert re.match(r"comface: (stopped by a signal|interrupted); .* run the same command to resume\.$", last)


@pytest.mark.system
def test_nothing_is_left_when_the_runner_itself_is_killed(start: Start) -> None:
    run = start("sleep")
    run.wait_for_the_step()
    (runner,) = [p for p in run.living() if b"comface.run.kfp_runner" in Path(f"/proc/{p}/cmdline").read_bytes()]
    os.kill(runner, signal.SIGKILL)
    said = run.process.communicate(timeout=30)[1]
    assert run.process.returncode == 75
    assert "ended by SIGKILL" in said.splitlines()[-1]
    assert run.gone_within(5)


@pytest.mark.system
def test_no_process_is_left_by_a_run_that_was_killed_at_any_moment_of_its_end(start: Start) -> None:
    """The steps of its last two seconds are those that ended without a trace of them before."""
    for tenth in range(12):
        run = start("data")
        while "ERROR shard: The" not in _log(run) and run.process.poll() is None:
            time.sleep(0.01)
        time.sleep(tenth / 10)
        run.process.kill()
        assert run.gone_within(9), run.living()


def _log(run: StubRun) -> str:
    path = run.folder / "out" / "run.log"
    return path.read_text() if path.is_file() else ""
