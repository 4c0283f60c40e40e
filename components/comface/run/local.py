"""A whole run on this machine: the compiled pipeline through KFP's local runner, with output for people.

In: pipelines/comface.yaml (the same file as on a cluster, without the settings for pods), a configuration, a folder.
Out: in that folder report.html, comparison.png, the store, run.log (the log for people) and executor.log (all output of
the runner). An interrupted run resumes when started again: finished artifacts are found by their address, and the
unfinished step continues from its checkpoints.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from comface.config.names import quoted
from comface.errors import ComfaceError, ConfigurationError, TryAgain, error_of
from comface.execution import FAILURES, recorded_failure
from comface.files import make_private_folder
from comface.launch.local import local_launcher
from comface.models.signing import key_of_environment
from comface.plan.configuration import RunConfig, config_yaml
from comface.plan.parameters import override_mapping
from comface.plan.reuse import told
from comface.plan.step import Plans, plan_run
from comface.run.folders import begin
from comface.run.kfp_runner import FAILED, end_group
from comface.run.narrator import Course, Narrator
from comface.run.one_machine import TASKS, for_one_machine, one_machine, task_counts
from comface.run.outcome import Outcome, collect
from comface.runtime.extras import check_extras
from comface.runtime.logs import HIDDEN, copied_to, for_children, labelled
from comface.store import Store, open_store
from comface.submit.package import read_package

SENT = {"profile", "overrides", "run_name", "store", "nodes", "gpus_per_node"}
logger = logging.getLogger(__name__)
LOG, EXECUTOR_LOG = "run.log", "executor.log"


def find_pipeline(path: Path | None) -> Path:
    """The compiled pipeline: the given one, else the package's own; never a file in the current folder."""
    place = path or Path(__file__).parents[1] / "comface.yaml"
    if not place.is_file():
        raise ConfigurationError(f"There is no compiled pipeline at '{place}'; name it with --pipeline.")
    return place


def run_pipeline(pipeline: Path, config: RunConfig, overrides: Sequence[str], folder: Path) -> Outcome:
    """Run `pipeline` with `config` (its first step resolves the same from profile and `overrides`).

    Raises the error of the failed step, with the same message and exit code."""
    started = time.monotonic()
    _check_parameters(pipeline)
    _as_utf8(folder)
    make_private_folder(folder)
    with _alone(folder):
        begin(folder, config_yaml(config))
        with copied_to(folder / LOG), labelled("run"), _end_in_the_log():
            store = open_store(config.store)
            if sentence := told(config):
                logger.info(sentence)
            local_launcher(config.pretrain.nodes, config.pretrain.gpus_per_node, lambda: None)
            plans = plan_run(config, "")  # raises problems of the configuration before the runner starts
            key_of_environment()
            if config.registry.mirrors:
                check_extras("registry.mirrors", "registries")
            evaluation, model = _execute(pipeline, config, plans, overrides, folder, store)
            outcome = collect(evaluation, model, config, store, folder, started)
            for line in outcome.lines():
                logger.info(line.strip(), extra=HIDDEN)
            return outcome


@contextlib.contextmanager
def _end_in_the_log() -> Iterator[None]:
    """run.log says how a run ended too; the command says it to the person."""
    try:
        yield
    except BaseException as error:
        known = isinstance(error, ComfaceError)
        logger.error(str(error) if known else f"The run was stopped ({type(error).__name__}).", extra=HIDDEN)
        raise


def _as_utf8(folder: Path) -> str:
    """The path as KFP's runner passes it on: it uses UTF-8 whatever the locale is."""
    try:
        return os.fsencode(folder).decode()
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"The name of the folder {quoted(str(folder))} of --output is not UTF-8, which KFP's runner requires; "
            "choose another."
        ) from None


def _check_parameters(pipeline: Path) -> None:
    package = read_package(pipeline)
    kinds = {name: definition.get("parameterType") for name, definition in package.parameters.items()}
    if SENT - kinds.keys() or kinds["overrides"] != "STRUCT":
        raise ConfigurationError(
            f"'{pipeline}' does not accept the parameters of `comface run` ({', '.join(sorted(SENT))}; overrides as a "
            "mapping); "
            "compile it with this version (`make compile`), or leave out --pipeline."
        )


