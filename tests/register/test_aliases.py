"""Aliases, the history of the champion, and rollback: records are added, never changed or deleted."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from comface.artifacts.manifest import Artifact, Draft
from comface.cli import main
from comface.errors import ConfigurationError, DataError, TryAgain
from comface.models.aliases import Promotion, previous_champion
from comface.models.references import resolve_model
from comface.models.registry import Registry
from comface.store import FileStore, Store, open_store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPAWN = multiprocessing.get_context("spawn")


def model(store: Store, content: str) -> Artifact:
    draft = Draft(store, "model", {"content": content}, {}, {"test": 1})
    draft.write("card.md", content.encode())
    return draft.publish({"name": "comface", "tasks": {}, "metrics": []})


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Three versions."""
    registry = Registry(FileStore(tmp_path / "store"), "comface")
    for content in "abc":
        registry.register(model(registry.store, content), NOW)
    return registry


def champion(registry: Registry) -> int | None:
    found = registry.champion()
    return found.number if found else None


def test_an_alias_names_a_version_until_it_is_moved_or_removed(registry: Registry) -> None:
    registry.point("ward-7", 2, NOW)
    assert resolve_model(registry.store, "comface@ward-7")[0] == "comface@v2"
    registry.point("ward-7", 3, NOW)
    assert resolve_model(registry.store, "comface@ward-7")[0] == "comface@v3"
    assert {alias: version.number for alias, version in registry.aliases().items()} == {"ward-7": 3}
    assert registry.point("ward-7", None, NOW).before == 3
    with pytest.raises(ConfigurationError, match="has no alias 'ward-7'"):
        resolve_model(registry.store, "comface@ward-7")
    with pytest.raises(ConfigurationError, match="has no alias 'ward-7'"):
        registry.point("ward-7", None, NOW)
    assert [each.version for each in registry.history("ward-7")] == [2, 3, None]


