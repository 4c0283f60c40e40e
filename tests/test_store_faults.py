"""S3 through a proxy that spoils what passes: what can be tried again is, and what cannot ends in one sentence."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_proxy import KINDS, FaultyProxy, faulty
from tiny_generator import ATTRIBUTES, load_tiny

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.verify import verify
from comface.errors import TryAgain
from comface.plan.configuration import resolve
from comface.pretrain.step import pretrain
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore, Store, open_store
from comface.store.s3 import S3Store, access_from
from comface.store.s3_answers import Passing
from comface.store.s3_http import GaveUp, Patience, PatientPool
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader

HASTY = Patience(
    within_s=1.0, first_s=0.3, silence_s=0.3, tell_s=0.4, pause_s=0.02, longest_pause_s=0.05, bytes_per_s=2_000
)
"""A thousandth of the patience of a step that runs for days."""
LASTING = replace(HASTY, within_s=20.0, tell_s=5.0)


def store_behind(proxy: FaultyProxy, environment: dict[str, str], patience: Patience, prefix: str) -> S3Store:
    access = access_from({**environment, "AWS_ENDPOINT_URL": proxy.url})
    return S3Store(replace(access, patience=patience), "comface", prefix)


def direct(environment: dict[str, str], prefix: str) -> S3Store:
    return S3Store(access_from(environment), "comface", prefix)


# Some of it fails


def test_with_every_seventh_request_spoilt_each_operation_succeeds(
    s3_environment: dict[str, str], tmp_path: Path
) -> None:
    prefix, draw = uuid.uuid4().hex, random.Random(1)
    contents = {f"a/{i}": draw.randbytes(draw.choice([0, 1, 300, 40_000])) for i in range(24)}
    (tmp_path / "large").write_bytes(draw.randbytes(12_000_000))  # three parts
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 1 / 7, seed=3, stall_s=0.6) as proxy:
        store = store_behind(proxy, s3_environment, LASTING, prefix)
        for key, data in contents.items():
            store.write(key, data)
        store.upload("large", tmp_path / "large")
        assert all(store.create(f"new/{i}", str(i).encode()) for i in range(10))
        assert not any(store.create(f"new/{i}", b"another") for i in range(10))
        assert {key: store.read(key) for key in contents} == contents
        assert all(len(store.read_range(key, 100, 200)) == 200 for key, data in contents.items() if len(data) > 299)
        store.download("large", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == (tmp_path / "large").read_bytes()
        for _ in range(10):
            assert set(store.keys("a")) == set(contents)
        for key in list(contents)[:10]:
            store.delete(key)
            assert not store.exists(key)
    assert min(proxy.seen[kind] for kind in KINDS) > 0
    after = direct(s3_environment, prefix)
    assert {key: after.read(key) for key in after.keys("a")} == dict(list(contents.items())[10:])
    assert [after.read(f"new/{i}") for i in range(10)] == [str(i).encode() for i in range(10)]


@pytest.mark.parametrize("kind", ["503", "reset", "lost", "truncated"])
def test_an_upload_in_parts_outlives_what_happens_to_its_posts(
    s3_environment: dict[str, str], tmp_path: Path, kind: str
) -> None:
    prefix = uuid.uuid4().hex
    (tmp_path / "large").write_bytes(os.urandom(6_000_000))
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 0.6, kind, seed=4) as proxy:
        proxy.commands = ("POST",)
        store = store_behind(proxy, s3_environment, LASTING, prefix)
        store.upload("large", tmp_path / "large")
    assert proxy.seen[f"{kind} POST"] > 0
    assert direct(s3_environment, prefix).read("large") == (tmp_path / "large").read_bytes()


def test_an_artifact_made_and_read_through_faults_is_what_its_manifest_names(
    s3_environment: dict[str, str], tmp_path: Path
) -> None:
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 0.15, seed=5, stall_s=0.6) as proxy:
        store = store_behind(proxy, s3_environment, LASTING, uuid.uuid4().hex)
        draft = Draft(store, "tracks", {"seed": 1}, {}, {"test": 1})
        contents = {f"{i}.tar": os.urandom(50_000) for i in range(12)}
        for name, data in contents.items():
            draft.write(name, data)
        made = draft.publish({})
        found = open_artifact(made.uri, "tracks", made.store)
        assert {name: found.read(name) for name in contents} == contents
        assert all(found.local(name, tmp_path / "cache").read_bytes() == data for name, data in contents.items())
    assert sum(proxy.seen[kind] for kind in KINDS) > 5
    checked = open_artifact(made.uri, "tracks")  # past the proxy
    for name, entry in checked.manifest.objects.items():
        assert hashlib.sha256(checked.read(name)).hexdigest() == entry.sha256


def test_a_read_that_breaks_off_goes_on_where_it_was(s3_environment: dict[str, str], tmp_path: Path) -> None:
    prefix, data = uuid.uuid4().hex, os.urandom(300_000)
    direct(s3_environment, prefix).write("k", data)
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 1.0, "truncated") as proxy:  # each answer ends at its half
        store = store_behind(proxy, s3_environment, LASTING, prefix)
        store.download("k", tmp_path / "k")
        assert (tmp_path / "k").read_bytes() == data
        assert store.read_range("k", 10, 100_000) == data[10:100_010]
    assert 15 < proxy.seen["truncated GET"] < 50


def test_an_object_that_is_replaced_while_it_is_read_is_read_from_its_beginning(
    s3_environment: dict[str, str], tmp_path: Path
) -> None:
    prefix = uuid.uuid4().hex
    direct(s3_environment, prefix).write("k", b"o" * 1_000_000)
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 1.0, "truncated") as proxy:

        def replace_it(_: float) -> None:
            proxy.share = 0.0
            direct(s3_environment, prefix).write("k", b"n" * 1_000_000)

        store = store_behind(proxy, s3_environment, replace(LASTING, sleep=replace_it), prefix)
        assert store.read("k") == b"n" * 1_000_000


def test_who_created_an_object_learns_it_even_when_the_answer_is_lost(s3_environment: dict[str, str]) -> None:
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 0.5, "lost", seed=2) as proxy:
        store = store_behind(proxy, s3_environment, LASTING, uuid.uuid4().hex)
        assert all(store.create(f"v{i}", f"mine {i}".encode()) for i in range(12))
        assert not any(store.create(f"v{i}", b"yours") for i in range(12))
    assert proxy.seen["lost PUT"] > 3


def test_tracks_and_shards_are_made_in_one_start_with_every_eighth_request_spoilt(
    s3_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits as on a disk, and everything is what the manifests name."""

    def made_in(store: Store) -> tuple[Artifact, list[bytes]]:
        share = Share(generator="procedural", identities=20, attributes=ATTRIBUTES)
        config = SynthesizeConfig(composition=(share,), alpha_step=2.5, image_size_px=32, parts=2, screen_faces=False)
        parts = [synthesize(store, config, part, load=load_tiny) for part in (0, 1)]
        shards = shard(store, ShardConfig(), parts)
        reader = ShardReader(shards, "train", tmp_path / store.uri[:4])
        return shards, [reader.jpeg(track, 0) for track in range(len(reader))]

    undisturbed = made_in(FileStore(tmp_path / "store"))
    uri = f"s3://comface/{uuid.uuid4().hex}"
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 1 / 8, seed=6) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        shards, images = made_in(open_store(uri))
    assert sum(proxy.seen[kind] for kind in KINDS) > 5
    assert images == undisturbed[1]
    assert shards.manifest.objects == undisturbed[0].manifest.objects
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_environment["AWS_ENDPOINT_URL"])
    assert len(list(verify(shards.uri))) == 1 + len(shards.manifest.inputs)


