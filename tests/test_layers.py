"""Who may import whom: the contracts in pyproject.toml hold, and each of them catches an import that breaks it."""

import graphlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = "A package imports only packages below it, and no step imports another"
CIRCLES = "No circle, at any depth"
CLUSTER = "What steps share knows neither Kubeflow Pipelines nor Kubernetes"
COMPONENTS = "Only components and the commands that run or submit know Kubeflow Pipelines"
TENSORS = "Settings, artifacts, the store and the cluster know no tensors"

BREAKS = {
    "a noun imports a step": ("artifacts/sealed.py", "from comface.transfer import folds", LAYERS),
    "a step imports another, within a function": (
        "shard/split.py",
        "def f() -> None:\n    from comface.pretrain import losses",
        LAYERS,
    ),
    "a package that no layer names": ("utils/__init__.py", "NOTHING = 0", LAYERS),
    "a circle within a package": ("config/canonical.py", "from comface.config import names, section", CIRCLES),
    "a noun imports kfp": ("tracks/tar.py", "from kfp import dsl", CLUSTER),
    "a step imports kfp outside its component": ("shard/step.py", "from kfp import dsl", COMPONENTS),
    "a setting imports torch": ("config/section.py", "import torch", TENSORS),
}


def lint(components: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        capture_output=True,
        text=True,
        cwd=components,
        env={**os.environ, "PYTHONPATH": str(components), "COLUMNS": "200", "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    components = tmp_path_factory.mktemp("components")
    ignore = shutil.ignore_patterns("__pycache__", "*.yaml", "*.json")
    shutil.copytree(ROOT / "components" / "comface", components / "comface", ignore=ignore)
    return components


def test_the_contracts_hold(copied: Path) -> None:
    done = lint(copied)
    assert done.returncode == 0, done.stdout + done.stderr
    for contract in (LAYERS, CIRCLES, CLUSTER, COMPONENTS, TENSORS):
        assert f"{contract} KEPT" in done.stdout


@pytest.mark.parametrize("case", BREAKS)
def test_an_import_that_breaks_a_contract_is_caught(copied: Path, case: str) -> None:
    name, line, contract = BREAKS[case]
    path = copied / "comface" / name
    before = path.read_text("utf-8") if path.is_file() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{before or ''}\n\n{line}\n", "utf-8")
    try:
        done = lint(copied)
    finally:
        if before is None:
            shutil.rmtree(path.parent)
        else:
            path.write_text(before, "utf-8")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout


def in_order(edges: set[tuple[str, str]]) -> list[str]:
    """Modules, each after all that it imports. Raises CycleError, which names the circle."""
    imports: dict[str, set[str]] = {}
    for importer, imported in edges:
        imports.setdefault(importer, set()).add(imported)
    return list(graphlib.TopologicalSorter(imports).static_order())


def test_no_module_imports_itself_through_others() -> None:
    """Also not a package through a module inside it, which import-linter's contract of siblings does not see."""
    graph = grimp.build_graph("comface", cache_dir=None)
    edges = {(name, other) for name in graph.modules for other in graph.find_modules_directly_imported_by(name)}
    assert len(in_order(edges)) > 250
    with pytest.raises(graphlib.CycleError, match="nodes are in a cycle"):
        in_order(edges | {("comface.errors", "comface.plan.checks")})
