"""A cluster to launch in: the API server, a launcher whose operator plays scripts, a job that an earlier one left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes_api import KubernetesApi
from launching import FAST, NAMESPACE, launcher_for, work_for
from playing import Operator, Played, Script, own_pod

from comface.errors import ComfaceError
from comface.launch.api import Timing
from comface.launch.cluster_launcher import make_request
from comface.launch.config import JobConfig
from comface.launch.place import Forwarded, Place
from comface.launch.quota import KINDS


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    server = KubernetesApi()
    server.cluster.put("pods", own_pod())
    yield server
    server.stop()


@dataclass
class Ending:
    code: int
    sentence: str
    said: str
    operator: Operator


@pytest.fixture
def launch(api: KubernetesApi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Launches a job whose operator plays `scripts`; how that ended."""

    def run(
        *scripts: Script, done: Any = lambda: False, timing: Timing = FAST, uid: str = "uid-1", **job: Any
    ) -> Ending:
        operator = Operator(api.cluster, *scripts)
        api.cluster.operator = operator
        job.setdefault("deadline_s", 60)  # a life that should have ended does, and fails its test
        code, sentence = 0, ""
        try:
            launcher_for(api.url, tmp_path, timing, uid=uid).train(work_for(JobConfig(**job), done))
        except ComfaceError as error:
            code, sentence = error.exit_code, str(error)
        assert operator.failures == []
        return Ending(code, sentence, capfd.readouterr().err, operator)

    return run


@pytest.fixture
def left_behind(api: KubernetesApi, tmp_path: Path) -> Any:
    """A job that an earlier attempt has made; that attempt is gone."""

    def make(*changes: Any, **job: Any) -> Played:
        work = work_for(JobConfig(**job))
        request = make_request(work, Place("launcher-0", "uid-0", NAMESPACE), Forwarded(), own_pod(), 1000)
        _, made = api.cluster.create("pytorchjobs", KINDS[work.config.job.kind].render(request))
        for change in changes:
            made = api.cluster.put("pytorchjobs", change(made))
        return Played(api.cluster, made)

    return make
