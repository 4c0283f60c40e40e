"""Versions are immutable, numbered without gaps or doubles, and found by the names that people use."""

from __future__ import annotations

import multiprocessing
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.sealed import sealed, unsealed
from comface.errors import ConfigurationError, DataError
from comface.models.references import default_model, resolve_backbone, resolve_model
from comface.models.registry import Registry, names
from comface.models.shipped import shipped_model
from comface.store import Store, open_store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return open_store((tmp_path / "store").as_uri())
    request.getfixturevalue("s3_environment")
    return open_store(f"s3://comface/{uuid.uuid4().hex}")


def model(store: Store, content: str) -> Artifact:
    draft = Draft(store, "model", {"content": content}, {}, {"test": 1})
    draft.write("card.md", content.encode())
    return draft.publish({"tasks": {}, "metrics": []})


def test_versions_count_up_and_keep_their_model(store: Store) -> None:
    registry = Registry(store, "comface")
    for i in range(1, 12):
        assert registry.register(model(store, f"m{i}"), NOW).reference == f"comface@v{i}"
    versions = registry.versions()
    assert [version.number for version in versions] == list(range(1, 12))
    assert registry.open(versions[9]).read("card.md") == b"m10"
    assert names(store) == ["comface"]


def test_the_same_model_keeps_its_version(store: Store) -> None:
    registry = Registry(store, "comface")
    first = registry.register(model(store, "a"), NOW)
    registry.register(model(store, "b"), NOW)
    assert registry.register(model(store, "a"), NOW + timedelta(days=1)) == first
    assert len(registry.versions()) == 2


def _register(uri: str, content: str, start: float) -> None:
    store = open_store(uri)
    time.sleep(max(0.0, start - time.time()))
    Registry(store, "comface").register(model(store, content), NOW)


def test_processes_that_register_at_the_same_moment_get_different_versions(store: Store) -> None:
    contents = ["a", "b", "c", "same", "same"]
    start = time.time() + 2.5
    racers = [SPAWN.Process(target=_register, args=(store.uri, content, start)) for content in contents]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    registry = Registry(store, "comface")
    found = {version.number: registry.open(version).read("card.md").decode() for version in registry.versions()}
    assert sorted(found) == [1, 2, 3, 4]
    assert sorted(found.values()) == ["a", "b", "c", "same"]


def test_a_champion_is_made_by_promotion_alone_and_can_be_taken_back(store: Store) -> None:
    registry = Registry(store, "comface")
    for content in ("a", "b"):
        registry.register(model(store, content), NOW)
    assert registry.champion() is None
    assert registry.promote(2, NOW).before is None
    assert registry.promote(1, NOW).before == 2
    again = registry.promote(1, NOW + timedelta(days=1))
    assert again.promoted_at == NOW, "promoting the champion changes nothing"
    champion = registry.champion()
    assert champion is not None
    assert champion.number == 1


def test_every_way_to_name_a_model_finds_it(store: Store) -> None:
    registry, other = Registry(store, "comface"), Registry(store, "edema")
    one = registry.register(model(store, "1"), NOW)
    registry.register(model(store, "2"), NOW + timedelta(hours=1))
    other.register(model(store, "3"), NOW + timedelta(hours=2))
    registry.promote(1, NOW)

    def found(reference: str | None) -> tuple[str, bytes]:
        called, artifact = resolve_model(store, reference)
        return called, artifact.read("card.md")

    assert found(None) == ("comface@v1", b"1"), "the champion, not the newest of any name"
    assert found("comface") == ("comface@v2", b"2")
    assert found("comface@v1") == found("comface@champion") == ("comface@v1", b"1")
    uri = registry.open(one).uri
    assert found(uri) == (uri, b"1")


def test_without_a_reference_and_a_champion_the_newest_comface_is_meant_never_another_name(store: Store) -> None:
    Registry(store, "edema").register(model(store, "3"), NOW + timedelta(hours=2))
    with pytest.raises(ConfigurationError, match=r"No model 'comface' .*; choose one of: edema"):
        resolve_model(store, None)
    registry = Registry(store, "comface")
    registry.register(model(store, "1"), NOW)
    registry.register(model(store, "2"), NOW)
    assert resolve_model(store, None)[0] == "comface@v2"


