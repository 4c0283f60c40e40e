"""The champion as the gate finds it in a real registry, and what register does for each outcome."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chains import Chain, build_chain, make_transfer
from protocols import make_protocol

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.errors import DataError, GateRefused, TryAgain
from comface.models.listing import promote_model
from comface.models.registry import Registry
from comface.register.champion import _difference, champion_reference
from comface.register.config import Margin, RegisterConfig, Threshold
from comface.register.decision import CANNOT_TELL, FAILED, KEEP, PASSED, PROMOTE
from comface.register.step import RegisterResult, gate, register
from comface.store import FileStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def run(chain: Chain, now: datetime = NOW, **settings: Any) -> RegisterResult:
    config, heads = RegisterConfig(**settings), [each for each in chain.transfers if each.facts["method"] == "comface"]
    return register(chain.store, config, chain.evaluation, chain.backbone, heads, now, Path("none"))


@pytest.fixture(scope="session")
def first_model(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A store whose champion, comface@v1, has the correlation 0.8 on smile and age."""
    chain = build_chain(FileStore(tmp_path_factory.mktemp("first") / "store"), 0.8, 0.8, 0)
    assert run(chain).promoted
    return chain


@pytest.fixture
def old(first_model: Chain, tmp_path: Path) -> Chain:
    """A copy of that store, in which `make_chain` makes the challenger."""
    root = first_model.store.uri
    shutil.copytree(first_model.store.root, tmp_path / "store")
    store = FileStore(tmp_path / "store")

    def here(artifact: Artifact) -> Artifact:
        return open_artifact(artifact.uri.replace(root, store.uri))

    moved = [here(each) for each in first_model.transfers]
    return Chain(store, here(first_model.backbone), here(first_model.evaluation), moved)


def champion(chain: Chain) -> str:
    return champion_reference(Registry(chain.store, "comface"))


def model_of(chain: Chain) -> Artifact:
    """Of the first version."""
    registry = Registry(chain.store, "comface")
    return registry.open(registry.version(1))


def versions(chain: Chain) -> list[str]:
    return [version.reference for version in Registry(chain.store, "comface").versions()]


def evaluated(chain: Chain, transfers: list[Artifact]) -> Chain:
    inputs = {f"transfer-{i:03d}": artifact for i, artifact in enumerate(transfers)}
    evaluation = Draft(chain.store, "evaluation", {"more": len(transfers)}, inputs, {"test": 1}).publish({})
    return replace(chain, evaluation=evaluation, transfers=transfers)


def test_the_first_model_becomes_the_champion(make_chain: Callable) -> None:
    chain = make_chain()
    result = run(chain)
    assert (result.decision.outcome, result.promoted, champion(chain)) == (PROMOTE, True, "comface@v1")
    assert result.sentence() == "comface@v1 is registered and is the champion."


def test_a_person_promotes_where_the_settings_say_so(make_chain: Callable) -> None:
    chain = make_chain()
    result = run(chain, promote=False)
    assert (result.decision.outcome, result.promoted, champion(chain)) == (PROMOTE, False, "")
    assert "There is no champion, because register.promote is false" in result.sentence()
    assert "`comface models promote comface@v1`" in result.sentence()


def test_a_worse_challenger_is_neither_registered_nor_promoted(old: Chain, make_chain: Callable) -> None:
    worse = make_chain(smile=0.8, age=0.5, seed=1)
    result = run(worse)
    assert (result.decision.outcome, result.version, result.model) == (KEEP, None, None)
    assert (versions(worse), champion(worse)) == (["comface@v1"], "comface@v1")
    with pytest.raises(
        GateRefused, match=r"age \(linear\): the gain in correlation over comface@v1 is −0\.300"
    ) as error:
        result.raise_if_refused()
    assert error.value.exit_code == 66


def test_a_challenger_that_is_as_good_takes_the_place_of_the_champion(old: Chain, make_chain: Callable) -> None:
    chain = make_chain(smile=0.8, age=0.81, seed=1)
    result = run(chain, LATER)
    assert (result.decision.outcome, result.promoted, champion(chain)) == (PROMOTE, True, "comface@v2")
    assert Registry(chain.store, "comface").history()[-1].before == 1
    assert result.recorded.manifest.inputs["champion"].sha256 == model_of(old).sha256
    rows = [check for check in result.decision.checks if check.gain]
    assert [(row.task, row.people, row.pairs, row.rehearsal) for row in rows] == [
        ("age", 30, 240, True), ("smile", 30, 240, False)
    ]  # fmt: skip
    ends = ("gain", "gain_low", "gain_high", "limit")
    shown = {f"{task}_corr_{end}" for task in ("age", "smile") for end in ends}
    assert set(result.decision.metrics()) == {"promote"} | shown


