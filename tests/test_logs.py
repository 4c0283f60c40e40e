"""Log lines: their form on a terminal, in a file and in a pod, what is shown of them, and how far work has come."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from comface.datasets.config import DataSource
from comface.execution import execute
from comface.runtime.logs import LEVEL, configure, copied_to, for_children, labelled, readable, relay
from comface.runtime.progress import counted, duration, shown
from comface.transfer.from_plan import AlignPlan

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
logger = logging.getLogger("comface.transfer.step")

SPEAK = """
import logging, sys, warnings
from comface.runtime.logs import configure, labelled
configure(int(sys.argv[1]))
with labelled("transfer", "au12/comface/linear", "run-7"):
    logger = logging.getLogger("comface.transfer.step")
    logger.debug("a detail")
    logger.info("130 pairs")
    logger.warning("left out: 3 \\x1b[2J photos")
    logger.error("It is damaged.")
    warnings.warn("of a library")
"""


def on_a_terminal(program: str, *arguments: str, **environment: str) -> str:
    """What a program shows where standard error is a terminal."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    bare = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", LEVEL, *POD)}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stderr=follower, env={**bare, "TERM": "xterm", **environment}
    )
    os.close(follower)
    shown_bytes = b""
    try:
        while piece := os.read(leader, 1 << 16):
            shown_bytes += piece
    except OSError:  # Linux: the program has ended
        pass
    assert process.wait(60) == 0
    os.close(leader)
    return shown_bytes.decode().replace("\r\n", "\n")


def in_a_pipe(program: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, env={**os.environ, **environment},
        text=True, check=True,
    )  # fmt: skip
    return done.stderr


def test_on_a_terminal_a_line_is_its_message_and_colours_mark_warnings_and_errors() -> None:
    plain = (
        "130 pairs\n{}warning{}: left out: 3 \N{REPLACEMENT CHARACTER}[2J photos\n"
        "{}error{} in transfer au12/comface/linear: It is damaged.\n"
    )
    assert on_a_terminal(SPEAK, "0") == plain.format("\x1b[33m", "\x1b[0m", "\x1b[31m", "\x1b[0m")
    assert on_a_terminal(SPEAK, "0", NO_COLOR="1") == plain.format("", "", "", "")
    assert on_a_terminal(SPEAK, "0", TERM="dumb") == plain.format("", "", "", "")
    assert on_a_terminal(SPEAK, "-1", NO_COLOR="1") == plain.format("", "", "", "").splitlines(keepends=True)[-1]
    verbose = on_a_terminal(SPEAK, "1", NO_COLOR="1")
    assert verbose.startswith("a detail\n130 pairs\n")
    assert "UserWarning: of a library" in verbose


def test_where_no_terminal_is_a_line_has_time_level_step_and_item() -> None:
    where = "transfer au12/comface/linear:"
    assert re.fullmatch(
        f"{TIME} INFO {where} 130 pairs\n{TIME} WARNING {where} left out: .*\n{TIME} ERROR {where} It is damaged.\n",
        in_a_pipe(SPEAK, "0"),
    )
    assert f" DEBUG {where} a detail\n" in in_a_pipe(SPEAK, "1")


