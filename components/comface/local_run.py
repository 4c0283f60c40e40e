"""A whole run on this machine: the compiled pipeline through KFP's local runner, shown as a person wants to see it.

In: pipelines/comface.yaml (the file that a cluster gets; only what is for pods is left out), a configuration, a folder.
Out: in that folder report.html, comparison.png, run.log and the store. A run that was interrupted, by whatever, goes on
when started again: finished artifacts are found by their address, the unfinished step goes on from its checkpoints.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from comface.config import RunConfig
from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.execution import FAILURES, recorded_failure
from comface.first_comparison import compare_first_pair
from comface.manifest import open_artifact
from comface.narrator import Narrator
from comface.register.registry import DEFAULT_NAME, resolve_model
from comface.register.step import decision_markdown, gate
from comface.resolve.step import plan_run
from comface.store import Store, open_store


@dataclass(frozen=True)
class Outcome:
    """Where a run's results lie. `model` is None when the gate refused it."""

    report: Path
    verdict: str
    decision: str
    model: str | None
    comparison: Path | None
    seconds: float
    rehearsal: bool = False
    """Whether a task of the model was learned from generated faces."""

    def lines(self) -> list[str]:
        lines = [f"Done in {self.seconds / 60:.1f} minutes. {self.verdict}", f"  report      {self.report}"]
        if self.model is None:
            return [*lines, "  model       not registered, the gate refused it:", self.decision]
        lines.append(f"  model       {self.model}")
        if self.comparison:
            lines.append(f"  comparison  {self.comparison}")
        name = self.model.partition("@")[0]
        option = "" if name == DEFAULT_NAME else f" --model {name}"
        return [
            *lines,
            f"Try it on two photos of one person: comface compare BEFORE.jpg AFTER.jpg{option}{self.caveat}",
        ]

    @property
    def caveat(self) -> str:
        """The last line carries it too: what a person reads last."""
        return " (a rehearsal: its figures say nothing about people)" if self.rehearsal else ""


def find_pipeline(path: Path | None) -> Path:
    """The compiled pipeline: as given, in this folder, or beside the package's sources."""
    places = [path] if path else [Path("pipelines/comface.yaml"), Path(__file__).parents[2] / "pipelines/comface.yaml"]
    for place in places:
        if place.is_file():
            return place
    raise ConfigurationError(f"There is no compiled pipeline at '{places[0]}'; name it with --pipeline.")


def run_pipeline(pipeline: Path, config: RunConfig, overrides: Sequence[str], folder: Path, verbose: bool) -> Outcome:
    """Run `pipeline` with `config` (its first step resolves the same from profile and `overrides`).

    Raises what a step failed with: the same sentence and exit code."""
    started = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The folder '{folder}' cannot be made ({error.strerror}); name another.") from None
    with _alone(folder):
        store = open_store(config.store)
        plan_run(config, "")  # what is wrong with the configuration is said before the runner starts
        evaluation, model = _execute(pipeline, config, overrides, folder, verbose, store)
        if evaluation is None:
            raise TryAgain(f"The run left no evaluation; '{folder / 'run.log'}' says why. Run it again to go on.")
        return _collect(evaluation, model, config, store, folder, started)


def _execute(
    pipeline: Path, config: RunConfig, overrides: Sequence[str], folder: Path, verbose: bool, store: Store
) -> tuple[str | None, str | None]:
    """The URI of the evaluation, and the reference of the model (None: refused)."""
    from kfp import components, local

    root = folder / "kfp"
    shutil.rmtree(root, ignore_errors=True)  # pages of the run before; the artifacts themselves are in the store
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    arguments = {
        "profile": config.profile,
        "overrides": "\n".join(overrides),
        "run_name": config.register_model.name,
        "store": config.store,
        "nodes": 1,
        "gpus_per_node": 0,
    }
    before = set(store.keys(FAILURES))
    with (folder / "run.log").open("w") as log, contextlib.redirect_stdout(Narrator(log, sys.stderr, verbose)):
        try:
            components.load_component_from_text(for_one_machine(pipeline.read_text()))(**arguments)
        except RuntimeError as error:
            raise _failure(store, before, folder, error) from None
    return _output(root, "evaluate"), _output(root, "register")


def for_one_machine(text: str) -> str:
    """The compiled pipeline without what is for a cluster's pods: requests (the runner warns of each), secrets, and
    retries. Here a retry meets what the first attempt met, while a person waits: the runner would keep the backoff,
    140 s, before it told why. Started again by hand, a run goes on where it was."""
    pipeline = next(yaml.safe_load_all(text))
    for component in (pipeline.get("root", {}), *pipeline.get("components", {}).values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    for executor in pipeline.get("deploymentSpec", {}).get("executors", {}).values():
        executor.get("container", {}).pop("resources", None)
    return yaml.safe_dump(pipeline, sort_keys=False)


def _output(root: Path, task: str) -> str | None:
    """What a task returned, from the runner's files: a pipeline with an exit handler cannot return values itself."""
    for path in root.glob(f"*/{task}/executor_output.json"):
        return str(json.loads(path.read_text())["parameterValues"]["Output"])
    return None


def _failure(store: Store, before: set[str], folder: Path, error: Exception) -> ComfaceError:
    """The error of the step that failed, as the step recorded it."""
    for key in sorted(set(store.keys(FAILURES)) - before):
        found = recorded_failure(store, key.split("/")[1])
        if found:
            failure = ComfaceError(found[0])
            failure.exit_code = found[1]
            return failure
    return TryAgain(f"The run stopped ({error}); '{folder / 'run.log'}' says why. Run the same command to go on.")


def _collect(uri: str, model: str | None, config: RunConfig, store: Store, folder: Path, started: float) -> Outcome:
    evaluation = open_artifact(uri, "evaluation")
    report = folder / "report.html"
    report.write_bytes(evaluation.read("report.html"))
    decision, comparison = "", None
    if model is None:
        decision = decision_markdown(gate(store, config.register_model, evaluation)[0])
    else:
        comparison = compare_first_pair(evaluation, resolve_model(store, model)[1], model, folder)
    seconds, rehearsal = time.monotonic() - started, bool(evaluation.facts["rehearsal"])
    return Outcome(report, evaluation.facts["verdict"], decision, model, comparison, seconds, rehearsal)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs in one folder would do the same work twice; the second is told to wait."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TryAgain(f"Another run is under way in '{folder}'; wait for it, or name another --output.") from None
        yield
