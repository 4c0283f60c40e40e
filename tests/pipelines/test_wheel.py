"""The package as it is installed elsewhere: its wheel brings the compiled pipeline, and runs from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny_run import ROOT, TINY, comface, sets

from comface.errors import ConfigurationError
from comface.local_run import find_pipeline

COMPILED = ROOT / "pipelines" / "comface.yaml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools writes beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "components", source / "components", symlinks=True, ignore=ignored)
    (source / "pipelines").mkdir()
    for name in ("pipelines/comface.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, source]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_compiled_pipeline(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("comface/comface.yaml") == COMPILED.read_bytes()


def test_a_pipeline_in_the_current_folder_is_taken_only_when_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipelines").mkdir()
    foreign = Path("pipelines", "comface.yaml")
    (tmp_path / foreign).write_text("foreign")
    monkeypatch.chdir(tmp_path)
    assert find_pipeline(None).read_bytes() == COMPILED.read_bytes()
    assert find_pipeline(foreign).read_text() == "foreign"
    with pytest.raises(ConfigurationError, match=r"no compiled pipeline at 'absent\.yaml'; name it with --pipeline\."):
        find_pipeline(Path("absent.yaml"))


@pytest.mark.system
def test_an_installed_wheel_runs_the_whole_pipeline_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    where = [sys.executable, "-c", "import comface; print(comface.__file__)"]
    found = subprocess.run(where, env=environment, cwd=empty, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(target))
    done = comface("run", *sets(TINY), environment=environment, folder=empty)
    assert done.returncode == 0, done.stderr
    assert (empty / "runs" / "laptop" / "report.html").is_file()
