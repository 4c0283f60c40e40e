"""The compiled pipeline is what its source says, its parameters explain themselves, imports stay where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from comface.execution import RETRIES_END_S
from comface.run.one_machine import for_one_machine

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "components" / "comface"
COMPILED = ROOT / "pipelines" / "comface.yaml"

PARAMETERS = {
    "profile": "paper", "overrides": {}, "run_name": "comface", "store": "", "weights": "", "data": {}, "tasks": [],
    "methods": [], "nodes": 4.0, "gpus_per_node": 8.0, "price_per_gpu_hour": 0.0,
}  # fmt: skip
"""Schedules and scripts name these: a parameter that goes breaks them."""

MAY_IMPORT_KFP = {"plan/finish.py", "run/kfp_runner.py"}
LIGHT = (
    "cli.py", "errors.py", "seeds.py", "config/", "files/", "runtime/", "store/", "artifacts/", "execution/", "tasks/",
    "weights/fetched.py", "weights/wheels.py", "weights/fetch.py", "cluster/", "commands/", "plan/", "run/", "submit/",
    "doctor/", "datasets/", "tracks/tar.py", "tracks/composition.py", "tracks/located.py", "models/registry.py",
    "models/references.py",
    "register/gate.py", "register/step.py", "shard/", "pretrain/pairs.py", "pretrain/curriculum.py",
    "transfer/folds.py", "transfer/pairs.py", "evaluate/",
)  # fmt: skip
"""Modules that also run where no tensor is: they must start in a moment."""
HEAVY = ("datasets/rehearsal/",)
"""Among them, what draws faces."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def imported(nodes: Iterator[ast.AST] | list[ast.stmt]) -> set[str]:
    """Top-level names of the packages that these statements import."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def component_inputs() -> dict[str, dict[str, object]]:
    return documents()[0]["root"]["inputDefinitions"]["parameters"]


def test_compiling_the_source_gives_the_committed_file_byte_for_byte(tmp_path: Path) -> None:
    code = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('compiled_pipeline', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "module.compile_pipeline(pathlib.Path(sys.argv[2]))\n"
    )
    again = tmp_path / "comface.yaml"
    source = ROOT / "pipelines" / "comface.py"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, source, again], check=True, capture_output=True)
    assert again.read_bytes() == COMPILED.read_bytes()


def test_the_parameters_and_their_defaults_are_those_that_were_decided() -> None:
    assert {name: parameter["defaultValue"] for name, parameter in component_inputs().items()} == PARAMETERS


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_has_a_description_that_is_a_sentence(name: str) -> None:
    description = component_inputs()[name]["description"]
    assert description[0].isupper()
    assert description.endswith(".")
    assert len(description) > 20


def test_no_parameter_could_carry_a_credential() -> None:
    assert not re.search(r"(?i)secret|password|token|access.?key|credential", " ".join(component_inputs()))


def test_every_image_is_named_by_a_version_never_by_latest() -> None:
    text = COMPILED.read_text()
    images = re.findall(r"^\s*image: (\S+)$", text, re.MULTILINE)
    assert images
    assert all(
        re.fullmatch(r"[\w./-]*(:\d+/)?[\w./-]*python[\w./-]*(:\d[\w.]*|@sha256:[0-9a-f]{64})", image)
        for image in images
    )
    assert "latest" not in text


def test_parts_trainings_data_sets_features_and_transfers_fan_out_and_an_exit_handler_tells_the_end() -> None:
    specification = documents()[0]
    dags = [specification["root"], *specification["components"].values()]
    tasks = {name: task for dag in dags for name, task in dag.get("dag", {}).get("tasks", {}).items()}
    over = {task["parameterIterator"]["itemInput"] for task in tasks.values() if "parameterIterator" in task}
    assert len(over) == 6
    for what in ("parts", "shard", "datasets", "complete-Output", "complete-2-Output", "complete-3-Output"):
        assert any(what in item for item in over)
    assert tasks["finish"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


# What a cluster makes of each task (the local runner passes over it)

EVERY_TASK = {
    "align", "complete", "complete-2", "complete-3", "evaluate", "features", "finetune", "finish", "gate", "pretrain",
    "register", "resolve", "shard", "synthesize", "transfer",
}  # fmt: skip

USES_GPU = {"synthesize": "synthesize_gpus", "features": "features_gpus", "finetune": "finetune_gpus"}
"""Steps that run on a GPU, and the output of resolve that says how many."""


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(COMPILED.read_text()))


def tasks() -> dict[str, dict[str, Any]]:
    pipeline = documents()[0]
    dags = [component.get("dag", {}) for component in (pipeline["root"], *pipeline["components"].values())]
    return {name: task for dag in dags for name, task in dag.get("tasks", {}).items()}


def test_every_task_gets_the_stores_credentials_from_one_secret_that_may_be_absent() -> None:
    executors = documents()[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {name.removeprefix("exec-") for name in executors} == EVERY_TASK
    for name, executor in executors.items():
        secrets = executor["secretAsEnv"]
        assert all((each["secretName"], each["optional"]) == ("comface-store", True) for each in secrets)
        names = [(entry["secretKey"], entry["envVar"]) for each in secrets for entry in each["keyToEnv"]]
        assert {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= {key for key, _ in names}
        assert all(key == variable for key, variable in names)
        signs = any(key == "COMFACE_SIGNING_KEY" for key, _ in names)
        assert signs == (name == "exec-register"), "no other step can sign a model"


def test_every_task_is_retried_within_the_time_in_which_a_failure_for_good_is_remembered() -> None:
    for name in EVERY_TASK:
        policy = tasks()[name]["retryPolicy"]
        wait_s = float(policy["backoffDuration"].rstrip("s"))
        total_s = sum(wait_s * policy["backoffFactor"] ** attempt for attempt in range(policy["maxRetryCount"]))
        assert 60 < total_s < RETRIES_END_S / 2, name


def test_every_pod_asks_for_no_more_than_it_may_use_and_only_rendering_and_features_ask_for_gpus() -> None:
    executors = documents()[0]["deploymentSpec"]["executors"]
    for name in EVERY_TASK - {"pretrain"}:  # its job is sized by the configuration
        sizes = executors[f"exec-{name}"]["container"]["resources"]
        assert 0 < sizes["cpuRequest"] <= sizes["cpuLimit"]
        assert 0 < sizes["memoryRequest"] <= sizes["memoryLimit"]
        assert ("accelerator" in sizes) == (name in USES_GPU), name
    for name, output in USES_GPU.items():
        accelerator = executors[f"exec-{name}"]["container"]["resources"]["accelerator"]
        assert accelerator["resourceCount"] == f"{{{{$.inputs.parameters['pipelinechannel--resolve-{output}']}}}}"


def test_a_step_in_a_loop_reads_only_its_item_and_what_comes_from_outside_the_exit_handler() -> None:
    """KFP's local runner replaces every other input by the item."""
    for name, task in tasks().items():
        if "parameterIterator" in task:
            made_beside_it = {
                value["taskOutputParameter"]["producerTask"]
                for value in task["inputs"]["parameters"].values()
                if "taskOutputParameter" in value
            }
            assert len(made_beside_it) <= 1, f"{name} reads more than its items: {made_beside_it}"


