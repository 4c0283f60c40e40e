"""Shard: every track once, no identity on both sides, readable by `webdataset`, checked at every step."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tar_tracks import Stored, tracks_in, tracks_of_part
from tiny_generator import ATTRIBUTES, load_tiny
from whole_facts import shards_facts

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.verify import verify
from comface.errors import DataError
from comface.shard.config import ShardConfig
from comface.shard.plan import closed_at, plan
from comface.shard.step import shard
from comface.store import FileStore, open_store
from comface.synthesize.step import synthesize
from comface.tracks.blocks import blocks
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.located import locate
from comface.tracks.shard_reader import ShardReader
from comface.tracks.tar import IndexedTrack, Track, TrackTar

SMALL = ShardConfig(shard_size_mb=0.15)


def config(parts: int = 2, **changes: object) -> SynthesizeConfig:
    composition = (
        Share(generator="procedural", identities=30, attributes=ATTRIBUTES, attributes_per_identity=2),
        Share(generator="dcgan", identities=20, attributes=("smile", "age")),
    )
    values = {"composition": composition, "alpha_step": 2.5, "image_size_px": 32, "parts": parts, **changes}
    return SynthesizeConfig.model_validate({"screen_faces": False, **values})


def parts_of(store: FileStore, settings: SynthesizeConfig) -> list[Artifact]:
    return [synthesize(store, settings, part, load=load_tiny) for part in range(settings.parts)]


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def contents(artifact: Artifact, split: str) -> Stored:
    return tracks_in(artifact, artifact.facts[split]["shards"])


def flip_bit(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def first_image_offset(artifact: Artifact, index: str) -> int:
    return int(artifact.read_json(index)[0]["images"][2]["offset"])


def test_every_track_is_in_one_shard_and_no_identity_is_on_both_sides(store: FileStore) -> None:
    parts = parts_of(store, config())
    artifact = shard(store, SMALL, parts)
    train, validation = contents(artifact, "train"), contents(artifact, "validation")
    first, second = map(tracks_of_part, parts)
    assert train | validation == first | second
    sides = [{track.identity for track, _ in side.values()} for side in (train, validation)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 5  # a tenth of 50


def test_facts_say_what_the_shards_hold(store: FileStore) -> None:
    artifact = shard(store, SMALL, parts_of(store, config()))
    for split in ("train", "validation"):
        held, facts = contents(artifact, split), artifact.facts[split]
        assert facts["tracks"] == len(held)
        assert facts["images"] == 5 * len(held)
        assert facts["identities"] == len({track.identity for track, _ in held.values()})
        assert facts["shards"] == [n for n in artifact.manifest.objects if n.startswith(split) and n.endswith(".tar")]
    assert artifact.facts["image_size_px"] == 32
    assert artifact.facts["alphas"] == list(config().alphas)
    assert len(artifact.facts["train"]["shards"]) > 2


def test_every_generator_has_a_contact_sheet(store: FileStore) -> None:
    artifact = shard(store, SMALL, parts_of(store, config()))
    sheets = [Image.open(io.BytesIO(artifact.read(f"sheet-{n}.jpg"))) for n in range(len(artifact.facts["generators"]))]
    assert artifact.facts["generators"] == ["dcgan", "procedural"]
    assert [sheet.height > 100 for sheet in sheets] == [True, True]
    assert sheets[0].tobytes() != sheets[1].tobytes()


def test_the_bits_do_not_depend_on_the_number_or_order_of_the_parts(store: FileStore) -> None:
    one = shard(store, SMALL, parts_of(store, config(parts=1)))
    three = parts_of(store, config(parts=3))
    several = shard(store, SMALL, three)
    assert several.manifest.objects == one.manifest.objects
    again = shard(FileStore(store.root.parent / "other"), SMALL, three[::-1])
    assert (again.manifest.objects, again.facts) == (several.manifest.objects, several.facts)


def test_shards_are_closed_at_their_size_and_mix_generators(store: FileStore) -> None:
    artifact = shard(store, SMALL, parts_of(store, config()))
    sizes = [artifact.manifest.objects[name].size_bytes for name in artifact.facts["train"]["shards"]]
    assert max(sizes) <= 150_000
    assert min(sizes[:-1]) > 100_000
    first = artifact.read_json("train-00000.index.json")
    assert {entry["track"]["generator"] for entry in first} == {"dcgan", "procedural"}


def test_a_track_larger_than_a_shard_has_one_of_its_own(store: FileStore) -> None:
    artifact = shard(store, ShardConfig(shard_size_mb=0.001), parts_of(store, config()))
    assert len(artifact.facts["train"]["shards"]) == artifact.facts["train"]["tracks"]


def test_the_webdataset_library_reads_a_shard(store: FileStore) -> None:
    webdataset = pytest.importorskip("webdataset")
    artifact = shard(store, SMALL, parts_of(store, config()))
    name = artifact.facts["train"]["shards"][0]
    path = artifact.local(name, store.root)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    index = artifact.read_json("train-00000.index.json")
    assert [sample["__key__"] for sample in samples] == [entry["track"]["key"] for entry in index]
    for sample in samples:
        assert json.loads(sample["json"])["key"] == sample["__key__"]
        assert sorted(name for name in sample if name.endswith("jpg")) == [f"{i:03d}.jpg" for i in range(5)]


def test_verify_walks_from_the_shards_to_the_tracks(store: FileStore) -> None:
    artifact = shard(store, SMALL, parts_of(store, config()))
    walked = [each.manifest.kind for each in verify(artifact.uri)]
    assert walked[0] == "shards"
    assert walked[1:] == ["tracks"] * len(blocks(config()))


def test_a_flipped_bit_in_a_part_stops_the_shard_and_names_the_image(store: FileStore) -> None:
    parts = parts_of(store, config())
    block = parts[1].input("tracks-00000")
    flip_bit(block.store.path("tracks.tar"), first_image_offset(block, "tracks.index.json") + 40)
    with pytest.raises(DataError, match=r"002\.jpg' in 'tracks\.tar' of .* is damaged"):
        shard(store, SMALL, parts)
    assert not list(store.root.glob("shards/*/manifest.json"))


def test_a_flipped_bit_in_a_parts_index_stops_the_shard(store: FileStore) -> None:
    parts = parts_of(store, config())
    flip_bit(parts[0].input("tracks-00000").store.path("tracks.index.json"), 200)
    with pytest.raises(DataError, match=r"tracks\.index\.json"):
        shard(store, SMALL, parts)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"alpha_step": 5.0}, r"other alphas than .* \(3 from -5\.0 to 5\.0 instead of 5 from -5\.0 to 5\.0\)"),
        ({"image_size_px": 48}, r"other image_size_px than .* \(48 instead of 32\)"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(store: FileStore, other: dict[str, object], message: str) -> None:
    parts = [parts_of(store, config())[0], parts_of(store, config(**other))[1]]
    with pytest.raises(DataError, match=message):
        shard(store, SMALL, parts)


def test_a_part_that_is_missing_is_named(store: FileStore) -> None:
    with pytest.raises(DataError, match="Part 1 of 3 is missing"):
        shard(store, SMALL, [part for part in parts_of(store, config(parts=3)) if part.facts["part"] != 1])
    with pytest.raises(DataError, match="No part"):
        shard(store, SMALL, [])


def test_a_key_that_comes_twice_is_refused(store: FileStore) -> None:
    parts = parts_of(store, config(parts=1)) + parts_of(store, config(parts=1, jpeg_quality=80))
    with pytest.raises(DataError, match="occurs twice"):
        shard(store, SMALL, parts)


def test_a_shard_killed_by_sigkill_goes_on_and_ends_with_the_same_manifest(store: FileStore, tmp_path: Path) -> None:
    parts = parts_of(store, config())
    undisturbed = shard(FileStore(tmp_path / "undisturbed"), SMALL, parts)
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from comface.shard.config import ShardConfig\n"
        "from comface.artifacts.manifest import open_artifact\n"
        "from comface.shard.step import shard\n"
        "from comface.store import FileStore\n"
        "class Slow(FileStore):\n"
        "    def create(self, key, data):\n"
        "        time.sleep(0.2)\n"
        "        return super().create(key, data)\n"
        "    def child(self, prefix):\n"
        "        return Slow(self.path(prefix))\n"
        "parts = [open_artifact(uri) for uri in sys.argv[2:]]\n"
        "shard(Slow(Path(sys.argv[1])), ShardConfig(shard_size_mb=0.15), parts)\n"
    )
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, str(script), str(folder), *(part.uri for part in parts)])
    until = time.monotonic() + 60
    while len(list(folder.rglob("*.tar"))) < 2 and time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(folder.rglob("manifest.json"))
    first = next(folder.rglob("train-00000.tar"))
    written = first.stat().st_mtime_ns
    resumed = shard(FileStore(folder), SMALL, parts)
    assert resumed.sha256 == undisturbed.sha256
    assert first.stat().st_mtime_ns == written


def test_a_leftover_shard_with_a_flipped_bit_is_made_again(store: FileStore) -> None:
    parts = parts_of(store, config())
    good = shard(store, SMALL, parts)
    offset = first_image_offset(good, "train-00000.index.json")
    good.store.path("manifest.json").unlink()
    flip_bit(good.store.path("train-00000.tar"), offset + 9)
    assert shard(store, SMALL, parts).sha256 == good.sha256


def test_shards_come_out_the_same_in_an_s3_store(store: FileStore, tmp_path: Path, s3_environment: dict) -> None:
    parts = parts_of(store, config())
    remote = open_store("s3://comface/shard-test")
    remote_parts = [synthesize(remote, config(), part, load=load_tiny) for part in range(2)]
    artifact = shard(remote, SMALL, remote_parts)
    assert artifact.manifest.objects == shard(store, SMALL, parts).manifest.objects
    reader = pickle.loads(pickle.dumps(ShardReader(artifact, "train", tmp_path / "cache")))
    held = contents(artifact, "train")
    assert reader.jpeg(7, 3) == held[reader.tracks[7].track.key][1][3]


# The plan


def located(number: int, identity: str, size: int = 700):
    track = Track(
        key=f"k{number}", generator="dcgan", identity=identity, attribute="smile", seed=number, alphas=(0.0, 1.0)
    )
    tar = TrackTar()
    tar.add(track, [b"x" * size, b"y" * (size + 3)])
    return locate(tar.index[0], 0), len(tar.close())


@given(st.lists(st.integers(0, 8), min_size=6, max_size=40), st.integers(0, 5), st.randoms())
@settings(max_examples=50, deadline=None)
def test_whatever_the_order_the_plan_is_the_same_and_sides_share_no_identity(owners, seed, random) -> None:
    if len(set(owners)) < 2:
        return
    tracks = [located(i, f"dcgan-{owner:07d}")[0] for i, owner in enumerate(owners)]
    settings_ = ShardConfig(shard_size_mb=0.004, seed=seed)
    first = plan(tracks, settings_)
    random.shuffle(tracks)
    again = plan(tracks, settings_)
    assert [[t.track.key for t in s] for _, _, s in first.items()] == [
        [t.track.key for t in s] for _, _, s in again.items()
    ]
    sides = {split: {t.track.identity for s in shards for t in s} for split, shards in first.shards.items()}
    assert sides["train"]
    assert sides["validation"]
    assert not sides["train"] & sides["validation"]
    assert sum(len(s) for _, _, s in first.items()) == len(owners)


def test_the_planned_size_of_a_track_is_what_it_takes_in_the_tar() -> None:
    planned, size_bytes = located(3, "dcgan-0000000", size=1023)
    rounded = -(-(planned.tar_bytes + 1024) // 10240) * 10240
    assert size_bytes == rounded


def test_an_index_whose_images_do_not_follow_each_other_is_refused() -> None:
    track = Track(key="k", generator="dcgan", identity="dcgan-0", attribute="a", seed=0, alphas=(0.0, 1.0))
    members = [{"offset": 1024, "size_bytes": 5, "crc32": 0}, {"offset": 1536, "size_bytes": 5, "crc32": 0}]
    with pytest.raises(DataError, match="does not fit track 'k'"):
        locate(IndexedTrack.model_validate({"track": track, "images": members}), 0)


def test_no_tracks_make_no_shards() -> None:
    assert closed_at([], 100) == []


# The reader


@pytest.fixture
def sharded(store: FileStore) -> Artifact:
    return shard(store, SMALL, parts_of(store, config()))


def test_the_reader_gives_every_image_as_it_was_synthesized(sharded: Artifact, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        reader, held = ShardReader(sharded, split, tmp_path), contents(sharded, split)
        assert len(reader) == len(held) == len(reader.tracks)
        assert reader.alphas == config().alphas
        for number, item in enumerate(reader.tracks):
            track, jpegs = held[item.track.key]
            assert item.track == track
            assert [reader.jpeg(number, alpha) for alpha in range(5)] == jpegs


def test_a_bit_flipped_after_the_shard_was_opened_is_found_at_the_read(sharded: Artifact, tmp_path: Path) -> None:
    reader = ShardReader(sharded, "train", tmp_path)
    assert reader.jpeg(0, 2)
    flip_in_place(sharded.store.path(reader.tracks[0].shard), first_image_offset(sharded, "train-00000.index.json"))
    with pytest.raises(DataError, match=r"\.002\.jpg' in 'train-00000\.tar' .*crc32"):
        reader.jpeg(0, 2)
    assert reader.jpeg(0, 1)


def flip_in_place(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset + 20)
        byte = file.read(1)[0]
        file.seek(offset + 20)
        file.write(bytes([byte ^ 8]))


def test_a_bit_flipped_before_the_shard_is_opened_is_found_when_it_is(sharded: Artifact, tmp_path: Path) -> None:
    flip_in_place(sharded.store.path("train-00000.tar"), first_image_offset(sharded, "train-00000.index.json"))
    with pytest.raises(DataError, match=r"train-00000\.tar"):
        ShardReader(sharded, "train", tmp_path).jpeg(0, 0)


def test_more_shards_than_may_be_open_are_read_too(
    sharded: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = ShardReader(sharded, "train", tmp_path)
    assert len({item.shard for item in every.tracks}) > 2
    wanted = [every.jpeg(number, 1) for number in range(len(every))]
    monkeypatch.setattr("comface.tracks.shard_reader.OPEN_FILES", 2)
    reader, before = ShardReader(sharded, "train", tmp_path), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(2):
        assert [reader.jpeg(number, 1) for number in range(len(reader))] == wanted
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 2


def _read(reader: ShardReader, number: int) -> bytes:
    return reader.jpeg(number, 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_reader_serves_other_processes(sharded: Artifact, tmp_path: Path, method: str) -> None:
    reader = ShardReader(sharded, "train", tmp_path)
    wanted = [reader.jpeg(number, 1) for number in range(10)]
    with get_context(method).Pool(2) as pool:
        assert pool.starmap(_read, [(reader, number) for number in range(10)]) == wanted


def test_the_reader_reads_what_an_earlier_run_published(sharded: Artifact, tmp_path: Path) -> None:
    reader = ShardReader(open_artifact(sharded.uri, "shards"), "validation", tmp_path)
    assert len(reader) == sharded.facts["validation"]["tracks"]


def test_an_index_that_is_not_one_is_a_data_error(store: FileStore, tmp_path: Path) -> None:
    draft = Draft(store, "shards", {}, {}, {"test": 1})
    draft.write("train-00000.tar", b"")
    draft.write("train-00000.index.json", b'[{"track": 3}]')
    facts = shards_facts(alphas=[0.0], image_size_px=32)
    with pytest.raises(DataError, match="cannot be read"):
        ShardReader(draft.publish(facts), "train", tmp_path)