# All of it fails


def act_on(store: S3Store, folder: Path) -> dict[str, Callable[[], object]]:
    return {
        "503": lambda: store.upload("large", folder / "large"),
        "slow down": lambda: store.create("c", b"x"),
        "reset": lambda: store.write("w", b"x"),
        "lost": lambda: store.delete("k"),
        "truncated": lambda: list(store.keys()),
        "flipped": lambda: store.read("k"),
        "garbled": lambda: list(store.keys()),
        "stalled": lambda: store.exists("k"),
        "trickle": lambda: store.download("k", folder / "copy"),
    }


@pytest.mark.parametrize(
    ("kind", "words"),
    [("503", "answers 503"), ("slow down", "answers 503"), ("reset", "closes connections"),
     ("lost", "closes connections"), ("truncated", "truncated responses"), ("flipped", "does not match its ETag"),
     ("garbled", "an invalid response"), ("stalled", "sent nothing for"), ("trickle", r"bytes/s|almost no data")],
)  # fmt: skip
def test_what_never_succeeds_ends_in_one_sentence_within_its_time(
    s3_environment: dict[str, str], tmp_path: Path, kind: str, words: str
) -> None:
    prefix, told = uuid.uuid4().hex, list[str]()
    direct(s3_environment, prefix).write("k", os.urandom(100_000))
    (tmp_path / "large").write_bytes(bytes(6 << 20))
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 1.0, kind, stall_s=5) as proxy:
        store = store_behind(proxy, s3_environment, replace(HASTY, tell=told.append), prefix)
        act = act_on(store, tmp_path)[kind]
        started = time.monotonic()
        with pytest.raises(TryAgain, match=words) as error:
            act()
        assert time.monotonic() - started < HASTY.within_s + HASTY.silence_s + 1
        assert str(error.value).count("\n") == 0
        assert str(error.value).endswith("run again.")
        assert proxy.url in str(error.value)
        if kind != "flipped":  # that one is read five times, and needs no more
            assert told
            assert all(f"The store at {proxy.url}" in line for line in told)
        assert [path.name for path in tmp_path.iterdir()] == ["large"]


