"""Copies of shards from an s3:// store: made once per node, bounded, and without them the same images by ranges."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from faulty_proxy import faulty
from tiny_generator import ATTRIBUTES, load_tiny

from comface.artifacts.manifest import Artifact, open_artifact
from comface.errors import DataError, TryAgain
from comface.pretrain.data import PairImages
from comface.pretrain.loaders import Loader
from comface.pretrain.pairs import PairSampler
from comface.pretrain.processes import Processes
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import open_store
from comface.store.s3 import S3Store, access_from
from comface.store.s3_http import Patience
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader

HERE = Processes(0, 1, torch.device("cpu"))
KIB = 1 / 2**20
"""In GiB."""
ROOM = 1.0
"""In GiB. Without a limit, a nearly full disk would get no copies."""


MADE: dict[str, str] = {}


@pytest.fixture
def remote(s3_environment: dict[str, str]) -> Artifact:
    """The same shards for all tests of this file."""
    if "uri" not in MADE:
        MADE["uri"] = made().uri
    return open_artifact(MADE["uri"], "shards")


def made() -> Artifact:
    store = open_store(f"s3://comface/{uuid.uuid4().hex}")
    share = Share(generator="procedural", identities=10, attributes=ATTRIBUTES)
    config = SynthesizeConfig(composition=(share,), alpha_step=2.5, image_size_px=32, parts=1, screen_faces=False)
    return shard(store, ShardConfig(shard_size_mb=0.03), [synthesize(store, config, 0, load=load_tiny)])


def images(reader: ShardReader) -> list[bytes]:
    return reader.jpegs([t for t in range(len(reader)) for _ in range(5)], list(range(5)) * len(reader))


def tars(cache: Path) -> set[str]:
    """Names of the copies, without the digests in them."""
    names = [path.name.partition("-")[2].split(".") for path in cache.glob("shards-*/*train*.tar")]
    return {f"{first}.{last}" for first, *_, last in names}


def test_without_a_disk_images_are_read_by_ranges_and_are_the_same(remote: Artifact, tmp_path: Path) -> None:
    copied = ShardReader(remote, "train", tmp_path / "a", ROOM)
    wanted = images(copied)
    assert tars(tmp_path / "a") == set(copied.tracks.shards)
    streamed = ShardReader(remote, "train", tmp_path / "b", 0)
    assert images(streamed) == wanted
    assert not tars(tmp_path / "b")
    some = ShardReader(remote, "train", tmp_path / "c", 70 * KIB)
    assert images(some) == wanted
    assert set() < tars(tmp_path / "c") < set(copied.tracks.shards), "as many as fit, and none is replaced"


def test_copies_that_nobody_uses_make_room_and_those_in_use_do_not(remote: Artifact, tmp_path: Path) -> None:
    other = open_artifact(remote.uri, "shards")
    object.__setattr__(other, "sha256", "0" * 64)  # as of another data set
    in_use = ShardReader(remote, "train", tmp_path, 200 * KIB)
    wanted = images(in_use)
    assert images(ShardReader(other, "train", tmp_path, 200 * KIB)) == wanted
    first, second = (tmp_path / f"shards-{each.sha256[:20]}" for each in (remote, other))
    assert list(first.glob("*.tar")), "they are in use"
    del in_use
    assert images(ShardReader(other, "train", tmp_path, 200 * KIB)) == wanted
    assert not list(first.glob("*.tar"))
    assert list(second.glob("*.tar"))


def test_a_copy_that_is_damaged_or_deleted_while_it_is_used_is_replaced_by_ranges(
    remote: Artifact, tmp_path: Path
) -> None:
    reader = ShardReader(remote, "train", tmp_path, ROOM)
    wanted = images(reader)
    for path in tmp_path.glob("shards-*/*train*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    assert images(reader) == wanted
    for path in tmp_path.glob("shards-*/*train*.tar"):
        os.truncate(path, 100)
    assert images(reader) == wanted


def test_a_shard_that_vanishes_from_the_store_is_one_sentence(remote: Artifact, tmp_path: Path) -> None:
    reader = ShardReader(remote, "train", tmp_path, 0)
    images(reader)
    key = remote.key("train-00000.tar")
    data = remote.store.read(key)
    remote.store.delete(key)
    with pytest.raises(DataError, match=r"There is no object 'train-00000.*tar'"):
        images(reader)
    remote.store.write(key, data)


def test_ranges_are_read_again_after_every_fault_and_give_up_in_one_sentence(
    remote: Artifact, tmp_path: Path, s3_environment: dict[str, str]
) -> None:
    wanted = images(ShardReader(remote, "train", tmp_path / "a"))
    kinds = ("503", "slow down", "reset", "truncated", "flipped", "stalled")
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 0.2, *kinds, seed=1, stall_s=0.1) as proxy:
        access = access_from({**s3_environment, "AWS_ENDPOINT_URL": proxy.url})
        patience = Patience(within_s=3.0, silence_s=1.0, pause_s=0.02, longest_pause_s=0.05)
        store = S3Store(replace(access, patience=patience), "comface", remote.store.prefix)  # type: ignore[attr-defined]
        reader = ShardReader(open_artifact(remote.uri, "shards", store), "train", tmp_path / "b", 0)
        assert images(reader) == wanted
        assert min(proxy.seen[kind] for kind in kinds) > 0
        proxy.share, proxy.kinds = 1.0, ("503",)
        with pytest.raises(TryAgain, match=r"did not complete a request for the object 'train-.*503"):
            reader.jpeg(0, 0)


def test_a_training_reads_by_ranges_until_the_copies_are_there(remote: Artifact, tmp_path: Path) -> None:
    reader = ShardReader(remote, "train", tmp_path, ROOM)
    sampler = PairSampler(reader.identity_T, reader.alphas, 4, 0)
    wanted = PairImages(ShardReader(remote, "train", tmp_path / "other"), sampler, HERE, 6, [10.0])
    pairs = PairImages(reader, sampler, HERE, 6, [10.0])
    with Loader([pairs], 2) as loader:
        for number, batch in enumerate(loader.batches(pairs, range(6))):
            assert torch.equal(batch.x_NHWC, wanted[number].x_NHWC)
        until = time.monotonic() + 60
        while not all(map(reader.copies.is_verified, reader.tracks.shards)) and time.monotonic() < until:
            time.sleep(0.05)
    assert tars(tmp_path) == set(reader.tracks.shards)


def test_a_partial_copy_of_a_process_that_was_killed_is_deleted(remote: Artifact, tmp_path: Path) -> None:
    first = ShardReader(remote, "train", tmp_path)
    partial = first.copies.folder / ".reading-0"
    partial.touch()
    ShardReader(remote, "validation", tmp_path)
    assert partial.exists(), "a process has the copies open and may be writing it"
    del first
    ShardReader(remote, "train", tmp_path)
    assert not partial.exists()
