"""Loader processes: what goes wrong in one of them is a sentence, and no wait for data outlives a request to stop."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_generator import ATTRIBUTES, load_tiny

from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError, DataError, TryAgain
from comface.pretrain.data import Batch, PairImages
from comface.pretrain.draft import batch_bytes, batches_ahead
from comface.pretrain.loaders import Loader, _state, batches, check_memory
from comface.pretrain.pairs import PairSampler
from comface.pretrain.processes import Processes
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader

HERE = Processes(0, 1, torch.device("cpu"))
STEPS = 6
TINY = (
    "pretrain.image_size_px=32", "pretrain.pairs_per_step=8", "pretrain.epochs=1", "pretrain.curriculum_ends=[1]",
    "pretrain.projection_width=16", "pretrain.loader_workers=2", "pretrain.processes=1",
)  # fmt: skip


@pytest.fixture
def shards(tmp_path: Path) -> Artifact:
    store = FileStore(tmp_path / "store")
    share = Share(generator="procedural", identities=20, attributes=ATTRIBUTES)
    config = SynthesizeConfig(composition=(share,), alpha_step=2.5, image_size_px=32, parts=1, screen_faces=False)
    return shard(store, ShardConfig(shard_size_mb=0.05), [synthesize(store, config, 0, load=load_tiny)])


def pair_images(shards: Artifact, tmp_path: Path) -> PairImages:
    reader = ShardReader(shards, "train", tmp_path / "cache")
    return PairImages(reader, PairSampler(reader.identity_T, reader.alphas, 8, 0), HERE, STEPS, (10.0, 5.0))


def copied(feed: Iterator[Batch]) -> list[Batch]:
    """The batches of `feed`, kept: a loader uses their memory again."""
    return [Batch(*(tensor.clone() for tensor in batch[:4]), pairs=batch.pairs) for batch in feed]


def children() -> set[int]:
    threads = Path("/proc/self/task").glob("*/children")
    return {int(word) for thread in threads for word in thread.read_text().split()}


def test_processes_that_decode_give_the_same_batches_over_all_epochs_and_start_once(
    shards: Artifact, tmp_path: Path
) -> None:
    alone = copied(batches(pair_images(shards, tmp_path), range(2 * STEPS), 0))
    before, seen, ahead = children(), set(), []
    for batch in batches(pair_images(shards, tmp_path), range(2 * STEPS), 2):
        seen |= children() - before
        ahead += copied(iter([batch]))
    assert len(ahead) == 2 * STEPS
    assert all(
        torch.equal(a, b)
        for one, other in zip(alone, ahead, strict=True)
        for a, b in zip(one[:4], other[:4], strict=True)
    )
    assert len(seen) == 2, "the same two for both epochs"


def test_a_shard_is_checked_once_however_many_processes_read_it(shards: Artifact, tmp_path: Path) -> None:
    """After the first reading, the bytes of the file may be unreadable to a second check: nobody makes one."""
    readers = [ShardReader(shards, "train", tmp_path / "cache") for _ in range(2)]  # as of two ranks of a node
    name = readers[0].tracks.shards[0]
    assert not readers[1].copies.is_verified(name)
    readers[0].jpeg(0, 0)
    assert readers[1].copies.is_verified(name)
    path = shards.store.root / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert readers[1].jpeg(0, 0), "it is not compared with the manifest again"
    del readers
    with pytest.raises(DataError, match="does not match its manifest"):
        ShardReader(shards, "train", tmp_path / "cache").jpeg(0, 0)


def run(shards: Artifact, *overrides: str) -> subprocess.CompletedProcess[str]:
    store = shards.uri.rpartition("/shards/")[0]
    sets = (*TINY, "pretrain.steps_per_epoch=30", *overrides)
    command = [sys.executable, "-m", "comface", "pretrain", shards.uri, "--store", store]
    command += [word for override in sets for word in ("--set", override)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_damaged_shard_is_one_sentence_from_a_loader_process_too(shards: Artifact) -> None:
    for path in shards.store.root.glob("train-*.tar"):
        data = bytearray(path.read_bytes())
        data[5000] ^= 1
        path.write_bytes(data)
    done = run(shards)
    assert done.returncode == 65
    assert "Traceback" not in done.stderr
    assert " ERROR pretrain: The object 'train-" in done.stderr.strip().splitlines()[-1]


def test_a_loader_process_that_is_killed_ends_the_training_in_one_sentence(shards: Artifact, tmp_path: Path) -> None:
    feed = batches(pair_images(shards, tmp_path), range(2 * STEPS), 2)
    before = children()
    next(feed)
    told = r"A loader process ended unexpectedly \(SIGKILL\), .*lower pretrain\.loader_workers"

    os.kill(max(children() - before), signal.SIGKILL)
    with pytest.raises(TryAgain, match=told):
        deque(feed, maxlen=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_is_cut_while_it_is_read_is_a_sentence_and_no_bus_error(
    shards: Artifact, tmp_path: Path, workers: int
) -> None:
    feed = batches(pair_images(shards, tmp_path), range(2 * STEPS), workers)
    next(feed)
    for path in shards.store.root.glob("train-*.tar"):
        os.truncate(path, 0)
    with pytest.raises(DataError, match=r"The (image|object) '.*train-.*(crc32|sha256) differ"):
        deque(feed, maxlen=0)


def test_shards_that_are_deleted_once_they_are_open_are_read_to_the_end(shards: Artifact, tmp_path: Path) -> None:
    images = pair_images(shards, tmp_path)
    expected = [images[item] for item in range(2 * STEPS)]
    for path in shards.store.root.glob("train-*.tar"):
        path.unlink()
    for batch, wanted in zip(batches(images, range(2 * STEPS), 0), expected, strict=True):
        assert torch.equal(batch.x_NHWC, wanted.x_NHWC)


def start(shards: Artifact, *overrides: str) -> subprocess.Popen[str]:
    store = shards.uri.rpartition("/shards/")[0]
    sets = (*TINY, "pretrain.steps_per_epoch=100000", "pretrain.checkpoint_every_s=0.2", *overrides)
    command = [sys.executable, "-m", "comface", "pretrain", shards.uri, "--store", store]
    command += [word for override in sets for word in ("--set", override)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def loaders_of(process: subprocess.Popen[str]) -> list[int]:
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(word) for thread in threads for word in thread.read_text().split()]


@pytest.mark.system
def test_a_request_to_stop_ends_a_training_whose_loaders_are_stopped_within_its_time(shards: Artifact) -> None:
    store = shards.store.root.parents[1]
    process = start(shards)
    until = time.monotonic() + 60
    while not list(store.glob("backbone/*/checkpoints/0*")) and time.monotonic() < until:
        time.sleep(0.05)
    loaders = loaders_of(process)
    for pid in loaders:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    finally:
        for pid in loaders:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
    assert process.returncode == 143, said
    last = said.strip().splitlines()[-1]
    assert " ERROR pretrain: Pre-training was asked to stop at epoch 1, step " in last
    assert "it is saved, run it again." in last
    assert "Traceback" not in said


def test_too_little_memory_for_the_batches_is_refused_with_both_figures(
    shards: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pair_images(shards, tmp_path)
    needed = batches_ahead(3, 8) * batch_bytes(8, 32)
    monkeypatch.setattr("comface.pretrain.loaders.memory_limit_bytes", lambda: 2 * needed)
    check_memory(3, Processes(0, 2, torch.device("cpu"), 0, 2), [images])
    with pytest.raises(
        ConfigurationError, match=r"3 training process\(es\) need [\d,.]+ MB of memory, and this node has"
    ):
        check_memory(3, Processes(0, 3, torch.device("cpu"), 0, 3), [images])


def test_a_loader_takes_the_memory_that_is_planned(shards: Artifact, tmp_path: Path) -> None:
    """The estimate against what the tensors of a batch really take, and the mapping against the estimate."""
    images = pair_images(shards, tmp_path)
    (batch,) = copied(batches(images, range(1), 0))
    real = sum(tensor.nelement() * tensor.element_size() for tensor in batch[:4])
    assert real <= batch_bytes(8, 32) < 1.1 * real
    with Loader([images], 2) as loader:
        assert len(loader.memory) <= batches_ahead(2, 8) * (batch_bytes(8, 32) + 4096)


def test_a_process_that_cannot_be_killed_does_not_keep_the_training_from_ending(
    shards: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits for a disk: here stopped, and without SIGKILL."""
    monkeypatch.setattr("comface.pretrain.loaders.END_S", 0.2)
    images = pair_images(shards, tmp_path)
    with Loader([images], 2) as loader:
        stuck = [worker.process for worker in loader._workers]
        for process in stuck:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
            monkeypatch.setattr(process, "kill", lambda: None)
    waited_for = multiprocessing.active_children()
    monkeypatch.undo()
    for process in stuck:
        process.kill()
        process.join(10)
    assert not set(stuck) & set(waited_for)


class Endless(ShardReader):
    def copy_all(self) -> None:
        time.sleep(60)


def test_the_process_that_copies_shards_ends_with_a_training_that_is_killed(shards: Artifact, tmp_path: Path) -> None:
    reader = Endless(shards, "train", tmp_path / "cache")
    reader.copies.in_place = False
    images = PairImages(reader, PairSampler(reader.identity_T, reader.alphas, 8, 0), HERE, STEPS, (10.0, 5.0))
    here, there = multiprocessing.Pipe()
    training = os.fork()
    if not training:
        loader = Loader([images], 1)
        assert loader._copier is not None
        there.send(loader._copier.process.pid)
        signal.pause()
    there.close()
    copier = here.recv()
    os.kill(training, signal.SIGKILL)
    os.waitpid(training, 0)
    until = time.monotonic() + 10
    while _state(copier) != "ended" and time.monotonic() < until:
        time.sleep(0.05)
    assert _state(copier) == "ended"