def test_a_store_that_was_given_up_is_not_waited_for_as_long_again(s3_environment: dict[str, str]) -> None:
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 0.0, "503") as proxy:
        store = store_behind(proxy, s3_environment, HASTY, uuid.uuid4().hex)
        store.write("k", b"x")
        proxy.share = 1.0
        with pytest.raises(TryAgain):
            store.read("k")
        started = time.monotonic()
        with pytest.raises(TryAgain):
            store.write("record", b"x")
        assert time.monotonic() - started < HASTY.within_s
        proxy.share = 0.0
        assert store.read("k") == b"x"


# A training

TRAINING = (
    "pretrain.image_size_px=32", "pretrain.pairs_per_step=8", "pretrain.steps_per_epoch=3", "pretrain.epochs=2",
    "pretrain.curriculum_ends=[1,2]", "pretrain.projection_width=16", "pretrain.checkpoint_every_s=600",
)  # fmt: skip


def test_a_checkpoint_that_the_store_does_not_take_costs_no_training_but_the_weights_do(
    s3_environment: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    share = Share(generator="procedural", identities=20, attributes=ATTRIBUTES)
    config = SynthesizeConfig(composition=(share,), alpha_step=2.5, image_size_px=32, parts=1, screen_faces=False)
    disk = FileStore(tmp_path / "store")
    shards = shard(disk, ShardConfig(), [synthesize(disk, config, 0, load=load_tiny)])
    training = resolve("laptop", TRAINING).pretrain
    with faulty(s3_environment["AWS_ENDPOINT_URL"], 1.0, "503") as proxy:
        proxy.commands = ("PUT",)
        store = store_behind(proxy, s3_environment, replace(HASTY, within_s=0.3), uuid.uuid4().hex)
        with pytest.raises(TryAgain, match=r"'model[.].*answers 503") as error:
            pretrain(store, training, shards, tmp_path / "cache")
    assert error.value.exit_code == 75
    said = capfd.readouterr().err
    warning = "The checkpoint was not saved, and the training continues without it: The store s3://"
    assert said.count(warning) == 2
    assert said.rindex(warning) > said.index("epoch 2/2")


# Time


class Hours:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def patient(clock: Hours, luck: float) -> PatientPool:
    patience = Patience(clock=lambda: clock.now, sleep=clock.sleep, random=lambda: luck, tell=lambda _: None)
    return PatientPool("http://127.0.0.1:9", "us-east-1", patience)


@pytest.mark.parametrize("luck", [0.0, 0.5, 1.0])
def test_pauses_grow_to_ten_seconds_and_end_after_three_minutes(luck: float) -> None:
    clock = Hours()

    def fail() -> None:
        raise Passing("answers 503")

    with pytest.raises(GaveUp, match=r"answers 503, tried for 1\d\d s"):
        patient(clock, luck).run(fail)
    grown = [0.2 * 2**i for i in range(6)]
    assert clock.slept[:6] == pytest.approx([pause * (0.5 + luck / 2) for pause in grown])
    assert max(clock.slept) == pytest.approx(10 * (0.5 + luck / 2))
    assert 165 < clock.now <= 180


def test_a_server_that_was_never_there_is_waited_for_ten_seconds_only() -> None:
    clock = Hours()

    def fail() -> None:
        raise Passing("refuses connections", connected=False)

    with pytest.raises(GaveUp):
        patient(clock, 1.0).run(fail)
    assert 5 < clock.now <= 10


def test_what_gets_on_has_its_time_from_there() -> None:
    clock = Hours()
    pool = patient(clock, 1.0)
    steps = itertools.count()

    def slowly() -> str:
        clock.now += 100
        pool.progress()
        if next(steps) < 9:
            raise Passing("sends truncated responses")
        return "whole"

    assert pool.run(slowly) == "whole"
    assert clock.now > 1000
