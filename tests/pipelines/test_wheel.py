"""The package as it is installed elsewhere: sdist and wheel bring the compiled pipeline, and run from any folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance
from tiny_run import ROOT, TINY, bare_environment, comface, sets

from comface.errors import ConfigurationError
from comface.run.local import find_pipeline

COMPILED = ROOT / "pipelines" / "comface.yaml"
APART = {"PYTHONPATH": ""}
"""Without the checkout's sources, which tests otherwise run."""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools writes beside the sources."""
    source = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "components", source / "components", symlinks=True, ignore=ignored)
    (source / "pipelines").mkdir()
    for name in ("pipelines/comface.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = "import setuptools.build_meta as backend; backend.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (found,) = source.glob("dist/*.tar.gz")
    return found


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built from the sdist alone, as an index's users build it."""
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", sdist.parent, sdist]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    (found,) = sdist.parent.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel and the packages of this one; nothing was fetched."""
    python = bare_environment(tmp_path_factory.mktemp("elsewhere") / "venv")
    install = ["--python", python, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    return python


def test_the_sdist_and_the_wheel_hold_the_compiled_pipeline_and_not_a_link_to_it(sdist: Path, wheel: Path) -> None:
    with tarfile.open(sdist) as archive:
        (member,) = (entry for entry in archive.getmembers() if entry.name.endswith("comface/comface.yaml"))
        assert member.isfile()
        assert archive.extractfile(member).read() == COMPILED.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("comface/comface.yaml") == COMPILED.read_bytes()


def test_an_installed_wheel_imports_without_reading_anything_beside_the_package(
    installed: Path, tmp_path: Path
) -> None:
    """In a checkout docker/images.lock lies two folders above the package; elsewhere that is a folder of others."""
    code = """if True:
        import importlib, sys
        opened = []
        sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
        for name in ("cli", "pretrain.component", "register.component", "plan.component"):
            importlib.import_module("comface." + name)
        print(*opened, sep=chr(10))
    """
    site = next(installed.parents[1].glob("lib/*/site-packages"))
    foreign = site.parent / "docker" / "images.lock"
    foreign.parent.mkdir()
    foreign.write_text("foreign")
    command = [installed, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=APART, capture_output=True, text=True, check=True)
    ours = {path for path in map(Path, done.stdout.splitlines()) if path.is_relative_to(installed.parents[1])}
    assert any(path.is_relative_to(site / "comface") for path in ours)
    assert {path for path in ours if not path.is_relative_to(site)} == set()


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


def test_a_wheel_compares_two_photos_in_an_empty_folder_at_once(installed: Path, tmp_path: Path) -> None:
    """Without a run, a store or a download: with the model and the face model that the package contains."""
    photo = Image.open(ROOT / "tests" / "data" / "astronaut.jpg")
    photo.save(tmp_path / "before.jpg", quality=95)
    ImageEnhance.Brightness(photo).enhance(0.9).save(tmp_path / "after.jpg", quality=95)
    done = comface("compare", "before.jpg", "after.jpg", "--json", python=installed, environment=APART, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"] == "shipped"
    assert all(each["rehearsal"] and abs(each["change"]) < 10 for each in found["changes"].values())
    assert "comface fetch" in done.stderr, "the check for different people needs a network that is not in the package"
    assert {path.name for path in tmp_path.iterdir()} == {"before.jpg", "after.jpg"}


@pytest.mark.system
def test_an_installed_wheel_runs_the_whole_pipeline_and_compares_photos_from_any_folder(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "comface.yaml").write_text("foreign")
    done = comface("run", *sets(TINY), python=installed, environment=APART, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "laptop" / "report.html").is_file()
    photo = Image.open(ROOT / "tests" / "data" / "astronaut.jpg")
    photo.save(tmp_path / "before.png")
    ImageEnhance.Brightness(photo).enhance(0.9).save(tmp_path / "after.png")
    done = comface("compare", "before.png", "after.png", "--json", python=installed, environment=APART, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["changes"]) == ["age"]
