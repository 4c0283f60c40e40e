"""Two runs make the same artifact with other bits: one is published, both go on with it, and it verifies."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
from pathlib import Path

import pytest
from test_store import forgetful_endpoint  # noqa: F401

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.verify import verify
from comface.store import FileStore, Store
from comface.store.s3 import S3Store, access_from

REVISIONS = {"test": 1}
SPAWN = multiprocessing.get_context("spawn")
ROUNDS = 40


def make(store: Store, number: int, noise: bytes, between: threading.Barrier | None = None) -> Artifact:
    """An artifact of two objects that must be of one run: the second is the digest of the first."""
    draft = Draft(store, "backbone", {"round": number}, {}, REVISIONS)
    draft.write("model.bin", noise)
    if between is not None:
        between.wait(30)
    draft.write("same.txt", b"the same in every run")
    draft.write("curve/digest.txt", hashlib.sha256(noise).hexdigest().encode())
    return draft.publish({"noise": noise[:4].hex()})


def check(artifact: Artifact) -> None:
    assert artifact.read("curve/digest.txt").decode() == hashlib.sha256(artifact.read("model.bin")).hexdigest()
    assert artifact.facts["noise"] == artifact.read("model.bin")[:4].hex()
    assert [each.uri for each in verify(artifact.pinned)] == [artifact.uri]


def _run(root: str, start: multiprocessing.Barrier, results: multiprocessing.Queue[list[str]]) -> None:
    store, made = FileStore(Path(root)), []
    for number in range(ROUNDS):
        noise = os.urandom(1000 + number)
        start.wait(60)
        artifact = make(store, number, noise)
        check(artifact)
        made.append(artifact.pinned)
    results.put(made)


def test_processes_that_make_other_bits_end_with_one_artifact(tmp_path: Path) -> None:
    start, results = SPAWN.Barrier(2), SPAWN.Queue()
    runs = [SPAWN.Process(target=_run, args=(str(tmp_path), start, results)) for _ in range(2)]
    for run in runs:
        run.start()
    first, second = results.get(timeout=60), results.get(timeout=60)
    for run in runs:
        run.join(30)
        assert run.exitcode == 0
    assert first == second
    for reference in first:
        artifact = open_artifact(reference)
        check(artifact)
        lying = {path for path in Path(artifact.store.path("x")).parent.rglob("*") if path.is_file()}
        assert len(lying) <= 7, "manifest, and what the other run wrote before"


def test_on_s3_too(s3_environment: dict[str, str]) -> None:
    two_runs_end_with_one_artifact_each(s3_environment)


def test_on_s3_too_where_the_server_ignores_or_refuses_conditions(
    forgetful_endpoint: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = {"AWS_ENDPOINT_URL": forgetful_endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    two_runs_end_with_one_artifact_each(environment)


def two_runs_end_with_one_artifact_each(environment: dict[str, str]) -> None:
    made: list[Artifact] = []
    between = threading.Barrier(2)

    def run() -> None:
        store = S3Store(access_from(environment), "comface", "publication", settle_s=0.5)
        made.extend(make(store, number, os.urandom(100), between) for number in range(2))

    runs = [threading.Thread(target=run) for _ in range(2)]
    for each in runs:
        each.start()
    for each in runs:
        each.join(60)
    assert len(made) == 4
    assert len({artifact.pinned for artifact in made}) == 2
    for artifact in made:
        check(artifact)


def test_a_second_attempt_with_other_bits_finds_what_it_wrote_itself(tmp_path: Path) -> None:
    """The first was killed with one object written; the second too, after it had written that one with other bits."""
    store = FileStore(tmp_path)
    for noise in (b"first", b"second"):
        Draft(store, "tracks", {}, {}, REVISIONS).write("chunk.tar", noise)
    again = Draft(store, "tracks", {}, {}, REVISIONS)
    assert again.adopt(["chunk.tar"], lambda data: data if data == b"second" else None) == b"second"
    assert again.publish({}).read("chunk.tar") == b"second"
    damaged = Draft(store, "tracks", {"seed": 1}, {}, REVISIONS)
    Path(damaged.store.path("chunk.0123456789abcdef.tar")).parent.mkdir()
    Path(damaged.store.path("chunk.0123456789abcdef.tar")).write_bytes(b"not of this digest")
    assert damaged.adopt(["chunk.tar"], bytes) is None
