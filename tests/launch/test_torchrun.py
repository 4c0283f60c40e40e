"""torchrun on this machine, as the step starts it where it asks for several GPUs (here: two processes on CPUs)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_generator import ATTRIBUTES, load_tiny

from comface.artifacts.manifest import Artifact, open_artifact
from comface.plan.configuration import resolve
from comface.plan.step import make_plans
from comface.pretrain.draft import draft_backbone
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig

pytestmark = pytest.mark.system
OVERRIDES = (
    "pretrain.image_size_px=32", "pretrain.pairs_per_step=8", "pretrain.steps_per_epoch=40", "pretrain.epochs=2",
    "pretrain.curriculum_ends=[1,2]", "pretrain.projection_width=16", "pretrain.gpus_per_node=2",
)  # fmt: skip


@pytest.fixture
def shards(tmp_path: Path) -> Artifact:
    share = Share(generator="procedural", identities=20, attributes=ATTRIBUTES)
    config = SynthesizeConfig(composition=(share,), alpha_step=2.5, image_size_px=32, parts=1, screen_faces=False)
    store = FileStore(tmp_path / "store")
    return shard(store, ShardConfig(), [synthesize(store, config, 0, load=load_tiny)])


def start(tmp_path: Path, shards: Artifact, *overrides: str, result: str = "") -> subprocess.Popen[str]:
    """A step that trains with two processes. `result`: another place than the right one."""
    config = resolve("laptop", [f"store={(tmp_path / 'store').as_uri()}", *OVERRIDES, *overrides])
    expected = draft_backbone(FileStore(tmp_path / "store"), config.pretrain, shards).uri
    code = (
        "import sys\nfrom comface.pretrain.config import PretrainConfig\nfrom comface.execution import execute\n"
        "from comface.pretrain.from_plan import PretrainPlan\n"
        "from comface.launch import Work\nfrom comface.launch.local import Torchrun\n"
        "plan, shards, result = sys.argv[1:]\n"
        "work = Work('run-7', plan, shards, result, PretrainConfig(), lambda: False)\n"
        "execute('pretrain', plan, PretrainPlan, lambda *_: Torchrun(2).train(work))\n"
    )
    arguments = [make_plans(config, "run-7").pretrain.text, shards.uri, result or expected]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, env=environment
    )


def published(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "store" / "backbone").glob("*/manifest.json"))


def test_two_processes_publish_one_backbone(tmp_path: Path, shards: Artifact) -> None:
    child = start(tmp_path, shards)
    _, said = child.communicate(timeout=400)
    assert child.returncode == 0, said
    (manifest,) = published(tmp_path)
    assert len(open_artifact(manifest.parent.as_uri(), "backbone").read_json("curve.json")) == 2
    assert "epoch 2/2" in said


def test_what_is_asked_to_stop_is_saved_and_goes_on(tmp_path: Path, shards: Artifact) -> None:
    child = start(tmp_path, shards, "pretrain.steps_per_epoch=4000", "pretrain.checkpoint_every_s=0.1")
    until = time.monotonic() + 300
    while not list((tmp_path / "store" / "backbone").glob("*/checkpoints/0*")):
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=200)
    assert child.returncode == 143, said
    assert "ERROR pretrain: Pre-training was asked to stop at epoch 1" in said.splitlines()[-1]
    assert published(tmp_path) == []


def test_processes_of_a_step_that_is_killed_end_too(tmp_path: Path, shards: Artifact) -> None:
    child = start(tmp_path, shards, "pretrain.steps_per_epoch=4000", "pretrain.checkpoint_every_s=0.1")
    until = time.monotonic() + 300
    while not list((tmp_path / "store" / "backbone").glob("*/checkpoints/0*")):
        assert time.monotonic() < until
        time.sleep(0.1)
    child.kill()
    child.communicate()
    until = time.monotonic() + 60
    while left := processes_with(str(tmp_path)):
        assert time.monotonic() < until, left
        time.sleep(0.2)


def processes_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and "comface.pretrain.worker" in line:
            found.append(line)
    return found


def test_the_sentence_of_a_process_under_torchrun_is_the_steps(tmp_path: Path, shards: Artifact) -> None:
    child = start(tmp_path, shards, result="file:///elsewhere")
    _, said = child.communicate(timeout=300)
    assert child.returncode == 64, said
    assert " ERROR pretrain: This process would publish file:///" in said.splitlines()[-1]
