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
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from comface.artifacts.facts import EvaluationFacts
from comface.artifacts.manifest import Artifact, open_artifact
from comface.config.names import quoted
from comface.errors import ComfaceError, ConfigurationError, TryAgain, error_of
from comface.execution import FAILURES, recorded_failure
from comface.execution.pages import FIRST, filled
from comface.files import make_private_folder, write_file
from comface.launch.local import local_launcher
from comface.models.registry import DEFAULT_NAME, Registry, resolve_model
from comface.models.signing import key_of_environment
from comface.plan.configuration import RunConfig, config_yaml, resolve
from comface.plan.parameters import override_mapping
from comface.plan.reuse import told
from comface.plan.step import Plans, plan_run
from comface.register.champion import champion_reference
from comface.register.decision import PROMOTE, GateDecision
from comface.register.report import REPORT
from comface.register.step import GATE_REVISION, gate
from comface.run.first_comparison import WHO, FirstComparison, first_comparison
from comface.run.folders import begin
from comface.run.kfp_runner import FAILED, end_group
from comface.run.narrator import Course, Narrator
from comface.runtime.extras import check_extras
from comface.runtime.logs import HIDDEN, copied_to, for_children, labelled
from comface.store import Store, open_store
from comface.submit.package import read_package

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
SENT = {"profile", "overrides", "run_name", "store", "nodes", "gpus_per_node"}
logger = logging.getLogger(__name__)
LOG, EXECUTOR_LOG = "run.log", "executor.log"
TASKS = "COMFACE_TASKS"
"""Environment variable: the folder for the temporary files of the steps' shells."""


def one_machine(profile: str) -> dict[str, int]:
    """Where a profile trains on this machine, unless overrides say otherwise: on its GPUs if it is made for one node,
    else on the CPU."""
    own = resolve(profile).pretrain
    return {"nodes": 1, "gpus_per_node": own.gpus_per_node if own.nodes == 1 else 0}


@dataclass(frozen=True)
class Outcome:
    """The results of a run. `model` is None if the gate rejected it."""

    report: Path
    verdict: str
    decision: GateDecision
    model: str | None
    comparison: FirstComparison | None
    seconds: float
    rehearsal: bool = False
    """Whether a task of the model was trained on generated faces."""
    store: str = ""
    """The store, if it is not the one that `comface compare` reads."""
    champion: str = ""
    """Reference of the champion after the run; empty if there is none."""

    def lines(self) -> list[str]:
        lines = [f"Done in {self.seconds / 60:.1f} minutes. {self.verdict}", f"  report      {self.report}"]
        reasons = [f"    - {reason}" for reason in self.decision.reasons]
        if self.model is None:
            return [*lines, f"  model       not registered. {self.decision.sentence}", *reasons]
        if self.model == self.champion:
            lines.append(f"  model       {self.model}, the champion")
        else:
            lines += [f"  model       {self.model}. {self.decision.sentence}", *reasons]
            lines.append(f"    `comface models promote {self.model}` makes it the champion.")
        if self.comparison:
            lines.append(f"  comparison  {self.comparison.picture}, {WHO}")
            lines += [f"              {line}" for line in self.comparison.lines()]
        option = self._option(self.model)
        option += f" --store {shlex.quote(self.store)}" if self.store else ""
        caveat = " (a rehearsal: its figures say nothing about people)" if self.rehearsal else ""
        return [*lines, f"Try it on two photos of one person: comface compare BEFORE.jpg AFTER.jpg{option}{caveat}"]

    def _option(self, model: str) -> str:
        """What `comface compare` needs to use this model, if it is not the default."""
        if self.champion and self.champion != model:
            return f" --model {model}"
        name = model.partition("@")[0]
        return "" if name == DEFAULT_NAME else f" --model {name}"


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
    with _alone(folder), _begun(folder, config), copied_to(folder / LOG), labelled("run"), _end_in_the_log():
        store = open_store(config.store)
        if sentence := told(config):
            logger.info(sentence)
        local_launcher(config.pretrain.nodes, config.pretrain.gpus_per_node, lambda: None)
        plans = plan_run(config, "")  # raises problems of the configuration before the runner starts
        key_of_environment()
        if config.registry.mirrors:
            check_extras("registry.mirrors", "registries")
        evaluation, model = _execute(pipeline, config, plans, overrides, folder, store)
        outcome = _collect(evaluation, model, config, store, folder, started)
        for line in outcome.lines():
            logger.info(line.strip(), extra=HIDDEN)
        return outcome


@contextlib.contextmanager
def _begun(folder: Path, config: RunConfig) -> Iterator[None]:
    begin(folder, config_yaml(config))
    yield


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


def task_counts(text: str, plans: Plans) -> dict[str, int]:
    """Step -> how many of its tasks the pipeline `text` will run; the plans give the length of loops."""
    pipeline = next(yaml.load_all(text, LOADER))
    components = pipeline.get("components", {})
    counts: dict[str, int] = {}

    def count(component: dict[str, Any]) -> None:
        if "executorLabel" in component:
            name = step_of(component["executorLabel"])
            counts[name] = counts.get(name, 0) + plans.counts.get(name, 1)
        for task in component.get("dag", {}).get("tasks", {}).values():
            count(components.get(task.get("componentRef", {}).get("name"), {}))

    count(pipeline.get("root", {}))
    return counts