def test_of_several_seeds_the_first_is_compared_with_the_champion_and_the_mean_with_a_threshold(
    old: Chain, make_chain: Callable, with_tasks: Callable
) -> None:
    chain = with_tasks(make_chain(smile=0.8, age=0.8, seed=1), ("smile", {"seed": 2}))  # which has 0.4
    config = RegisterConfig(thresholds=(Threshold(task="smile", min_corr=0.7),))
    decision, _ = gate(chain.store, config, chain.evaluation)
    rows = {check.check: check for check in decision.checks if check.task == "smile"}
    assert (rows["threshold"].value, rows["threshold"].result) == (pytest.approx(0.6), FAILED)
    (against,) = (check for check in rows.values() if check.gain)
    assert (against.value, against.result) == (pytest.approx(0), PASSED), "0.8 and 0.8"
    assert gate(chain.store, RegisterConfig(), chain.evaluation)[0].outcome == PROMOTE


def test_an_undecided_challenger_is_registered_and_the_champion_stays(old: Chain, make_chain: Callable) -> None:
    chain = make_chain(smile=0.77, age=0.8, seed=1)
    result = run(chain, margin=0.03)
    assert (result.decision.outcome, result.promoted) == (CANNOT_TELL, False)
    assert (versions(chain), champion(chain)) == (["comface@v1", "comface@v2"], "comface@v1")
    assert "The champion comface@v1 stays, because the gate cannot tell: smile (linear)" in result.sentence()
    result.raise_if_refused()


def test_a_retry_after_the_promotion_finds_the_same_version_and_promotes_nothing_more(
    old: Chain, make_chain: Callable
) -> None:
    chain = make_chain(smile=0.81, age=0.81, seed=1)
    first, again = run(chain), run(chain, LATER)
    assert (first.version, again.promoted) == (again.version, True)
    assert "the champion comface@v2 itself" in again.decision.reasons[0]
    assert len(Registry(chain.store, "comface").history()) == 2
    strict = run(chain, LATER, margin=0.0)
    assert strict.decision.outcome == PROMOTE, "it need not be better than itself"


def test_a_run_does_not_promote_again_what_a_person_took_back(old: Chain, make_chain: Callable) -> None:
    chain = make_chain(smile=0.81, age=0.81, seed=1)
    run(chain)
    promote_model(chain.store, "comface@v1", LATER)
    again = run(chain, LATER)
    assert (again.decision.outcome, again.promoted, champion(chain)) == (PROMOTE, False, "comface@v1")
    assert "it was the champion before and was replaced" in again.sentence()


def test_a_version_takes_the_place_only_of_the_champion_that_it_was_compared_with(
    old: Chain, make_chain: Callable
) -> None:
    chain = make_chain(smile=0.81, age=0.81, seed=1)
    run(chain)
    registry = Registry(chain.store, "comface")
    with pytest.raises(TryAgain, match=r"was compared with no champion, but comface@v2 is the champion now; run again"):
        registry.promote(1, LATER, instead_of="")
    assert registry.promote(1, LATER, instead_of="comface@v2").version == 1


@pytest.mark.parametrize("broken", ["manifest of the model", "record of the version", "model"])
def test_a_champion_that_is_damaged_or_deleted_leaves_the_gate_undecided(
    old: Chain, make_chain: Callable, broken: str
) -> None:
    chain = make_chain(smile=0.9, age=0.9, seed=1)
    if broken == "record of the version":
        chain.store.delete("registry/comface/v1.json")
    elif broken == "model":
        model_of(old).store.delete("manifest.json")
    else:
        model_of(old).store.write("manifest.json", b"{}")
    decision, recorded = gate(chain.store, RegisterConfig(), chain.evaluation)
    assert (decision.outcome, decision.champion) == (CANNOT_TELL, "comface@v1")
    assert "The champion cannot be read (" in decision.reasons[0]
    assert decision.reasons[0].endswith("; restore it, or promote another version.")
    assert "champion" not in recorded.manifest.inputs