def test_in_a_pod_a_line_is_one_json_object() -> None:
    said = in_a_pipe(SPEAK, "0", **POD)
    assert "\x1b" not in said
    info, _, error, library = map(json.loads, said.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", info.pop("time"))
    assert info == {
        "level": "INFO", "step": "transfer", "item": "au12/comface/linear", "run": "run-7", "message": "130 pairs",
        "logger": "comface.transfer.step",
    }  # fmt: skip
    assert error["level"] == "ERROR"
    assert "of a library" in library["message"]
    assert '"level": "DEBUG"' in in_a_pipe(SPEAK, "0", **POD, COMFACE_LOG="debug")


@pytest.mark.parametrize(("verbosity", "level"), [(-1, "INFO"), (0, "INFO"), (1, "DEBUG")])
def test_verbose_reaches_the_processes_that_a_command_starts_and_quiet_leaves_them_the_log(
    verbosity: int, level: str
) -> None:
    configure(verbosity)
    said = in_a_pipe(SPEAK, "0", **for_children())
    assert json.loads(said.splitlines()[0])["level"] == level


def test_an_import_alone_shows_nothing() -> None:
    speak = "import comface, logging; logging.getLogger('comface.x').error('loud')\n"
    work = "from comface.runtime.progress import shown; list(shown([1, 2], 'work'))"
    assert in_a_pipe(speak + work) == ""
    assert on_a_terminal(speak + work) == ""


def test_an_error_of_a_step_is_a_field_of_one_json_object_in_a_pod(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def work(*_: object) -> None:
        raise KeyError("x\ny")

    monkeypatch.setattr("comface.execution._end_with_parent", lambda: None)
    monkeypatch.setenv("_KFP_RUNTIME", "true")
    configure(environment=POD)
    source = DataSource(layout="disfa", uri="/data/disfa")
    plan = AlignPlan(store=tmp_path.as_uri(), run="r", dataset="disfa", source=source, rehearse=None).text
    with pytest.raises(SystemExit):
        execute("align", plan, AlignPlan, work)
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["step"], told["item"], told["run"]) == ("align", "disfa", "r")
    assert told["message"].startswith("This is a defect of comface: KeyError in ")
    assert told["exception"].startswith("Traceback (most recent call last):\n")
    assert [path.name for path in (tmp_path / "failures" / "r").iterdir()] == ["align-disfa.json"]
    shown_text = readable(line).splitlines()
    assert shown_text[0] == "Traceback (most recent call last):"
    assert shown_text[-1].startswith("error in align disfa: This is a defect")


def test_lines_of_another_process_keep_their_level_and_a_forged_one_is_only_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for line in (
        '[default0]:{"time": "2026-11-24T22:54:38.123Z", "level": "WARNING", "message": "a", "step": "pretrain"}',
        '{"time": "2026-11-24T22:54:38.123Z", "level": "LOUD", "message": "b"}',
        '{"time": "yesterday", "level": "INFO", "message": "c"}',
        '{"time": 7}', "NCCL WARN d",
    ):  # fmt: skip
        relay(line, logger, "[rank 0] ")
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "2026-11-24T22:54:38Z WARNING pretrain: [rank 0] a"
    assert all(re.match(f"{TIME} INFO \\[rank 0\\] ", line) for line in others)
    assert len(others) == 4


def test_a_message_of_several_lines_cannot_pass_for_a_second_record(capsys: pytest.CaptureFixture[str]) -> None:
    with labelled("align"):
        logger.info("one\n2026-11-24T22:54:38Z ERROR two")
    assert re.fullmatch(f"{TIME} INFO align: one\n    2026-11-24T22:54:38Z ERROR two\n", capsys.readouterr().err)


def test_a_log_file_on_a_full_disk_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="No space left"), copied_to(Path("/dev/full")):
        logger.info("x" * 100_000)
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_left_ends_no_work() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", SPEAK + "raise SystemExit(66)", "0"], stderr=write, check=False)
    os.close(write)
    assert done.returncode == 66


# How far work has come


def told(items: object, seconds_each: float, **options: object) -> Iterator[str]:
    now = 0.0

    def clock() -> float:
        return now

    for _ in shown(items, "rendering", clock=clock, **options):  # type: ignore[call-overload]
        now += seconds_each
    yield ""


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_work_is_told_at_a_calm_pace_with_the_time_that_is_left(caplog: pytest.LogCaptureFixture) -> None:
    list(told(range(1800), 1 / 12, unit="identity"))
    lines = lines_of(caplog)
    assert lines[0] == "rendering: 120/1,800 identities, 12.0 identities/s, 2 min left"
    assert lines[-1] == "rendering: 1,800 identities in 2 min"
    assert len(lines) == 14
    caplog.clear()
    list(told(range(100_000), 1.0, unit="batch"))
    assert 100 < len(lines_of(caplog)) < 500, "of a day's work"


def test_of_an_unknown_number_of_slow_items_no_time_left_is_said(caplog: pytest.LogCaptureFixture) -> None:
    list(told(iter(range(2)), 30.0, unit="photo"))
    assert lines_of(caplog) == [
        "rendering: 1 photo, 30 s per photo", "rendering: 2 photos, 30 s per photo", "rendering: 2 photos in 60 s",
    ]  # fmt: skip


def test_numbers_have_plurals_and_thousands_and_times_their_unit() -> None:
    assert [counted(n, "step") for n in (0, 1, 1800)] == ["0 steps", "1 step", "1,800 steps"]
    assert [counted(2, noun) for noun in ("identity", "batch", "day", "pass")] == [
        "2 identities", "2 batches", "2 days", "2 passes",
    ]  # fmt: skip
    assert [duration(s) for s in (0.04, 9, 95, 300, 7200 * 2)] == ["0.0 s", "9.0 s", "95 s", "5 min", "4.0 h"]


BAR = """
import sys
from comface.runtime.logs import configure
from comface.runtime.progress import shown
configure(int(sys.argv[1]))
list(shown(range(3), "rendering", unit="identity"))
"""


def test_on_a_terminal_a_bar_shows_how_far_work_is_but_not_with_quiet() -> None:
    assert "rendering: 100%" in on_a_terminal(BAR, "0")
    assert on_a_terminal(BAR, "-1") == ""