def step_of(executor: str) -> str:
    """The compiler numbers the tasks of a component that is used several times."""
    return re.sub(r"-\d+$", "", executor.removeprefix("exec-"))


def for_one_machine(text: str, nothing: Set[str] = frozenset()) -> str:
    """The compiled pipeline without the loops of the steps `nothing`, which this run does not need, and without the
    settings for a cluster's pods: requests (the runner warns about each), secrets, and retries. On one machine a retry
    would fail again, and the runner would wait 140 s before it reports the error. A person can start the run again, and
    it resumes.

    Each step's shell creates its folder where the run can remove it, not in /tmp, and prints when the step starts and
    its exit code: the runner prints no exit code, and loses lines of parallel steps."""
    pipeline = next(yaml.load_all(text, LOADER))
    _drop_loops(pipeline, nothing)
    for component in (pipeline.get("root", {}), *pipeline.get("components", {}).values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    for name, executor in pipeline.get("deploymentSpec", {}).get("executors", {}).items():
        container = executor.get("container", {})
        container.pop("resources", None)
        container["command"] = [_for_shell(word, step_of(name)) for word in container.get("command", [])]
    return str(yaml.dump(pipeline, Dumper=DUMPER, sort_keys=False))


def _drop_loops(pipeline: dict[str, Any], steps: Set[str]) -> None:
    """Removes the loops over these steps, and what only makes their items. Whoever collects their results gets an empty
    list."""
    components = pipeline.get("components", {})
    loops = {
        name
        for name, component in components.items()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if components[task["componentRef"]["name"]].get("executorLabel", "").removeprefix("exec-") in steps
    }
    for component in (pipeline.get("root", {}), *components.values()):
        tasks = component.get("dag", {}).get("tasks", {})
        dropped = {name for name, task in tasks.items() if task["componentRef"]["name"] in loops}
        made_items = set[str]().union(*(_producers(tasks.pop(name)) for name in dropped))
        for task in tasks.values() if dropped else ():
            task["dependentTasks"] = [name for name in task.get("dependentTasks", ()) if name not in dropped]
            for name, value in task.get("inputs", {}).get("parameters", {}).items():
                if value.get("taskOutputParameter", {}).get("producerTask") in dropped:
                    task["inputs"]["parameters"][name] = {"runtimeValue": {"constant": []}}
        for name in made_items - set[str]().union(*map(_producers, tasks.values())):
            del tasks[name]


def _producers(task: dict[str, Any]) -> set[str]:
    values = task.get("inputs", {}).get("parameters", {}).values()
    return {value["taskOutputParameter"]["producerTask"] for value in values if "taskOutputParameter" in value}


def _for_shell(word: str, step: str) -> str:
    if not word.startswith("program_path=$(mktemp -d)"):
        return word
    placed = word.replace("mktemp -d", f'mktemp -d -p "${TASKS}"', 1)
    said = f"comface run: {step}"  # as the narrator reads it
    start, end = f'echo "{said} starts"; code=0', f'echo "{said} ended with exit code $code"; exit "$code"'
    return f"{start}\n{placed.rstrip()} || code=$?\n{end}\n"


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


def _collect(uri: str, model: str | None, config: RunConfig, store: Store, folder: Path, started: float) -> Outcome:
    evaluation, report = open_artifact(uri, "evaluation"), folder / REPORT
    registry = Registry(store, config.register_model.name)
    recorded = _decision(registry, model, evaluation) if model else None
    if recorded is None:
        _, recorded = gate(store, config.register_model, evaluation)
    decision = GateDecision.of(recorded.read_json("decision.json"))
    comparison = None
    if model is not None:
        comparison = first_comparison(resolve_model(store, model)[1], model, folder, config.rehearse.seed)
    page = recorded.read(REPORT).decode()
    write_file(report, filled(page, FIRST, comparison.section() if comparison else "").encode(), private=True)
    facts, champion = evaluation.facts_as(EvaluationFacts), champion_reference(registry)
    seconds, rehearsal = time.monotonic() - started, bool(facts.rehearsal)
    usual = Path("runs", "laptop", "store").absolute().as_uri()
    place = "" if config.store == usual else config.store
    return Outcome(report, facts.verdict, decision, model, comparison, seconds, rehearsal, place, champion)


def _decision(registry: Registry, model: str, evaluation: Artifact) -> Artifact | None:
    """The gate's decision with which a version was registered; None if it was made from another evaluation, or if the
    version became champion in spite of it, by a later decision."""
    version = next((each for each in registry.versions() if each.reference == model), None)
    recorded = registry.decision(version) if version else None
    if recorded is None or recorded.manifest.revisions != {"gate": GATE_REVISION}:
        return None
    if recorded.facts["outcome"] != PROMOTE and registry.champion() == version:
        return None
    return recorded if recorded.manifest.inputs["evaluation"].sha256 == evaluation.sha256 else None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuses a second run in the same folder, which would do the same work twice."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TryAgain(f"Another run is active in '{folder}'; wait for it, or name another --output.") from None
        yield