def test_kfps_local_runner_takes_the_file_with_both_its_documents() -> None:
    code = (
        "import sys\nfrom kfp import components, local\nlocal.init(local.SubprocessRunner(use_venv=False))\n"
        "loaded = components.load_component_from_file(sys.argv[1])\n"
        "print(len(loaded.platform_spec.platforms), len(loaded.pipeline_spec.components))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, COMPILED], capture_output=True, text=True, check=True
    )
    platforms, components = map(int, done.stdout.split())
    assert (platforms, components) == (1, len(documents()[0]["components"]))


def test_loops_are_bounded_so_that_a_run_does_not_take_the_whole_cluster() -> None:
    limits = [task["iteratorPolicy"]["parallelismLimit"] for task in tasks().values() if "iteratorPolicy" in task]
    assert sorted(limits) == [1, 8, 16, 16, 16, 32]


def test_on_one_machine_what_is_for_pods_is_left_out_and_nothing_else() -> None:
    ours, compiled = yaml.safe_load(for_one_machine(COMPILED.read_text())), documents()[0]
    assert "retryPolicy" not in yaml.safe_dump(ours)
    assert "memoryLimit" not in yaml.safe_dump(ours)
    assert yaml.safe_dump(ours).count('mktemp -d -p "$COMFACE_TASKS"') == len(EVERY_TASK), "not into /tmp"
    for component in (compiled["root"], *compiled["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    for executor in compiled["deploymentSpec"]["executors"].values():
        executor["container"].pop("resources", None)
    for pipeline in (ours, compiled):
        for executor in pipeline["deploymentSpec"]["executors"].values():
            assert "kfp.dsl.executor_main" in executor["container"]["command"].pop(2)
    assert ours == compiled


def test_on_one_machine_a_loop_that_has_nothing_to_do_is_left_out_with_what_makes_its_items() -> None:
    ours = yaml.safe_load(for_one_machine(COMPILED.read_text(), {"finetune", "features"}))
    dag = ours["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    loops = [task["taskInfo"]["name"] for task in dag.values() if "parameterIterator" in task]
    assert sorted(loops) == [
        "For each data set", "For each linear evaluation", "For each part of the faces", "For each pre-training",
    ]  # fmt: skip
    assert [name for name in dag if name.startswith("complete")] == ["complete-2"]
    assert dag["complete-2"]["inputs"]["parameters"]["features"] == {"runtimeValue": {"constant": []}}
    assert dag["evaluate"]["inputs"]["parameters"]["finetuned"] == {"runtimeValue": {"constant": []}}
    producers = {name for task in dag.values() for name in task.get("dependentTasks", ())}
    assert producers <= dag.keys()


def test_kfp_is_imported_only_by_components_and_by_what_runs_or_submits() -> None:
    users = {name for name, tree in modules() if "kfp" in imported(ast.walk(tree))}
    assert users <= MAY_IMPORT_KFP | {name for name in users if name.endswith("/component.py")}
    at_start = {name for name, tree in modules() if "kfp" in imported(tree.body)}
    assert at_start <= {"plan/finish.py"} | {name for name in users if name.endswith("/component.py")}


@pytest.mark.parametrize("heavy", ["torch", "torchvision", "timm", "kfp"])
def test_modules_that_also_run_without_tensors_do_not_load_them_at_start(heavy: str) -> None:
    loaded = {name for name, tree in modules() if heavy in imported(tree.body)}
    components = {name for name in loaded if name.endswith("component.py") or name == "plan/finish.py"}
    assert [name for name in sorted(loaded - components) if name.startswith(LIGHT) and not name.startswith(HEAVY)] == []


@pytest.mark.parametrize("arguments", [["--help"], ["config"], ["models", "list"], ["run", "--profile", "desk"]])
def test_light_commands_start_without_torch_and_kfp(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom comface.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('loaded', *sorted({'torch', 'kfp', 'timm', 'sklearn', 'matplotlib'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded"
