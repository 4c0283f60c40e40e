"""The compiled pipeline as one machine runs it: without the settings for pods and the loops that have nothing to do.

In: the pipeline as YAML, and how many tasks each step has. Out: the pipeline for KFP's local runner.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any

import yaml

from comface.plan.configuration import resolve
from comface.plan.step import Plans

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
TASKS = "COMFACE_TASKS"
"""Environment variable: the folder for the temporary files of the steps' shells."""


def one_machine(profile: str) -> dict[str, int]:
    """Where a profile trains on this machine, unless overrides say otherwise: on its GPUs if it is made for one node,
    else on the CPU."""
    own = resolve(profile).pretrain
    return {"nodes": 1, "gpus_per_node": own.gpus_per_node if own.nodes == 1 else 0}


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
