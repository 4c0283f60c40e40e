"""What several tests need: an S3 server that checks signatures, on loopback; one small run of the whole pipeline."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chromium import BROWSER
from free_port import free_port
from tiny_run import comface, run_arguments

# Before torch is imported: thread pools that contend for two cores ran some tests ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

BUCKET = "comface"
SYSTEM_TIMEOUT_S = 3600


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a third of the time, a test waits for a process, a server or a browser."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The limit of pyproject.toml is for default tests; the long proofs have this one."""
    for item in items:
        if item.get_closest_marker("system") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SYSTEM_TIMEOUT_S))


@pytest.fixture(autouse=True)
def lines_are_shown() -> None:
    """As in a program that was started: a library that is imported shows nothing."""
    from comface.runtime.logs import configure

    configure()


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels run in Triton's interpreter, without its check of every sum for overflow (half of the time)."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    from triton.runtime.interpreter import interpreter_builder as builder

    options = builder.options
    builder.options = dataclasses.replace(options, sanitize_overflow=False)
    yield
    builder.options = options


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client of a real moto server that verifies signatures (its first three requests, which
    make the user, are free)."""
    port = free_port()
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"},
        stdout=log,
        stderr=log,
    )
    try:
        yield _with_user(f"http://127.0.0.1:{port}", server, Path(log.name))
    finally:
        server.terminate()
        server.wait(10)
        log.close()


@pytest.fixture
def s3_environment(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same, also set in os.environ for the length of a test; the bucket `comface` is there."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return dict(s3_server)


def _with_user(endpoint: str, server: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    until = time.monotonic() + 30
    while True:
        try:
            _iam(endpoint, Action="CreateUser", UserName="tester")
            break
        except urllib.error.URLError:
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"moto did not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
    keys = _iam(endpoint, Action="CreateAccessKey", UserName="tester")
    allow = {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}], "Version": "2012-10-17"}
    policy = json.dumps(allow)
    _iam(endpoint, Action="PutUserPolicy", UserName="tester", PolicyName="s3", PolicyDocument=policy)
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": re.search("<AccessKeyId>(.*?)<", keys)[1],
        "AWS_SECRET_ACCESS_KEY": re.search("<SecretAccessKey>(.*?)<", keys)[1],
        "AWS_REGION": "us-east-1",
    }
    from comface.store.s3 import access_from, connected

    connected(access_from(environment), os.getpid())[0].make_bucket(BUCKET)
    return environment


def _iam(endpoint: str, **query: str) -> str:
    scope = "AWS4-HMAC-SHA256 Credential=none/20250101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    body = urllib.parse.urlencode({**query, "Version": "2010-05-08"}).encode()
    request = urllib.request.Request(endpoint, data=body, headers={"Authorization": scope})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


@dataclass(frozen=True)
class TinyRun:
    """What one small `comface run` left, and what it said."""

    folder: Path
    stderr: str
    seconds: float

    @property
    def store(self) -> Path:
        return self.folder / "store"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> TinyRun:
    """The whole pipeline once, through the real command line; for tests that only read what it leaves. The processes
    that share the tests share it too: the first makes it, the others wait."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "tiny"
    folder.mkdir(exist_ok=True)
    told = folder / "told.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            started = time.monotonic()
            done = comface(*run_arguments(folder / "run"), folder=folder)
            assert done.returncode == 0, done.stderr
            told.write_text(json.dumps([done.stderr, time.monotonic() - started]))
    return TinyRun(folder / "run", *json.loads(told.read_text()))
