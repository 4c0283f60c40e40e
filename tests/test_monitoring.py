"""Metrics: served where a port is set, nothing otherwise; a training tells of its steps and keeps its bits."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from free_port import free_port
from tiny_generator import ATTRIBUTES, load_tiny

from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError, DataError
from comface.plan.configuration import resolve
from comface.pretrain.config import PretrainConfig
from comface.pretrain.step import pretrain
from comface.runtime.monitoring import ADDRESS, METRICS, PORT, Monitor, open_monitor
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig

WAIT = "comface_pretrain_data_wait_seconds_total"


def scrape(port: int) -> dict[str, float]:
    """Name (with labels) -> value, as Prometheus reads it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}


@pytest.fixture
def served(tmp_path: Path) -> tuple[int, Monitor]:
    port = free_port()
    return port, open_monitor({PORT: str(port)}, tmp_path)


def test_without_a_port_nothing_is_served_and_nothing_is_imported() -> None:
    code = (
        "import sys, threading\nfrom comface.runtime.monitoring import open_monitor\nm = open_monitor({})\n"
        "m.set('comface_pretrain_step', 1); m.add('anything'); m.linger(); items = iter([1])\n"
        "assert m.waiting('anything', items) is items and not m and threading.active_count() == 1\n"
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_metric_is_served_under_its_own_name_and_no_other(served: tuple[int, Monitor]) -> None:
    port, monitor = served
    monitor.set("comface_pretrain_loss", 2.5, kind="inter")
    for name, metric in METRICS.items():
        if metric.labels and name != "comface_pretrain_loss":
            monitor.set(name, 1, **dict.fromkeys(metric.labels, "any"))
    monitor.add("comface_pretrain_pairs_total", 64)
    found = scrape(port)
    assert {re.sub(r"\{.*", "", name) for name in found} == set(METRICS)
    assert found['comface_pretrain_loss{kind="inter"}'] == 2.5
    assert found["comface_pretrain_pairs_total"] == 64
    assert 0 < found["comface_scratch_free_bytes"] <= found["comface_scratch_size_bytes"]


def test_a_name_that_is_no_metric_is_a_defect_and_not_a_new_metric(served: tuple[int, Monitor]) -> None:
    with pytest.raises(KeyError):
        served[1].add("comface_pretrain_pears_total")


def test_the_time_that_items_are_waited_for_is_counted_and_the_time_they_are_used_is_not(
    served: tuple[int, Monitor],
) -> None:
    port, monitor = served

    def slow() -> object:
        for item in range(3):
            time.sleep(0.1)
            yield item

    for _ in monitor.waiting(WAIT, slow()):
        time.sleep(0.2)
    assert 0.3 <= scrape(port)[WAIT] < 0.55


def test_an_error_of_the_items_passes_through(served: tuple[int, Monitor]) -> None:
    def broken() -> object:
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(served[1].waiting(WAIT, broken()))


def test_a_last_word_is_waited_for_until_it_was_read(served: tuple[int, Monitor]) -> None:
    port, monitor = served
    scrape(port)  # before the word: does not count
    monitor.add("comface_pretrain_nonfinite_losses_total")
    read: list[float] = []
    later = threading.Timer(0.3, lambda: read.append(scrape(port)["comface_pretrain_nonfinite_losses_total"]))
    later.start()
    monitor.linger(10)
    assert read == [1]


def test_a_last_word_that_nobody_reads_is_not_waited_for_longer_than_said(served: tuple[int, Monitor]) -> None:
    started = time.monotonic()
    served[1].linger(0.2)
    assert 0.2 <= time.monotonic() - started < 2


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "9464.0", "²"])
def test_a_port_that_is_none_is_said_in_one_sentence(port: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{PORT} is .* not a port number"):
        open_monitor({PORT: port})


def test_a_port_that_is_taken_is_said_in_one_sentence(served: tuple[int, Monitor], tmp_path: Path) -> None:
    code = "import sys; from comface.runtime.monitoring import open_monitor; open_monitor()"
    environment = {**os.environ, PORT: str(served[0])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert f"The metrics port {served[0]} cannot be opened (Address already in use)" in done.stderr


def test_one_process_serves_once_however_often_it_asks(served: tuple[int, Monitor], tmp_path: Path) -> None:
    assert open_monitor({PORT: str(served[0])}, tmp_path) is served[1]


IDLE = """
import resource, sys, threading, time, urllib.request
resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
from comface.runtime.monitoring import open_monitor
open_monitor({"COMFACE_METRICS_PORT": sys.argv[1]})
sys.stdin.readline()
time.sleep(0.5)
files = [open("/dev/null") for _ in range(100)]  # what a step needs
answer = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=5).read()
print(len(files), answer.count(b"# HELP"), threading.active_count() <= 12)
"""


def test_idle_connections_take_neither_the_steps_files_nor_the_metrics() -> None:
    """130 of them once stopped a synthesis under `ulimit -n 160`."""
    port = free_port()
    step = subprocess.Popen(
        [sys.executable, "-c", IDLE, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            break
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.05)
    idle = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(130)]
    said, _ = step.communicate("go\n", timeout=20)
    assert said.split() == ["100", str(len(METRICS)), "True"]
    for connection in idle:
        connection.close()


def test_a_connection_that_says_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comface.runtime.monitoring.IDLE_S", 0.3)
    port = free_port()
    open_monitor({PORT: str(port)}, tmp_path)
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        started = time.monotonic()
        assert connection.recv(1) == b""
    assert time.monotonic() - started < 3


def test_outside_a_pod_only_this_machine_is_served_and_an_address_can_be_set(tmp_path: Path) -> None:
    def listens(environment: dict[str, str]) -> str:
        port = free_port()
        open_monitor({PORT: str(port), **environment}, tmp_path)
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        (found,) = [line[1] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A"]
        return socket.inet_ntoa(bytes.fromhex(found.partition(":")[0])[::-1])

    assert listens({}) == "127.0.0.1"
    assert listens({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == "0.0.0.0"
    assert listens({"KUBERNETES_SERVICE_HOST": "10.0.0.1", ADDRESS: "127.0.0.2"}) == "127.0.0.2"
    for wrong in ("203.0.113.7", "no address"):
        with pytest.raises(ConfigurationError, match=f"{ADDRESS} to an address of this machine"):
            open_monitor({PORT: str(free_port()), ADDRESS: wrong}, tmp_path)


def test_synthesize_counts_its_tracks_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv(PORT, str(port))
    share = Share(generator="procedural", identities=2, attributes=ATTRIBUTES, attributes_per_identity=2)
    config = SynthesizeConfig(composition=(share,), alpha_step=2.5, parts=1, image_size_px=32, screen_faces=False)
    synthesize(FileStore(tmp_path / "store"), config, 0, load=load_tiny)
    found = scrape(port)
    assert found["comface_synthesize_tracks_total"] == 4
    assert found["comface_synthesize_images_total"] == 20


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = FileStore(tmp_path_factory.mktemp("shards"))
    share = Share(generator="procedural", identities=12, attributes=ATTRIBUTES)
    config = SynthesizeConfig(composition=(share,), alpha_step=5, image_size_px=32, parts=1, screen_faces=False)
    return shard(store, ShardConfig(), [synthesize(store, config, 0, load=load_tiny)])


def small(*more: str) -> PretrainConfig:
    fields = (
        "image_size_px=32", "pairs_per_step=4", "steps_per_epoch=3", "epochs=2", "curriculum_ends=[1,2]",
        "projection_width=16", "loader_workers=0", *more,
    )  # fmt: skip
    return resolve("laptop", [f"pretrain.{field}" for field in fields]).pretrain


def test_a_training_tells_of_its_steps_and_ends_with_the_same_bits(
    tmp_path: Path, shards: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = small()
    silent = pretrain(FileStore(tmp_path / "silent"), training, shards, tmp_path / "cache")
    port = free_port()
    monkeypatch.setenv(PORT, str(port))
    before = time.time()
    told = pretrain(FileStore(tmp_path / "told"), training, shards, tmp_path / "cache")
    found = scrape(port)
    assert told.read("model.safetensors") == silent.read("model.safetensors")
    assert found["comface_pretrain_epoch"] == 2
    assert found["comface_pretrain_step"] == 3
    assert found["comface_pretrain_pairs_total"] == 24
    assert found[WAIT] > 0
    curve = told.read_json("curve.json")[-1]
    assert found['comface_pretrain_loss{kind="inter"}'] == pytest.approx(curve["loss_inter"])
    assert found['comface_pretrain_loss{kind="intra"}'] == pytest.approx(curve["loss_intra"])
    assert found["comface_pretrain_checkpoint_every_seconds"] == training.checkpoint_every_s
    assert (found["comface_pretrain_epochs"], found["comface_pretrain_steps_per_epoch"]) == (2, 3)
    assert (found["comface_pretrain_change_range"], found["comface_pretrain_view_pixels"]) == (5, 32)
    assert 0 < found["comface_pretrain_learning_rate"] < training.learning_rate
    assert found["comface_pretrain_gradient_norm"] > 0
    assert found['comface_pretrain_held_out_correlation{range="whole"}'] == pytest.approx(curve["validation"]["corr"])
    assert found['comface_pretrain_held_out_correlation{range="epoch"}'] == pytest.approx(curve["held_out"]["corr"])
    assert found['comface_pretrain_held_out_loss{kind="intra"}'] == pytest.approx(curve["held_out"]["loss_intra"])
    assert found["comface_pretrain_held_out_same_face"] == curve["validation"]["top1"]
    for moment in ("step", "checkpoint"):
        assert before <= found[f"comface_pretrain_last_{moment}_timestamp_seconds"] <= time.time()


def test_a_loss_that_is_not_finite_is_read_before_the_training_ends(
    tmp_path: Path, shards: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv(PORT, str(port))
    open_monitor()
    seen, ended = set[float](), threading.Event()

    def prometheus() -> None:
        while not ended.wait(0.5):
            seen.add(scrape(port)["comface_pretrain_nonfinite_losses_total"])

    scraping = threading.Thread(target=prometheus)
    scraping.start()
    try:
        with pytest.raises(DataError, match="not finite"):
            pretrain(FileStore(tmp_path), small("learning_rate=1e6"), shards, tmp_path / "cache")
    finally:
        ended.set()
        scraping.join()
    assert 1 in seen
