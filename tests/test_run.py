"""`comface run`: one command, from synthetic faces to a registered model and its report."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path

from tiny_run import comface, manifests, run_arguments

from comface.errors import TryAgain

KINDS = {
    "tracks": 3, "part": 1, "shards": 1, "backbone": 1, "dataset": 1, "faces": 1, "protocol": 1, "features": 2,
    "transfer": 2, "evaluation": 1, "decision": 1, "model": 1,
}  # fmt: skip
LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING) [a-z]+( [^ ]+| part \d)?: "
STEPS = ("resolve", "synthesize", "shard", "pretrain", "align", "complete", "features", "transfer", "evaluate", "gate",
         "register", "finish")  # fmt: skip


def test_it_ends_by_naming_the_report_and_the_registered_model(tiny_run) -> None:
    report = re.search(r"^  report +(\S+)$", tiny_run.stderr, re.MULTILINE)
    model = re.search(r"^  model +(\S+?)(\. Cannot tell: .*|, the champion)$", tiny_run.stderr, re.MULTILINE)
    assert report is not None
    assert model is not None
    assert Path(report[1]) == tiny_run.folder / "report.html"
    assert Path(report[1]).read_text().lstrip().startswith("<!doctype html>")
    assert model[1] == "comface@v1"


def test_every_step_is_announced_and_says_something_of_itself(tiny_run) -> None:
    told = re.findall(r"^\S+Z INFO run: step (\d+) of 12: ([a-z]+)", tiny_run.stderr, re.MULTILINE)
    assert [int(number) for number, _ in told] == list(range(1, 13))
    assert {name for _, name in told} == set(STEPS)
    assert re.search("INFO run: transfer 2 of 2$", tiny_run.stderr, re.MULTILINE)
    assert "INFO pretrain: epoch 2/2" in tiny_run.stderr
    assert "Traceback" not in tiny_run.stderr


def test_run_log_has_each_line_with_time_step_and_item_and_nothing_of_the_executor(tiny_run) -> None:
    lines = (tiny_run.folder / "run.log").read_text().splitlines()
    assert all(re.match(LINE, line) for line in lines), lines
    assert [line[:20] for line in lines] == sorted(line[:20] for line in lines)
    assert any("INFO transfer age/scratch/linear: mae " in line for line in lines)
    shown = [line for line in lines if line in tiny_run.stderr.splitlines()]
    end = lines[len(shown) :]
    assert [*shown, *end] == lines, "where no terminal is, a person sees the same, but for the end"
    said = [line.partition("INFO run: ")[2][:7] for line in end]
    assert [*said[:3], said[-1]] == ["Done in", "report ", "model  ", "Try it "]
    raw = (tiny_run.folder / "executor.log").read_text()
    assert "[KFP Executor" in raw
    assert '"executor_input"' not in "".join(lines)


def test_each_step_published_its_artifacts_and_nothing_failed(tiny_run) -> None:
    found = manifests(tiny_run.store)
    assert {kind: sum(address.startswith(f"{kind}/") for address in found) for kind in KINDS} == KINDS
    assert len(found) == sum(KINDS.values())
    assert not (tiny_run.store / "failures").exists()
    assert not list(tiny_run.store.rglob(".writing-*"))


def test_verify_walks_the_registered_model_back_to_the_synthetic_faces(tiny_run) -> None:
    done = comface("verify", "comface@v1", "--store", tiny_run.store.as_uri())
    assert done.returncode == 0, done.stderr
    for kind in ("model", "backbone", "shards", "tracks", "transfer", "features", "faces", "dataset"):
        assert f"/{kind}/" in done.stdout


def test_the_registry_shows_the_model(tiny_run) -> None:
    done = comface("models", "show", "--json", "--store", tiny_run.store.as_uri())
    assert done.returncode == 0, done.stderr
    assert "age" in json.dumps(json.loads(done.stdout))


def test_a_second_run_in_the_same_folder_is_told_to_wait(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = comface(*run_arguments(tmp_path))
    assert done.returncode == TryAgain.exit_code
    assert re.fullmatch(r"comface: Another run is active in .*\n", done.stderr)