def test_changed_data_with_another_backbone_are_not_comparable_and_the_reason_says_what_to_do(
    old: Chain,
    make_chain: Callable,
) -> None:
    chain = make_chain(smile=0.9, age=0.9, seed=1, test_set="more patients")
    result = run(chain)
    assert (result.decision.outcome, champion(chain)) == (CANNOT_TELL, "comface@v1")
    for reason in result.decision.reasons:
        assert "is not comparable with comface@v1: the labels of the data set changed (30 people and 240" in reason
        assert "add comface:champion to transfer.methods to evaluate its backbone on the pairs of this run" in reason


def test_changed_data_with_the_same_backbone_are_compared_on_today_s_pairs(old: Chain, make_chain: Callable) -> None:
    chain = make_chain(smile=0.7, age=0.7, test_set="more patients")
    result = run(chain)
    assert (result.decision.outcome, champion(chain)) == (PROMOTE, "comface@v2")
    assert "the champion's backbone was evaluated anew on the pairs of this run." in " ".join(result.decision.notes)
    assert [check.gain for check in result.decision.checks if check.gain] == [(0.0, 0.0, 0.0, -0.05)] * 2


@pytest.mark.parametrize(("corr", "outcome"), [(0.7, PROMOTE), (0.95, KEEP)])
def test_the_champion_s_backbone_beside_the_challenger_makes_changed_data_comparable(
    old: Chain, make_chain: Callable, corr: float, outcome: str
) -> None:
    chain = make_chain(smile=0.7, age=0.7, seed=1, test_set="more patients")
    beside = [
        make_transfer(chain.store, old.backbone, task, "comface:champion", corr, test_set="more patients")
        for task in ("smile", "age")
    ]
    result = run(evaluated(chain, [*chain.transfers, *beside]))
    assert result.decision.outcome == outcome, result.decision
    assert sum("evaluated anew" in note for note in result.decision.notes) == 2


def rehearsed(chain: Chain, rehearsal: bool, corr: float, test_set: str) -> Chain:
    """The chain with the task smile only, on a rehearsal or on photos."""
    facts = {"test_set": test_set, "rehearsal": rehearsal}
    made = [
        make_transfer(chain.store, chain.backbone, "smile", method, value, **facts)
        for method, value in (("comface", corr), ("scratch", 0.1))
    ]
    return evaluated(chain, made)


def test_a_rehearsal_champion_is_no_standard_for_photos(make_chain: Callable) -> None:
    run(rehearsed(make_chain(), True, 0.9, ""))
    chain = rehearsed(make_chain(seed=1), False, 0.4, "photos")
    result = run(chain)
    assert (result.decision.outcome, champion(chain)) == (PROMOTE, "comface@v2")
    assert "was evaluated on a rehearsal, which says nothing about people" in result.decision.notes[0]


def test_a_rehearsal_does_not_replace_a_champion_on_photos(make_chain: Callable) -> None:
    run(rehearsed(make_chain(), False, 0.4, ""))
    chain = rehearsed(make_chain(seed=1), True, 0.9, "a rehearsal")
    result = run(chain)
    assert (result.decision.outcome, champion(chain)) == (CANNOT_TELL, "comface@v1")
    assert "the challenger on a rehearsal, which says nothing about people; set the data set's uri." in str(
        result.decision.reasons
    )


@pytest.mark.parametrize("content", [None, b'{"subject": [], "predicted": []}'])
def test_a_champion_without_estimates_for_single_pairs_cannot_be_compared(
    old: Chain, make_chain: Callable, content: bytes | None
) -> None:
    """They were deleted, or a version before 0.2 wrote them."""
    for head in old.heads:
        head.store.delete("predictions.json")
        if content:
            head.store.write("predictions.json", content)
    chain = make_chain(smile=0.9, age=0.9, seed=1)
    result = run(chain)
    assert (result.decision.outcome, champion(chain)) == (CANNOT_TELL, "comface@v1")
    assert "its estimates for single pairs cannot be read" in result.decision.reasons[0]


def test_a_task_that_only_one_of_them_has(make_chain: Callable, with_tasks: Callable) -> None:
    old = with_tasks(make_chain(), ("pain", {}))
    run(old, must_beat=None)
    result = run(with_tasks(make_chain(seed=1), ("fatigue", {})), must_beat=None)
    assert result.decision.outcome == CANNOT_TELL
    assert result.decision.reasons == (
        "pain is not comparable with comface@v1: the challenger was not evaluated on it; add it to transfer.tasks.",
    )
    assert result.decision.notes == (
        "fatigue is not compared with the champion: it is a task that the champion does not have.",
    )


