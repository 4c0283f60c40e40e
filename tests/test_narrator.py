"""The narrator on lines as KFP's local runner really writes them (kfp 2.17)."""

from __future__ import annotations

import io
import re

import pytest

from comface.run.narrator import Narrator

RUN = (
    "22:54:33.400 - INFO - Running pipeline: \x1b[95m'comface'\x1b[0m\n"
    + "-" * 80
    + """
22:54:33.410 - INFO - Executing task \x1b[96m'resolve'\x1b[0m
22:54:33.410 - INFO - Streamed logs:

    [KFP Executor 2026-11-24 22:54:33,507 INFO]: Looking for component `resolve` in --component_module_path `/tmp/x.py`
    [KFP Executor 2026-11-24 22:54:33,508 INFO]: Got executor_input:
    {
        "inputs": {
            "parameterValues": {
                "nodes": 1,
                "overrides": "pretrain.epochs=2\\ntransfer.tasks=[age]"
            }
        },
        "outputs": {
            "outputFile": "/runs/kfp/comface/resolve/executor_output.json"
        }
    }
    [KFP Executor 2026-11-24 22:54:36,402 INFO]: Wrote executor output file to /runs/kfp/executor_output.json.


22:54:37.378 - INFO - Task \x1b[96m'resolve'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
22:54:37.379 - INFO - Task \x1b[96m'resolve'\x1b[0m outputs:
    datasets: ['{"dataset":"disfa"}']
    parts: [0.0, 1.0]

22:54:37.400 - INFO - Executing task \x1b[96m'pretrain'\x1b[0m
22:54:37.400 - INFO - Streamed logs:

    epoch 1/2, S = 10: 10 step in 1.3 s
    epoch 1/2: L_inter 2.441, L_intra 7.471
"""
)
TOLD = """▶ resolve
▶ pretrain
    epoch 1/2, S = 10: 10 step in 1.3 s
    epoch 1/2: L_inter 2.441, L_intra 7.471
"""


def narrated(*pieces: str, verbose: bool = False) -> tuple[str, str]:
    log, told = io.StringIO(), list[str]()
    narrator = Narrator(log, told.append, verbose)
    for piece in pieces:
        narrator.write(piece)
    return log.getvalue(), "".join(f"{line}\n" for line in told)


def test_a_person_sees_the_steps_and_what_they_say() -> None:
    assert narrated(RUN)[1] == TOLD


def test_the_log_has_every_character() -> None:
    assert narrated(RUN)[0] == RUN


@pytest.mark.parametrize("size", [1, 7, 80])
def test_pieces_of_lines_are_put_together(size: int) -> None:
    pieces = [RUN[i : i + size] for i in range(0, len(RUN), size)]
    assert narrated(*pieces) == (RUN, TOLD)


def test_verbose_passes_everything_on() -> None:
    assert narrated(RUN, verbose=True)[1] == re.sub("\x1b[^m]*m", "", RUN)


def test_a_step_that_failed_is_marked_and_its_sentence_is_kept() -> None:
    text = (
        "22:54:37.400 - INFO - Executing task \x1b[96m'shard'\x1b[0m\n"
        "    error in shard: The index is damaged; make it again.\n"
        "22:54:38.000 - INFO - Task \x1b[96m'shard'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n"
    )
    assert narrated(text)[1] == "▶ shard\n    error in shard: The index is damaged; make it again.\n✗ shard\n"


def test_tasks_of_a_loop_are_named_once_per_turn() -> None:
    text = "".join(f"22:54:37.400 - INFO - Executing task '{name}'\n" for name in ("transfer", "transfer-2"))
    assert narrated(text)[1] == "▶ transfer\n▶ transfer-2\n"


def test_a_traceback_is_for_the_log_and_its_exception_for_the_last_sentence() -> None:
    text = (
        '    epoch 1/2\n    Traceback (most recent call last):\n      File "a.py", line 1, in b\n        c()\n'
        "    KeyError: 'c'\n    \n    During handling of the above exception, another exception occurred:\n    \n"
        '    Traceback (most recent call last):\n      File "a.py", line 2, in d\n    ValueError: e\n    epoch 2/2\n'
        "    exit code of the step: 139\n"
    )
    told: list[str] = []
    narrator = Narrator(io.StringIO(), told.append, verbose=False)
    narrator.write(text)
    assert told == ["    epoch 1/2", "    epoch 2/2"]
    assert narrator.exception == "ValueError: e"
    assert narrator.exit_codes == [139]
