"""What travels through KFP stays far below the 128 KiB of one argument, however many items a run has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.plans import (
    KEY,
    NOTHING,
    hand_on,
    handed,
    item_of,
    items_with,
    kept,
    located,
    planned,
    split_item,
)
from comface.errors import ConfigurationError
from comface.plan.configuration import RunConfig, resolve
from comface.plan.from_parameters import FIELDS, stored
from comface.plan.step import make_plans
from comface.shard.from_plan import ShardPlan
from comface.store import FileStore
from comface.transfer.from_plan import CompletedPlan, complete_items, transfer_item

MOST_BYTES = 36 << 10
TASKS, METHODS, MODES = 334, ("scratch", "imagenet", "comface"), ("linear", "finetune")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Where a URI is as long as a bucket of 63 letters with a long prefix."""
    return FileStore(tmp_path / ("b" * 63) / ("prefix-" * 30))


def many(store: FileStore) -> RunConfig:
    config = resolve("laptop", [], {"store": store.uri})
    tasks = {f"expression-of-the-lower-face-{i:03d}": config.tasks["age"] for i in range(TASKS)}
    chosen = {"tasks": tuple(tasks), "methods": METHODS, "modes": MODES}
    return config.model_copy(
        update={"tasks": tasks, "transfer": config.transfer.model_copy(update=chosen)}  # not through the checks
    )


def argument(**parameters: Any) -> int:
    """Bytes of the word in which KFP hands parameters to a step, with room for the places of its outputs."""
    return 2_000 + len(json.dumps({"inputs": {"parameterValues": parameters}}))


def published(store: FileStore, kind: str, **facts: Any) -> Artifact:
    return Draft(store, kind, {}, {}, {"test": 1}).publish(facts)


def faces_of(store: FileStore) -> Artifact:
    draft = Draft(store, "faces", {}, {}, {"test": 1})
    rows = [{"subject": f"p{i % 4}", "labels": {"age": i}, "sha256": f"{i:064x}"} for i in range(8)]
    draft.write_json("photos.json", rows)
    return draft.publish({"dataset": "fgnet"})


def test_two_thousand_items_and_a_hundred_trainings_in_a_store_with_a_long_name_stay_short(store: FileStore) -> None:
    plans = make_plans(many(store), "run-1")
    assert len(plans.items.rows) == TASKS * len(METHODS) * len(MODES) > 2_000
    assert len(store.uri) > 280
    outputs = stored(plans, store, "run-1")
    assert outputs.keys() == set(FIELDS)
    faces = hand_on(store, "run-1", faces_of(store))
    backbone = published(store, "backbone")
    trained = hand_on(store, "run-1", backbone)
    made = kept(store, "run-1", {"comface/0/fgnet": faces})
    inputs = {"plan": outputs["items"], "faces": [faces] * 200, "backbones": [trained] * 100, "features": [made] * 500}
    loops = {
        loop: complete_items(outputs["items"], loop, [faces], [trained]) for loop in ("features", "linear", "finetune")
    }
    result = hand_on(store, "run-1", published(store, "transfer"))
    assert len(loops["linear"]) + len(loops["finetune"]) == len(plans.items.rows)
    training = items_with(trained, ["comface:a-variant-with-quite-a-long-name/1"])
    arguments = {
        "synthesize": argument(plan=outputs["synthesize"], part=0),
        "shard": argument(plan=outputs["shard"], tracks=[faces] * 512, trainings=[training[0].partition("@")[0]] * 100),
        "pretrain": argument(plan=outputs["pretrain"], item=training[0]),
        "align": max(argument(plan=plan) for plan in outputs["datasets"]),
        "complete": argument(loop="features", **inputs),
        "transfer": max(argument(plan=outputs["items"], item=item) for loop in loops.values() for item in loop),
        "evaluate": argument(
            plan=outputs["evaluate"], linear=[result] * 1_000, finetuned=[result] * 1_000, backbones=[trained] * 100
        ),
        "register": argument(plan=outputs["register"], evaluation=backbone.pinned, backbones=[trained] * 100),
    }
    assert {step: size for step, size in arguments.items() if size > MOST_BYTES} == {}
    for loop in loops.values():
        assert len(json.dumps(loop)) < 64 << 10, "the list of items is no argument, but KFP keeps it"


