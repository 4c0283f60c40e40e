"""The data engine: the same batches however many processes make them, and faults that end in a sentence."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_proxy import faulty
from tiny_generator import ATTRIBUTES, load_tiny

from comface.artifacts.manifest import Artifact, open_artifact
from comface.errors import ConfigurationError, DataError, TryAgain
from comface.plan.configuration import resolve
from comface.pretrain import checkpoint
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import BatchArrays, PairImages, training_pairs
from comface.pretrain.draft import PIECE_PAIRS, draft_backbone
from comface.pretrain.loaders import Loader, batches
from comface.pretrain.pairs import PairSampler
from comface.pretrain.prefetch import decoded
from comface.pretrain.processes import Processes
from comface.pretrain.step import pretrain
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.store.s3 import S3Store, access_from
from comface.store.s3_http import Patience
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader

PAIRS = 48
WORLDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 16, 17, 24, 32, 48)
WORKERS = (0, 1, 2, 3, 5)
STEPS = 2
HERE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """60 identities with two tracks of three images each."""
    store = FileStore(tmp_path_factory.mktemp("engine") / "store")
    share = Share(generator="procedural", identities=60, attributes=ATTRIBUTES, attributes_per_identity=2)
    config = SynthesizeConfig(composition=(share,), alpha_step=5, image_size_px=32, parts=1, screen_faces=False)
    return shard(store, ShardConfig(shard_size_mb=0.2), [synthesize(store, config, 0, load=load_tiny)])


def images_of(shards: Artifact, cache: Path, rank: int = 0, count: int = 1, pairs: int = PAIRS) -> PairImages:
    """Of identities with one or two tracks."""
    reader = ShardReader(shards, "train", cache)
    reader.tracks.keep(np.array([n for n in range(len(reader)) if n % 4]))
    processes = Processes(rank, count, torch.device("cpu"))
    return PairImages(reader, PairSampler(reader.identity_T, reader.alphas, pairs, 0), processes, STEPS, (10.0, 5.0))


def global_batches(shards: Artifact, cache: Path, world: int, workers: int) -> list[tuple[bytes, ...]]:
    """The bytes of images, alphas and numbers of each whole batch, put together from the shares of all ranks."""
    wholes = [BatchArrays.new(PAIRS, (32, 32, 3)) for _ in range(2 * STEPS)]
    for rank in range(world):
        images = images_of(shards, cache, rank, world)
        for whole, batch in zip(wholes, batches(images, range(2 * STEPS), workers), strict=True):
            share = slice(rank, None, world)
            whole.images_2NHWC[:, share] = torch.stack(batch[:2]).numpy()
            whole.alphas_2N[:, share] = torch.stack(batch[2:4]).numpy()
            whole.pairs_3N[:, share] = np.stack([batch.pairs.track_N, batch.pairs.x_N, batch.pairs.y_N])
    return [(w.images_2NHWC.tobytes(), w.alphas_2N.tobytes(), w.pairs_3N.tobytes()) for w in wholes]


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(((2, 1), (3, 0), (16, 0), (5, 2)), id="some"),
        pytest.param(tuple(itertools.product(WORLDS, WORKERS)), id="all 16 x 5", marks=pytest.mark.system),
    ],
)
def test_the_global_batches_are_the_same_for_every_number_of_ranks_and_loader_processes(
    shards: Artifact, tmp_path: Path, sizes: tuple[tuple[int, int], ...]
) -> None:
    """Also where the ranks' shares are unequal. Nothing is lost and nothing comes twice: every whole batch is equal."""
    wanted = global_batches(shards, tmp_path, 1, 0)
    assert len(set(wanted)) == 2 * STEPS
    for world, workers in sizes:
        assert global_batches(shards, tmp_path, world, workers) == wanted, (world, workers)


