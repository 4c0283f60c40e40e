"""Images by digest in the compiled pipeline, and which steps may do without torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from comface.errors import ConfigurationError
from comface.execution.container_image import GPU_IMAGE, IMAGE, locked

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "registry.example:5000/team"
LOCK = "# written by make images\n" + "".join(
    f"{name} {REGISTRY}/{name}@sha256:{digit * 64}\n"
    for name, digit in (("comface-python", "a"), ("comface-gpu-python", "b"), ("comface-serving-python", "c"))
)


def executors(pipeline: Path) -> dict[str, dict[str, object]]:
    found = next(yaml.safe_load_all(pipeline.read_text()))["deploymentSpec"]["executors"]
    return {name: executor["container"] for name, executor in found.items()}


def test_an_image_is_named_by_version_without_a_lock_and_by_digest_with_one(tmp_path: Path) -> None:
    lock = tmp_path / "images.lock"
    assert re.fullmatch(r"comface-python:\d+\.\d+\.\d+", locked(IMAGE, lock))
    lock.write_text(LOCK)
    assert locked(GPU_IMAGE, lock) == f"{REGISTRY}/comface-gpu-python@sha256:{'b' * 64}"


@pytest.mark.parametrize("text", ["", "comface-python registry.example/comface-python:0.1.0\n", LOCK + "half a li"])
def test_a_lock_that_pins_nothing_is_refused_and_says_what_to_do(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "images.lock"
    lock.write_text(text)
    with pytest.raises(ConfigurationError, match="make images"):
        locked(IMAGE, lock)


def test_with_a_lock_the_same_pipeline_is_compiled_with_every_image_by_digest(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "components" / "comface", tmp_path / "components" / "comface")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "images.lock").write_text(LOCK)
    (tmp_path / "pipelines").mkdir()
    script = Path(shutil.copy(ROOT / "pipelines" / "comface.py", tmp_path / "pipelines"))
    own = {**os.environ, "PYTHONPATH": str(tmp_path / "components")}
    subprocess.run([sys.executable, "-W", "ignore", script], check=True, capture_output=True, env=own)
    compiled = script.with_suffix(".yaml")
    images = {str(container["image"]) for container in executors(compiled).values()}
    assert all(re.fullmatch(rf"{REGISTRY}/comface-(gpu-)?python@sha256:[0-9a-f]{{64}}", image) for image in images)
    committed = executors(ROOT / "pipelines" / "comface.yaml")
    without = [{**container, "image": ""} for container in committed.values()]
    assert [{**container, "image": ""} for container in executors(compiled).values()] == without


def test_steps_in_the_small_image_start_with_the_packages_that_it_has() -> None:
    containers = executors(ROOT / "pipelines" / "comface.yaml").values()
    small = [container for container in containers if "comface-gpu-python" not in str(container["image"])]
    sources = "\n".join(str(word) for container in small for word in container["command"])  # type: ignore[attr-defined]
    modules = sorted(set(re.findall(r"from (comface\.[\w.]+) import", sources)))
    assert {"comface.evaluate.from_plan", "comface.register.from_plan"} <= set(modules)
    code = (
        "import importlib, json, sys\n"
        "class Absent:\n"
        "    names = set(json.loads(sys.argv[1]))\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in self.names: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
    )
    absent = json.dumps(sorted(absent_modules()))
    subprocess.run([sys.executable, "-c", code, absent, *modules, "matplotlib.pyplot"], check=True, capture_output=True)


def absent_modules() -> set[str]:
    """Top-level modules of this environment that the small image lacks, by the distributions that bring them."""
    lines = (ROOT / "docker" / "requirements-cpu.txt").read_text().splitlines()
    there = {line.partition("==")[0] for line in lines if "==" in line} | {"comface"}
    brought = metadata.packages_distributions().items()
    names = {module for module, by in brought if not {re.sub("[-_.]+", "-", name).lower() for name in by} & there}
    assert {"torch", "onnxruntime", "sklearn"} <= names
    return names