def test_the_heads_that_compare_would_use_are_compared_whatever_their_mode(old: Chain, make_chain: Callable) -> None:
    result = run(make_chain(smile=0.7, age=0.5, seed=1, finetuned={"smile": 0.9}))
    rows = {check.task: check for check in result.decision.checks if check.gain}
    assert (rows["smile"].mode, rows["smile"].result, rows["age"].mode) == ("finetune", "passed", "linear")
    assert result.decision.outcome == KEEP
    assert rows["smile"].gain[0] == pytest.approx(0.1, abs=0.01)


def test_too_few_people_leave_the_gate_undecided_and_no_champion(make_chain: Callable) -> None:
    chain = make_chain()
    result = run(chain, least_subjects=31)
    assert (result.decision.outcome, versions(chain), champion(chain)) == (CANNOT_TELL, ["comface@v1"], "")
    assert "tested on 30 subjects, fewer than the 31 that the gate needs" in result.decision.reasons[0]
    assert "There is no champion, because the gate cannot tell" in result.sentence()


def test_a_margin_of_mae_is_in_the_unit_of_the_task(old: Chain, make_chain: Callable) -> None:
    chain = make_chain(smile=0.7, age=0.8, seed=1)
    narrow, wide = ({"margins": (Margin(task="smile", metric="mae", margin=each),)} for each in (0.01, 0.5))
    refused, passed = (gate(chain.store, RegisterConfig(**each), chain.evaluation)[0] for each in (narrow, wide))
    assert (refused.outcome, passed.outcome) == (KEEP, PROMOTE)
    assert "mean absolute error over comface@v1 is −0." in refused.reasons[0]
    assert "the margin of −0.010 points" in refused.reasons[0]


def test_other_pairs_under_the_same_digest_are_refused(old: Chain, make_chain: Callable) -> None:
    chain = make_chain(seed=1)
    head = next(each for each in chain.heads if each.facts["task"] == "smile")
    read = np.random.default_rng(0).normal(size=240)
    faces = head.input("protocol").input("faces")
    forged = make_protocol(chain.store, "smile", [f"s{i // 8:03d}" for i in range(240)], read, {"faces": faces},
                           mark=head.facts["protocol_sha256"][0], forged=True)  # fmt: skip
    inputs = {name: head.input(name) for name in head.manifest.inputs} | {"protocol": forged}
    draft = Draft(chain.store, "transfer", {"forged": True}, inputs, {"test": 1})
    for name in head.manifest.objects:
        draft.write(name, head.read(name))
    others = [each for each in chain.transfers if each.uri != head.uri]
    with pytest.raises(DataError, match="have one digest, but other pairs; run the transfers of this task again"):
        run(evaluated(chain, [draft.publish(head.facts), *others]))


def test_the_decision_is_another_one_once_the_estimates_of_the_champion_are_restored(
    old: Chain, make_chain: Callable
) -> None:
    chain = make_chain(smile=0.81, age=0.81, seed=1)
    kept = {head.uri: head.store.read("predictions.json") for head in old.heads}
    for head in old.heads:
        head.store.delete("predictions.json")
    assert gate(chain.store, RegisterConfig(), chain.evaluation)[0].outcome == CANNOT_TELL
    for head in old.heads:
        head.store.write("predictions.json", kept[head.uri])
    assert gate(chain.store, RegisterConfig(), chain.evaluation)[0].outcome == PROMOTE


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({}, {"faces": "b"}, "the photos of the data set changed (4 people and 12 test pairs before, 4 and 12 now)"),
        ({}, {}, "the labels of the data set changed"),
        (
            {"pairs_per_subject": 200},
            {"pairs_per_subject": 50, "folds": 3},
            "other pairs (transfer.folds None before, 3 now, transfer.pairs_per_subject 200 before, 50 now; 4 people",
        ),
        (
            {"definition": {"min_change": 0.0}},
            {"definition": {"min_change": 0.5}},
            "min_change of the task 0.0 before, 0.5 now",
        ),
    ],
)
def test_what_differs_between_two_protocols_is_named(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], words: str
) -> None:
    subjects = [f"s{i // 3}" for i in range(12)]
    made = [
        make_protocol(FileStore(tmp_path), "smile", subjects, range(12), mark=mark, **settings)
        for mark, settings in (("0", before), ("1", now))
    ]
    assert words in _difference(*made)