def test_pieces_of_a_large_batch_and_held_out_batches_between_them_are_the_same(
    shards: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comface.pretrain.draft.PIECE_PAIRS", 7)
    assert PIECE_PAIRS != 7
    train, held_out = images_of(shards, tmp_path), images_of(shards, tmp_path, pairs=20)
    with Loader([train, held_out], 2) as loader:
        feed = loader.batches(train, range(4))
        seen = [next(feed).x_NHWC.clone()]
        abandoned = loader.batches(held_out, range(4))
        assert torch.equal(next(abandoned).y_NHWC, held_out[0].y_NHWC)
        abandoned.close()
        for number, batch in enumerate(loader.batches(held_out, range(4))):
            assert torch.equal(batch.y_NHWC, held_out[number].y_NHWC)
        seen += [batch.x_NHWC.clone() for batch in feed]
    assert all(torch.equal(x, train[number].x_NHWC) for number, x in enumerate(seen))
    assert len(seen) == 4


def test_a_loader_process_that_does_not_answer_ends_in_one_sentence_within_the_time(
    shards: Artifact, tmp_path: Path
) -> None:
    images = images_of(shards, tmp_path)
    with Loader([images], 2, 0.5) as loader:
        feed = loader.batches(images, range(10**6))
        next(feed)
        for worker in loader._workers:
            os.kill(worker.process.pid, signal.SIGSTOP)
        words = r"No batch was ready within 0.5 s, because 2 of 2 .*\(\d+ stopped, .*data_timeout_s"
        with pytest.raises(TryAgain, match=words):
            deque(itertools.islice(feed, 100), maxlen=0)
    assert not loader._workers, "stopped processes can be ended"


def test_jpegs_are_decoded_on_the_device_if_asked(shards: Artifact, tmp_path: Path) -> None:
    """Here by torchvision on the CPU; nvJPEG was not tried."""
    pixels, encoded = images_of(shards, tmp_path), images_of(shards, tmp_path)
    encoded.encoded = True
    arrays = BatchArrays.new(PAIRS, (32, 32, 3))
    encoded.fill(arrays, 0, slice(0, PAIRS))
    found = decoded(arrays, torch.device("cpu"))
    wanted = pixels[0]
    assert (found[0].int() - wanted.x_NHWC.int()).abs().float().mean() < 1
    assert (found[1].int() - wanted.y_NHWC.int()).abs().float().mean() < 1
    arrays.images_2NHWC[0, 3] = 0
    with pytest.raises(DataError, match="cannot be decoded on the GPU"):
        decoded(arrays, torch.device("cpu"))


def test_only_the_images_that_the_losses_use_are_read(shards: Artifact, tmp_path: Path) -> None:
    first = {
        learning: training_pairs(shards, PretrainConfig(learning=learning, pairs_per_step=8), tmp_path, HERE)[0]
        for learning in ("inter", "both")
    }
    assert torch.equal(first["inter"].x_NHWC, first["both"].x_NHWC)
    assert first["both"].y_NHWC.any()
    assert not first["inter"].y_NHWC.any()


def test_decoding_on_a_gpu_is_refused_without_one(shards: Artifact, tmp_path: Path) -> None:
    """Otherwise the training would take the bytes of the JPEGs for pixels."""
    with pytest.raises(ConfigurationError, match=r"set pretrain\.decode=cpu"):
        training_pairs(shards, PretrainConfig(decode="gpu"), tmp_path, Processes(0, 1, torch.device("cpu")))


# In a training


@pytest.mark.parametrize("fault", ["truncated", "deleted", "stalled"])
def test_a_training_whose_data_fail_saves_a_checkpoint_and_says_why(
    shards: Artifact, tmp_path: Path, fault: str
) -> None:
    """Faults after the first checkpoint, of a training with one loader process."""
    root = FileStore(tmp_path / "store")
    copy = _copied(shards, tmp_path / "copy")
    overrides = (
        "pretrain.image_size_px=32", "pretrain.pairs_per_step=8", "pretrain.steps_per_epoch=100000",
        "pretrain.epochs=1", "pretrain.curriculum_ends=[1]", "pretrain.projection_width=16", "pretrain.processes=1",
        "pretrain.checkpoint_every_s=0.2", "pretrain.loader_workers=1", "pretrain.data_timeout_s=2",
    )  # fmt: skip
    config = resolve("laptop", list(overrides)).pretrain
    place = draft_backbone(root, config, copy).store
    done = threading.Event()

    others = _children()  # such as the S3 server of other tests

    def disturb() -> None:
        while not list(tmp_path.glob("store/backbone/*/checkpoint*")) and not done.wait(0.02):
            pass
        if fault == "stalled":
            for pid in _children() - others:
                os.kill(pid, signal.SIGSTOP)
        for path in (tmp_path / "copy").rglob("train-*.tar"):
            os.truncate(path, 0) if fault != "stalled" else None
            path.unlink() if fault == "deleted" else None

    thread = threading.Thread(target=disturb)
    thread.start()
    words = "No batch was ready within 2 s" if fault == "stalled" else r"train-0000\d"
    with pytest.raises((TryAgain, DataError), match=words) as caught:
        pretrain(root, config, copy, tmp_path / "cache")
    done.set()
    thread.join()
    assert caught.value.exit_code == (75 if fault == "stalled" else 65)
    saved = checkpoint.newest(place)
    assert saved is not None
    assert saved.state["step"] > 0


@pytest.mark.parametrize(
    "kind", ["503", *(pytest.param(kind, marks=pytest.mark.system) for kind in ("reset", "stalled"))]
)
def test_a_training_whose_object_store_no_longer_answers_saves_a_checkpoint_and_ends_in_75(
    shards: Artifact, tmp_path: Path, s3_environment: dict[str, str], kind: str
) -> None:
    """Images are read by ranges from a real S3 server behind a proxy, beyond the patience of its client."""
    root, prefix = FileStore(tmp_path / "store"), f"{uuid.uuid4().hex}/{shards.address}"
    direct = S3Store(access_from(s3_environment), "comface", prefix)
    for key in list(shards.store.keys()):
        direct.write(key, shards.store.read(key))
    overrides = (
        "pretrain.image_size_px=32", "pretrain.pairs_per_step=8", "pretrain.steps_per_epoch=100000",
        "pretrain.epochs=1", "pretrain.curriculum_ends=[1]", "pretrain.projection_width=16", "pretrain.processes=1",
        "pretrain.checkpoint_every_s=0.2", "pretrain.loader_workers=1", "pretrain.data_timeout_s=20",
        "pretrain.cache_gib=0",
    )  # fmt: skip
    config = resolve("laptop", list(overrides)).pretrain
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 0.0, kind, stall_s=5) as proxy:
        access = access_from({**s3_environment, "AWS_ENDPOINT_URL": proxy.url})
        patience = Patience(within_s=1.0, silence_s=0.3, pause_s=0.02, longest_pause_s=0.05)
        behind = S3Store(replace(access, patience=patience), "comface", prefix)
        remote = open_artifact(behind.uri, "shards", behind)
        place = draft_backbone(root, config, remote).store

        def disturb() -> None:
            until = time.monotonic() + 60
            while not list(tmp_path.glob("store/backbone/*/checkpoint*")) and time.monotonic() < until:
                time.sleep(0.02)
            proxy.share = 1.0

        thread = threading.Thread(target=disturb)
        thread.start()
        with pytest.raises(TryAgain, match=r"train-0000\d") as caught:
            pretrain(root, config, remote, tmp_path / "cache")
        thread.join()
        assert proxy.seen[kind] > 1
    assert caught.value.exit_code == 75
    saved = checkpoint.newest(place)
    assert saved is not None
    assert saved.state["step"] > 0


