"""What travels through KFP stays far below the 128 KiB of one argument, however many items a run has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.plans import KEY, hand_on, handed, item_of, kept, located, planned, read_plan
from comface.errors import ConfigurationError
from comface.plan.configuration import RunConfig, resolve
from comface.plan.from_parameters import FIELDS, stored
from comface.plan.step import make_plans
from comface.shard.from_plan import ShardPlan
from comface.store import FileStore
from comface.transfer.from_plan import complete_items

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


def test_two_thousand_items_in_a_store_with_a_long_name_stay_short(store: FileStore) -> None:
    plans = make_plans(many(store), "run-1")
    assert len(plans.items) == TASKS * len(METHODS) * len(MODES) > 2_000
    assert len(store.uri) > 280
    outputs = stored(plans, store, "run-1")
    assert outputs.keys() == set(FIELDS)
    faces = hand_on(store, "run-1", faces_of(store))
    backbone = published(store, "backbone")
    items = complete_items(outputs["items"], [faces], backbone.pinned)
    result = hand_on(store, "run-1", published(store, "transfer"))
    assert len(items) == len(plans.items)
    arguments = {
        "synthesize": argument(plan=outputs["synthesize"], part=0),
        "shard": argument(plan=outputs["shard"], tracks=[faces] * 512),
        "pretrain": argument(plan=outputs["pretrain"], shards=backbone.pinned),
        "align": max(argument(plan=plan) for plan in outputs["datasets"]),
        "complete": argument(items=outputs["items"], faces=[faces], backbone=backbone.pinned),
        "transfer": max(argument(plan=outputs["items"], item=item) for item in items),
        "evaluate": argument(plan=outputs["evaluate"], results=[result] * 2_000, backbone=backbone.pinned),
        "register": argument(plan=outputs["register"], evaluation=backbone.pinned, backbone=backbone.pinned),
    }
    assert {step: size for step, size in arguments.items() if size > MOST_BYTES} == {}
    assert len(json.dumps(items)) < 64 << 10, "the list of items is no argument, but KFP keeps it"


def test_every_item_is_the_plan_of_its_transfer_with_what_it_reads(store: FileStore) -> None:
    config = resolve("laptop", ["transfer.tasks=[age]", "transfer.methods=[scratch, comface]"], {"store": store.uri})
    plans = make_plans(config, "run-1")
    outputs = stored(plans, store, "run-1")
    faces, backbone = faces_of(store), published(store, "backbone")
    items = complete_items(outputs["items"], [hand_on(store, "run-1", faces)], backbone.pinned)
    found = [read_plan(item_of(outputs["items"], item), store) for item in items]
    texts = [json.loads(item.text) for item in plans.items]
    assert [{k: v for k, v in each.items() if k != "reads"} for each in found] == texts
    assert [each["reads"].get("backbone") for each in found] == [None, backbone.pinned]
    (protocol,) = {each["reads"]["protocol"] for each in found}
    assert open_artifact(protocol, "protocol").input("faces").pinned == faces.pinned
    assert located(outputs["items"]).run == "run-1"
    with pytest.raises(ConfigurationError, match="has no such item"):
        read_plan(item_of(outputs["items"], items[0].partition(".")[0] + ".99"), store)


def test_a_plan_of_another_version_is_refused_by_its_wrong_field(store: FileStore) -> None:
    plan = make_plans(resolve("laptop", [], {"store": store.uri}), "run-1").shard
    assert planned(ShardPlan, plan.text, store) == plan
    with pytest.raises(ConfigurationError, match=r"cannot read the plan \('shard.colour': .*start the run again"):
        planned(ShardPlan, plan.text.replace('"shard":{', '"shard":{"colour":1,'), store)


def test_a_task_whose_faces_were_not_given_is_refused_by_name(store: FileStore, capsys) -> None:
    outputs = stored(make_plans(resolve("laptop", ["transfer.tasks=[age]"], {"store": store.uri}), ""), store, "run-1")
    with pytest.raises(SystemExit) as ended:
        complete_items(outputs["items"], [published(store, "faces", dataset="other").pinned], "")
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