@pytest.mark.parametrize("alias", ["v3", "latest", "newest", "Ward", "a b", "../x", "", "a" * 64, "7"])
def test_names_that_mean_something_else_are_no_aliases(registry: Registry, alias: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a valid alias"):
        registry.point(alias, 1, NOW)


def test_a_rollback_returns_to_the_champion_before_and_a_second_one_to_that_before_it(registry: Registry) -> None:
    for number in (1, 2, 3):
        registry.promote(number, NOW, why=f"reason {number}")
    records = {key: registry.store.read(key) for key in registry.store.keys("registry")}
    assert registry.rollback(NOW, "v3 is worse in the dark").version == 2
    assert registry.rollback(NOW).version == 1
    with pytest.raises(ConfigurationError, match="no previous champion"):
        registry.rollback(NOW)
    assert champion(registry) == 1
    history = registry.history()
    assert [(each.version, each.before, each.rolled_back) for each in history] == [
        (1, None, False), (2, 1, False), (3, 2, False), (2, 3, True), (1, 2, True),
    ]  # fmt: skip
    assert [each.why for each in history[:4]] == ["reason 1", "reason 2", "reason 3", "v3 is worse in the dark"]
    assert {key: registry.store.read(key) for key in records} == records, "no record was rewritten"


def test_a_champion_that_was_rolled_back_can_be_promoted_again(registry: Registry) -> None:
    for number in (1, 2):
        registry.promote(number, NOW)
    registry.rollback(NOW)
    registry.promote(3, NOW)
    assert registry.rollback(NOW).version == 1, "not v2, which a rollback left"
    registry.promote(2, NOW)
    assert champion(registry) == 2


def test_without_a_champion_the_newest_is_the_default_and_a_rollback_brings_the_last_champion_back(
    registry: Registry,
) -> None:
    registry.promote(1, NOW)
    registry.point("champion", None, NOW)
    assert registry.champion() is None
    assert resolve_model(registry.store, None)[0] == "comface@v3"
    assert registry.rollback(NOW).version == 1


def slow_previous(moves: list[int | None]) -> int | None:
    """The champion below the top of a stack; `0`: a rollback."""
    stack: list[int | None] = []
    for move in moves:
        if move == 0:
            stack.pop()
            while stack[-1] is None:
                stack.pop()
        else:
            stack.append(move)
    below = [version for version in stack[:-1] if version is not None]
    return below[-1] if below else None


def test_any_history_rolls_back_as_a_stack_of_champions_does() -> None:
    rng = random.Random(1)
    for _ in range(300):
        moves: list[int | None] = []
        history: list[Promotion] = []
        for _ in range(rng.randint(1, 12)):
            version = rng.choice([1, 2, 3, None, 0])
            last = history[-1].version if history else None
            if version == 0:
                target = previous_champion(history)
                assert target == slow_previous(moves)
                if target is None:
                    continue
                history.append(Promotion(version=target, before=last, promoted_at=NOW, rolled_back=True))
            elif version == last:
                continue
            else:
                history.append(Promotion(version=version, before=last, promoted_at=NOW))
            moves.append(version)


def test_a_changed_or_truncated_model_is_not_promoted_named_or_rolled_back_to(registry: Registry) -> None:
    registry.promote(1, NOW)
    registry.promote(2, NOW)
    for number, damage in ((1, b"x"), (3, b"")):
        registry.open(registry.version(number)).store.write("card.md", damage)
    with pytest.raises(DataError, match="does not match its manifest"):
        registry.promote(3, NOW)
    with pytest.raises(DataError, match="does not match its manifest"):
        registry.point("ward-7", 3, NOW)
    with pytest.raises(DataError, match="does not match its manifest"):
        registry.rollback(NOW)
    assert champion(registry) == 2
    assert registry.aliases().keys() == {"champion"}


def test_a_missing_record_of_the_history_is_noticed(registry: Registry) -> None:
    for number in (1, 2, 3):
        registry.promote(number, NOW)
    registry.store.delete("registry/comface/promotions/00002.json")
    with pytest.raises(DataError, match="A record in 'registry/comface/promotions'"):
        registry.history()
    with pytest.raises(DataError, match="is missing"):
        registry.rollback(NOW)


def test_a_promotion_instead_of_another_champion_than_the_present_one_is_tried_again(registry: Registry) -> None:
    registry.promote(1, NOW, instead_of="")
    registry.promote(2, NOW, instead_of="comface@v1")
    with pytest.raises(TryAgain, match="was compared with comface@v1, but comface@v2 is the champion now"):
        registry.promote(3, NOW, instead_of="comface@v1")
    assert registry.promote(2, NOW, instead_of="comface@v1").version == 2, "a repeated run changes nothing"


def test_records_of_earlier_versions_are_read(registry: Registry) -> None:
    from comface.artifacts.sealed import sealed

    old = {"version": 1, "before": None, "promoted_at": NOW.isoformat(), "made_by": uuid.uuid4().hex}
    registry.store.create("registry/comface/promotions/00001.json", sealed(old))
    assert champion(registry) == 1
    assert (registry.history()[0].why, registry.history()[0].rolled_back) == ("", False)


def _move(uri: str, number: int, start: float) -> None:
    registry = Registry(open_store(uri), "comface")
    time.sleep(max(0.0, start - time.time()))
    registry.promote(number, NOW + timedelta(seconds=number))
    registry.point("ward-7", number, NOW)


def test_processes_that_promote_at_the_same_moment_each_leave_a_record(registry: Registry) -> None:
    start = time.time() + 2
    racers = [SPAWN.Process(target=_move, args=(registry.store.uri, number, start)) for number in (1, 2, 3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    for alias in ("champion", "ward-7"):
        history = registry.history(alias)
        assert sorted(each.version or 0 for each in history) == [1, 2, 3]
        assert [each.before for each in history] == [None, *(each.version for each in history[:-1])]
    assert all(a.before != b.before for a, b in itertools.pairwise(registry.history()))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["models", *words])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_commands_tell_the_history_and_take_a_champion_back(
    registered: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(registered[1].store.root, tmp_path / "store")
    store = ["--store", str(tmp_path / "store")]
    other = Registry(FileStore(tmp_path / "store"), "comface")
    second = Draft(other.store, "model", {"second": 1}, {}, {"test": 1}).publish(other.open(other.version(1)).facts)
    other.register(second, NOW)
    assert said(capsys, "promote", "comface@v2", "--why", "better in the dark", *store) == (
        0,
        "comface@v2 is now the champion (previously comface@v1)\n",
    )
    assert said(capsys, "rollback", "comface", "--why", "worse", *store)[1] == (
        "comface@v1 is again the champion (previously comface@v2)\n"
    )
    code, text = said(capsys, "history", "comface", *store)
    assert code == 0
    assert "comface@v1  promoted\n    why: The challenger passes " in text
    assert "why: better in the dark" in text
    assert "comface@v1  rolled back, after comface@v2" in text
    assert "    gate at registration: promote\n" in text
    assert "decision: file://" in text
    assert said(capsys, "alias", "comface@v1", "ward-7", *store)[1] == "comface@v1 now has the alias 'ward-7'\n"
    assert "champion, ward-7" in said(capsys, "list", *store)[1]
    assert said(capsys, "alias", "comface@ward-7", "--remove", *store)[0] == 0
    assert said(capsys, "alias", "comface@ward-7", *store)[0] == 64
    assert said(capsys, "rollback", "comface", "--why", "a\nb", *store)[0] == 64
    assert said(capsys, "history", "nobody", *store)[0] == 64
