"""The index as arrays: what the indices of the shards say, little memory per track, and artifacts from before it."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny_generator import ATTRIBUTES, load_tiny

from comface.artifacts.arrays import read_array
from comface.artifacts.facts import ShardsFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.errors import DataError
from comface.pretrain.pairs import PairSampler
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.located import INDEX
from comface.tracks.shard_index import TrackTable, images_name, table_name
from comface.tracks.shard_reader import ShardReader


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = FileStore(tmp_path_factory.mktemp("index"))
    share = Share(generator="procedural", identities=14, attributes=ATTRIBUTES, attributes_per_identity=2)
    config = SynthesizeConfig(composition=(share,), alpha_step=2.5, image_size_px=32, parts=1, screen_faces=False)
    return shard(store, ShardConfig(shard_size_mb=0.05), [synthesize(store, config, 0, load=load_tiny)])


def before_arrays(shards: Artifact, folder: Path) -> Artifact:
    """The same shards as an earlier version published them."""
    draft = Draft(FileStore(folder), "shards", {}, {}, {"shard": 2})
    for name in shards.manifest.objects:
        if not name.endswith((".npz", ".npy")):
            draft.write(name, shards.read(name))
    return draft.publish(shards.facts_as(ShardsFacts).record())


def test_positions_are_those_of_the_indices_of_the_shards(sharded: Artifact) -> None:
    for split in ("train", "validation"):
        images_TA3 = read_array(sharded, images_name(split))
        shards = sharded.facts[split]["shards"]
        assert len(shards) > 1 or split == "validation"
        indexed = [
            track for name in shards for track in INDEX.validate_json(sharded.read(name.replace("tar", "index.json")))
        ]
        wanted = [[(m.offset // 512, m.size_bytes, m.crc32) for m in track.images] for track in indexed]
        assert (images_TA3 == np.array(wanted)).all()


def test_shards_without_arrays_are_read_the_same(sharded: Artifact, tmp_path: Path) -> None:
    old = before_arrays(sharded, tmp_path / "old")
    assert table_name("train") not in old.manifest.objects
    for split in ("train", "validation"):
        now, then = ShardReader(sharded, split, tmp_path), ShardReader(old, split, tmp_path)
        assert list(now.tracks) == list(then.tracks)
        assert (now.identity_T == then.identity_T).all()
        assert [now.jpeg(t, 3) for t in range(len(now))] == [then.jpeg(t, 3) for t in range(len(then))]


def test_a_subset_of_identities_keeps_tracks_names_and_images(sharded: Artifact, tmp_path: Path) -> None:
    every, some = (ShardReader(sharded, "train", tmp_path) for _ in range(2))
    kept = every.tracks.identities()[1::2]
    some.keep(set(kept[:4]))
    some.keep(set(kept[:3]))
    numbers = [n for n, (track, _) in enumerate(every.tracks) if track.identity in kept[:3]]
    for reader in (some, pickle.loads(pickle.dumps(some))):
        assert list(reader.tracks) == [every.tracks[number] for number in numbers]
        assert [reader.jpeg(n, 1) for n in range(len(reader))] == [every.jpeg(number, 1) for number in numbers]


@pytest.mark.parametrize("name", ["train.images.npy", "train.tracks.npz"])
def test_a_damaged_index_is_one_sentence(sharded: Artifact, tmp_path: Path, name: str) -> None:
    draft = Draft(FileStore(tmp_path / "damaged"), "shards", {}, {}, {"shard": 3})
    for each in sharded.manifest.objects:
        draft.write(each, sharded.read(each)[:-100] if each == name else sharded.read(each))
    with pytest.raises(DataError, match=rf"The index '{name}' of .* cannot be read .*; delete the artifact"):
        ShardReader(draft.publish(sharded.facts_as(ShardsFacts).record()), "train", tmp_path)


def test_reader_and_sampler_keep_few_bytes_per_track() -> None:
    """Of the 512 that are allowed. The benchmark loading.py measures a process."""
    tracks, draw = 20_000, np.random.default_rng(0)
    identity_T = np.unique(draw.integers(0, tracks, tracks), return_inverse=True)[1].astype(np.uint32)
    arrays = {"identity": identity_T, "edit": np.zeros(tracks, np.uint16), "shard": np.zeros(tracks, np.uint32),
              "edits": np.array([b"stylegan age"])}  # fmt: skip
    table = TrackTable(lambda names: {name: arrays[name] for name in names}, (0.0, 1.0, 2.0), ("train-00000.tar",))
    sampler = PairSampler(table.identity_T, np.arange(101.0), 1024, 0)
    layout = sampler._layout(1, 0)
    held = [
        *vars(table).values(),
        *vars(sampler).values(),
        *(getattr(layout, f.name) for f in dataclasses.fields(layout)),
    ]
    assert sum(each.nbytes for each in held if isinstance(each, np.ndarray)) < 50 * tracks