def test_every_item_is_named_and_reads_what_its_transfer_needs(store: FileStore) -> None:
    chosen = ["transfer.tasks=[age]", "transfer.methods=[scratch, comface, 'comface:inter']", "seeds=[3, 4]"]
    plans = make_plans(resolve("laptop", chosen, {"store": store.uri}), "run-1")
    outputs = stored(plans, store, "run-1")
    faces = faces_of(store)
    backbones = [Draft(store, "backbone", {"training": name}, {}, {"test": 1}).publish({}) for name in plans.trainings]
    trained = [hand_on(store, "run-1", each) for each in backbones]
    items = complete_items(outputs["items"], "linear", [hand_on(store, "run-1", faces)], trained)
    found = [planned(CompletedPlan, item_of(outputs["items"], *split_item(item)), store) for item in items]
    assert [split_item(item)[0] for item in items] == [
        f"age/{method}/linear/{seed}" for method in ("scratch", "comface", "comface:inter") for seed in (3, 4)
    ]
    assert [plan.row() for plan in found] == list(plans.items.rows)
    assert plans.trainings == ["comface/3", "comface/4", "comface:inter/3", "comface:inter/4"]
    assert [plan.reads().get("backbone") for plan in found] == [None, None, *(each.pinned for each in backbones)]
    (protocol,) = {plan.reads()["protocol"] for plan in found}
    assert open_artifact(protocol, "protocol").input("faces").pinned == faces.pinned
    assert located(outputs["items"]).run == "run-1"
    with pytest.raises(ConfigurationError, match="has no item 'age/pixels/linear/3'"):
        found[0].model_copy(update={"chosen": "age/pixels/linear/3"}).row()


def test_a_loop_without_items_has_one_that_does_nothing(store: FileStore) -> None:
    plans = make_plans(resolve("laptop", ["transfer.tasks=[age]"], {"store": store.uri}), "run-1")
    outputs = stored(plans, store, "run-1")
    faces = hand_on(store, "run-1", faces_of(store))
    trained = hand_on(store, "run-1", published(store, "backbone"))
    (item,) = complete_items(outputs["items"], "finetune", [faces], [trained])
    assert split_item(item)[0] == NOTHING
    assert transfer_item(item_of(outputs["items"], *split_item(item))) == ("", NOTHING, {})
    assert (outputs["synthesize_gpus"], outputs["finetune_gpus"]) == ("0", "0")


@pytest.mark.parametrize(
    ("generators", "gpus"), [(["procedural"], "0"), (["dcgan", "procedural"], "0"), (["procedural", "stylegan3"], "1")]
)
def test_synthesize_requests_a_gpu_only_for_generators_that_gain_from_one(generators: list[str], gpus: str) -> None:
    shares = ", ".join(f"{{generator: {name}, identities: 9, attributes: [smile]}}" for name in generators)
    config = resolve("laptop", [f"synthesize.composition=[{shares}]", "pretrain.gpus_per_node=8"])
    plans = make_plans(config, "run-1")
    assert plans.synthesize_gpus == gpus
    assert plans.gpus == "1"


def test_a_plan_of_another_version_is_refused_by_its_wrong_field(store: FileStore) -> None:
    plan = make_plans(resolve("laptop", [], {"store": store.uri}), "run-1").shard
    assert planned(ShardPlan, plan.text, store) == plan
    with pytest.raises(ConfigurationError, match=r"cannot read the plan \('shard.colour': .*start the run again"):
        planned(ShardPlan, plan.text.replace('"shard":{', '"shard":{"colour":1,'), store)


def test_a_task_whose_faces_were_not_given_is_refused_by_name(store: FileStore, capsys) -> None:
    outputs = stored(make_plans(resolve("laptop", ["transfer.tasks=[age]"], {"store": store.uri}), ""), store, "run-1")
    with pytest.raises(SystemExit) as ended:
        complete_items(outputs["items"], "linear", [published(store, "faces", dataset="other").pinned], [])
    assert ended.value.code == 64
    assert "The task 'age' reads the data set 'fgnet', but no faces artifact of it was given" in capsys.readouterr().err


def test_what_a_loop_returns_names_an_artifact_by_its_sha256(store: FileStore) -> None:
    tracks = published(store, "tracks")
    key = hand_on(store, "run-1", tracks)
    assert len(key) == 12
    assert hand_on(store, "", tracks) == tracks.pinned
    for given in (key, tracks.pinned, tracks.uri):
        (found,) = handed(store, "run-1", [given], "tracks")
        assert found.sha256 == tracks.sha256 == open_artifact(tracks.pinned).sha256


def test_keys_are_never_read_as_numbers_and_equal_content_has_one(store: FileStore) -> None:
    keys = {kept(store, "run-1", {"number": number}) for number in [*range(50), *range(50)]}
    assert len(keys) == 50
    assert all(key[0] == "p" and len(key) == 12 for key in keys), KEY