def _execute(
    pipeline: Path, config: RunConfig, plans: Plans, overrides: Sequence[str], folder: Path, store: Store
) -> tuple[str, str | None]:
    """The URI of the evaluation, and the reference of the model (None: rejected)."""
    root = folder / "kfp"
    shutil.rmtree(root, ignore_errors=True)  # pages of the previous run; the artifacts are in the store
    tasks = root / "tasks"
    tasks.mkdir(parents=True)
    arguments = {
        "profile": config.profile,
        "overrides": override_mapping(overrides),
        "run_name": config.register_model.name,
        "store": config.store,
        **one_machine(config.profile),
    }
    nothing = {step for step, count in plans.counts.items() if not count}
    text = for_one_machine(pipeline.read_text("utf-8"), nothing)
    request = {
        "pipeline": text,
        "arguments": arguments,
        "folder": _as_utf8(root),
    }
    before = set(store.keys(FAILURES))
    with (folder / EXECUTOR_LOG).open("w", encoding="utf-8") as raw:
        narrator = Narrator(raw, Course(task_counts(text, plans)))
        environment = {**os.environ, TASKS: str(tasks), "PYTHONUTF8": "1", **for_children()}
        try:
            code = _run_apart(request, narrator, environment)
        finally:
            narrator.close()
            shutil.rmtree(tasks, ignore_errors=True)
    evaluation = _output(root, "evaluate")
    if code or evaluation is None:
        raise _failure(store, before, folder, narrator, code)
    return evaluation, _output(root, "register")


def _run_apart(request: dict[str, Any], narrator: Narrator, environment: dict[str, str]) -> int:
    """The exit code of KFP's runner. Whatever ends this function (an error, a signal), no process of the run is left.
    Neither the runner nor a step imports from the current folder (a checkout's `docker/` is not a Python package)."""
    environment = {**environment, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-u", "-m", "comface.run.kfp_runner"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        env=environment, text=True, encoding="utf-8", errors="replace", bufsize=1,
    ) as runner:  # fmt: skip
        assert runner.stdin is not None
        assert runner.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended at once; its exit code and output show why
                runner.stdin.write(json.dumps(request) + "\n")
                runner.stdin.flush()
            for line in runner.stdout:
                narrator.write(line)
            return runner.wait()
        finally:
            end_group(runner.pid)
            for line in runner.stdout:
                narrator.write(line)


def _output(root: Path, task: str) -> str | None:
    """The output of a task, from the runner's files: a pipeline with an exit handler cannot return values."""
    for path in root.glob(f"*/{task}/executor_output.json"):
        return str(json.loads(path.read_text("utf-8"))["parameterValues"]["Output"])
    return None


def _failure(store: Store, before: set[str], folder: Path, narrator: Narrator, code: int) -> ComfaceError:
    """The error of the failed step, from its record; without a record, as far as it is visible from outside."""
    for key in sorted(set(store.keys(FAILURES)) - before):
        found = recorded_failure(store, key.split("/")[1])
        if found:
            return found
    log = folder / LOG
    if code == FAILED and narrator.sentences and narrator.exit_codes:
        return error_of(narrator.exit_codes[0], narrator.sentences[0])
    killed = code if code < 0 else -narrator.exit_codes[0] + 128 if narrator.exit_codes else 0
    if killed < 0:
        name = signal.Signals(-killed).name
        return TryAgain(
            f"The run stopped because {name} ended one of its processes (the kernel does this when memory is short); "
            "free some memory, then run the same command to resume."
        )
    what = (
        f"the run stopped with {narrator.exception}"
        if narrator.exception
        else "the run stopped without an error message"
    )
    return ComfaceError(f"This is a defect of comface: {what}; please report it with '{log}'.")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuses a second run in the same folder, which would do the same work twice."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TryAgain(f"Another run is active in '{folder}'; wait for it, or name another --output.") from None
        yield