def test_a_path_names_a_model_and_every_name_of_a_model_names_its_backbone(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    backbone = Draft(store, "backbone", {}, {}, {"test": 1}).publish({})
    made = Draft(store, "model", {}, {"backbone": backbone}, {"test": 1}).publish({})
    Registry(store, "comface").register(made, NOW)
    path = made.uri.removeprefix("file://")
    assert resolve_model(store, path)[1].sha256 == made.sha256
    for reference in ("comface", "comface@v1", path, made.uri, backbone.uri, backbone.uri.removeprefix("file://")):
        assert resolve_backbone(store, reference).sha256 == backbone.sha256
    tracks = Draft(store, "tracks", {}, {}, {"test": 1}).publish({})
    with pytest.raises(DataError, match="kind 'tracks', neither a backbone nor a model"):
        resolve_backbone(store, tracks.uri)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("other", "No model 'other' is registered in .*; registered models: comface"),
        ("comface@v9", "no version v9 of 'comface' .*; the newest is v1"),
        ("comface@champion", "'comface' has no champion; choose one with"),
        ("comface@latest", "write NAME, NAME@v3, NAME@champion, NAME@ALIAS, a URI or a path"),
        ("comface@ward-7", "'comface' has no alias 'ward-7'; its aliases: none"),
        ("Com Face", "is not a valid model name"),
        ("n" * 1000, "is not a valid model name"),
        ("/" + "n" * 5000, "is not a valid name, URI or path"),
        ("a\x1b[2J", r"'a\\x1b\[2J' is not a valid name, URI or path"),
    ],
)
def test_a_wrong_reference_says_what_there_is(tmp_path: Path, reference: str, message: str) -> None:
    store = open_store((tmp_path / "store").as_uri())
    Registry(store, "comface").register(model(store, "a"), NOW)
    with pytest.raises(ConfigurationError, match=message) as error:
        resolve_model(store, reference)
    assert str(error.value).endswith(".")


def test_the_default_is_the_champion_else_the_newest_else_the_shipped_model(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    with pytest.raises(ConfigurationError, match=r"No model is registered in file:.*; run `comface run`"):
        default_model(store)
    called, shipped = resolve_model(store, None)
    assert (called, shipped.pinned) == ("shipped", shipped_model().pinned)
    registry = Registry(store, "comface")
    for content in "ab":
        registry.register(model(store, content), NOW)
    assert resolve_model(store, None)[0] == "comface@v2"
    registry.promote(1, NOW)
    assert resolve_model(store, None)[0] == "comface@v1"
    assert resolve_model(store, "shipped")[1].pinned == shipped.pinned


def test_no_registered_model_may_have_the_name_of_the_shipped_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'shipped' is the model that ships with the package"):
        Registry(open_store(tmp_path.as_uri()), "shipped")


def test_a_uri_of_something_else_is_refused(tmp_path: Path) -> None:
    artifact = Draft(open_store(tmp_path.as_uri()), "tracks", {}, {}, {"test": 1}).publish({})
    with pytest.raises(DataError, match="kind 'tracks', not 'model'"):
        resolve_model(open_store(tmp_path.as_uri()), artifact.uri)


def test_a_model_changed_after_its_registration_is_not_opened(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    registry = Registry(store, "comface")
    artifact = model(store, "a")
    version = registry.register(artifact, NOW)
    manifest = unsealed(artifact.store.read("manifest.json"))
    artifact.store.write("manifest.json", sealed({**manifest, "facts": {"metrics": ["better"]}}))
    open_artifact(artifact.uri)
    with pytest.raises(DataError, match="was changed after registration"):
        registry.open(version)
    with pytest.raises(DataError, match="was changed after registration"):
        registry.promote(1, NOW)


def test_a_store_that_was_moved_keeps_its_registry(tmp_path: Path) -> None:
    store = open_store((tmp_path / "old").as_uri())
    Registry(store, "comface").register(model(store, "a"), NOW)
    (tmp_path / "old").rename(tmp_path / "new")
    _, artifact = resolve_model(open_store((tmp_path / "new").as_uri()), "comface@v1")
    assert artifact.read("card.md") == b"a"


def test_a_model_of_another_store_is_not_registered(tmp_path: Path) -> None:
    here, there = open_store((tmp_path / "here").as_uri()), open_store((tmp_path / "there").as_uri())
    with pytest.raises(ConfigurationError, match="is not in the store"):
        Registry(here, "comface").register(model(there, "a"), NOW)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    store.write("registry/comface/v1.json", b"")
    with pytest.raises(DataError, match=r"record 'registry/comface/v1\.json' .* is damaged"):
        Registry(store, "comface").versions()
