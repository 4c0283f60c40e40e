"""The narrator on lines as KFP's local runner, the shells of its steps and the steps themselves really write them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from comface.run.narrator import Course, Narrator
from comface.runtime.logs import configure, copied_to


def line(message: str, step: str = "pretrain", level: str = "INFO", **fields: object) -> str:
    """As a step writes it (runtime/logs.py), indented by the runner."""
    told = {"time": "2026-11-24T22:54:38.123Z", "level": level, "step": step, **fields, "message": message}
    return f"    {json.dumps({**told, 'logger': 'comface.pretrain.step'})}\n"


RUN = (
    "22:54:33.400 - INFO - Running pipeline: \x1b[95m'comface'\x1b[0m\n"
    + "-" * 80
    + """
22:54:33.410 - INFO - Executing task \x1b[96m'resolve'\x1b[0m
22:54:33.410 - INFO - Streamed logs:

    comface run: resolve starts
    [KFP Executor 2026-11-24 22:54:33,507 INFO]: Looking for component `resolve` in --component_module_path `/tmp/x.py`
    [KFP Executor 2026-11-24 22:54:33,508 INFO]: Got executor_input:
    {
        "inputs": {
            "parameterValues": {
                "parts": [
                    0,
                    1.5e3
                ],
                "nodes": 1,
                "overrides": "pretrain.epochs=2\\ntransfer.tasks=[age]"
            }
        },
        "outputs": {
            "outputFile": "/runs/kfp/comface/resolve/executor_output.json"
        }
    }
    [KFP Executor 2026-11-24 22:54:36,402 INFO]: Wrote executor output file to /runs/kfp/executor_output.json.
    comface run: resolve ended with exit code 0


22:54:37.378 - INFO - Task \x1b[96m'resolve'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
22:54:37.379 - INFO - Task \x1b[96m'resolve'\x1b[0m outputs:
    datasets: ['{"dataset":"disfa"}']
    parts: [0.0, 1.0]

22:54:37.400 - INFO - Executing task \x1b[96m'pretrain'\x1b[0m
22:54:37.400 - INFO - Streamed logs:

    comface run: pretrain starts
"""
    + line("epoch 1/2, S = 10: 10 steps in 1.3 s")
    + line("epoch 1/2: L_inter 2.441, L_intra 7.471")
    + "        a library's own words\n"
)
TOLD = [
    "INFO run: step 1 of 2: resolve",
    "INFO run: step 2 of 2: pretrain",
    "INFO pretrain: epoch 1/2, S = 10: 10 steps in 1.3 s",
    "INFO pretrain: epoch 1/2: L_inter 2.441, L_intra 7.471",
]
STEPS = {"resolve": 1, "pretrain": 1}


def narrated(*pieces: str, course: Course | None = None) -> tuple[str, Narrator]:
    raw = io.StringIO()
    narrator = Narrator(raw, course or Course(STEPS))
    for piece in pieces:
        narrator.write(piece)
    return raw.getvalue(), narrator


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Without the times."""
    return [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]


def test_a_person_sees_the_steps_and_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert narrated(RUN)[0] == RUN, "the other log has every character"
    assert shown(capsys) == TOLD


@pytest.mark.parametrize("size", [1, 7, 80])
def test_pieces_of_lines_are_put_together(size: int, capsys: pytest.CaptureFixture[str]) -> None:
    narrated(*(RUN[i : i + size] for i in range(0, len(RUN), size)))
    assert shown(capsys) == TOLD


def test_run_log_and_verbose_have_also_what_a_step_printed_without_logging_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with copied_to(tmp_path / "run.log"):
        narrated(RUN)
    assert shown(capsys) == TOLD
    more = [*TOLD, "INFO pretrain: a library's own words"]
    assert [text.partition(" ")[2] for text in (tmp_path / "run.log").read_text().splitlines()] == more
    configure(1)
    narrated(RUN)
    assert shown(capsys) == more


def test_a_line_keeps_the_time_level_and_item_that_its_step_gave_it(capsys: pytest.CaptureFixture[str]) -> None:
    narrated(line("The checkpoint was not saved.", "transfer", "WARNING", item="au12/comface/linear"))
    told = "2026-11-24T22:54:38Z WARNING transfer au12/comface/linear: The checkpoint was not saved.\n"
    assert capsys.readouterr().err == told


def test_a_step_that_failed_is_marked_and_its_sentence_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "The index is damaged; make it again."
    text = line(sentence, "shard", "ERROR") + "    comface run: shard ended with exit code 65\n"
    narrator = narrated("    comface run: shard starts\n", text, course=Course({"shard": 1}))[1]
    assert shown(capsys) == ["INFO run: step 1 of 1: shard", f"ERROR shard: {sentence}", "INFO run: shard failed"]
    assert (narrator.sentences, narrator.exit_codes) == ([f"shard: {sentence}"], [65])


def test_with_quiet_only_the_error_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure(-1)
    narrated(RUN, line("It is damaged.", level="ERROR"))
    assert shown(capsys) == ["ERROR pretrain: It is damaged."]


def test_items_of_a_loop_are_counted_and_the_time_left_is_that_of_finished_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = iter([0.0, 90.0, 180.0, 300.0, 400.0])
    starts, ends = "comface run: transfer starts\n", "comface run: transfer ended with exit code 0\n"
    course = Course({"shard": 1, "transfer": 4}, clock=lambda: next(times))
    narrated(starts, starts, ends, ends, starts, starts, ends, ends, course=course)
    assert shown(capsys) == [
        "INFO run: step 1 of 2: transfer (4 items)",
        "INFO run: transfer 1 of 4",
        "INFO run: transfer 2 of 4, about 3 min left for this step",
        "INFO run: transfer 3 of 4, about 100 s left for this step",
        "INFO run: transfer 4 of 4",
    ]


def test_items_that_an_earlier_run_made_do_not_shorten_the_time_left() -> None:
    now = 0.0
    course = Course({"transfer": 48}, clock=lambda: now)
    course.start("transfer")
    for seconds in [1.0] * 40 + [60.0] * 4:
        now += seconds
        told = course.end("transfer")
    assert told == "transfer 44 of 48, about 4 min left for this step"


def test_a_traceback_is_for_the_log_and_its_exception_for_the_last_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (
        '    Traceback (most recent call last):\n      File "a.py", line 1, in b\n        c()\n'
        "    KeyError: 'c'\n    \n    During handling of the above exception, another exception occurred:\n    \n"
        '    Traceback (most recent call last):\n      File "a.py", line 2, in d\n    ValueError: e\n'
        "    comface run: pretrain ended with exit code 139\n"
    )
    with copied_to(tmp_path / "run.log"):
        narrator = narrated("    comface run: pretrain starts\n", text, course=Course({"pretrain": 1}))[1]
    assert shown(capsys) == ["INFO run: step 1 of 1: pretrain", "INFO run: pretrain failed"]
    assert narrator.exception == "ValueError: e"
    assert narrator.exit_codes == [139]
    log = (tmp_path / "run.log").read_text()
    assert "INFO pretrain: Traceback (most recent call last):\n" in log
    assert 'INFO pretrain:   File "a.py", line 1, in b\n' in log