def _children() -> set[int]:
    threads = Path("/proc/self/task").glob("*/children")
    return {int(word) for thread in threads for word in thread.read_text().split()}


def _copied(shards: Artifact, folder: Path) -> Artifact:
    shutil.copytree(shards.store.root, folder / shards.address)  # type: ignore[attr-defined]
    return open_artifact((folder / shards.address).as_uri(), "shards")


@pytest.mark.system
def test_a_loader_needs_no_shared_memory_of_the_container(shards: Artifact, tmp_path: Path) -> None:
    """With a /dev/shm of 64 KiB, and batches of 1.2 MB."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom comface.artifacts.manifest import open_artifact\n"
        "import test_data_engine as engine\nfrom comface.pretrain.loaders import batches\n"
        "images = engine.images_of(open_artifact(sys.argv[1], 'shards'), Path(sys.argv[2]))\n"
        "print(sum(len(batch.x_NHWC) for batch in batches(images, range(4), 3)))\n"
    )
    command = 'mount -t tmpfs -o size=64k none /dev/shm && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", command, "sh", sys.executable, "-c", program, shards.uri, str(tmp_path)]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    path = os.pathsep.join(
        map(str, (Path(__file__).parent, Path(__file__).parents[1], os.environ.get("PYTHONPATH", "")))
    )
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(4 * PAIRS)
