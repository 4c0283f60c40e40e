"""The method comface:champion: the registered champion's backbone is evaluated beside that of the run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from comface.artifacts.manifest import Artifact, Draft
from comface.errors import ConfigurationError
from comface.methods import method
from comface.models.registry import Registry
from comface.plan.configuration import RunConfig, resolve
from comface.plan.missing import absent_methods, without_missing
from comface.plan.step import make_plans
from comface.plan.trainings import trainings
from comface.store import FileStore
from comface.transfer.from_plan import CompletedPlan, Row

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAME = "comface:champion"


def configured(folder: Path, *more: str) -> RunConfig:
    methods = f"transfer.methods=[scratch, comface, '{NAME}']"
    return resolve("laptop", ["seeds=[0, 1]", methods, f"store={folder.as_uri()}", *more])


@pytest.fixture
def backbone(tmp_path: Path) -> Artifact:
    """Of a champion in the store."""
    store = FileStore(tmp_path)
    made = Draft(store, "backbone", {}, {}, {"test": 1}).publish({})
    model = Draft(store, "model", {}, {"backbone": made}, {"test": 1}).publish({})
    registry = Registry(store, "comface")
    registry.promote(registry.register(model, NOW).number, NOW)
    return made


def test_it_is_planned_once_with_the_champion_s_backbone_and_trains_nothing(tmp_path: Path, backbone: Artifact) -> None:
    config = configured(tmp_path, "transfer.modes=[linear, finetune]", "transfer.tasks=[age]")
    plan = make_plans(config, "").items
    assert plan.champion == backbone.pinned
    assert [row for row in plan.rows if row.method == NAME] == [
        Row("age", NAME, "linear", 0), Row("age", NAME, "finetune", 0)
    ]  # fmt: skip
    assert {training.method for training in trainings(config)} == {"comface"}
    assert set(plan.trainings) == {"comface/0", "comface/1"}
    ready = CompletedPlan(**dict(plan), faces={}, backbones=("a", "b"), features={}, protocols={"age": "p"})
    assert ready.backbone(NAME, 0) == backbone.pinned
    assert ready.model_copy(update={"chosen": f"age/{NAME}/finetune/0"}).reads()["backbone"] == backbone.pinned
    assert method(NAME).title == "Champion"


def test_without_a_champion_it_is_absent_and_the_reason_is_said(tmp_path: Path) -> None:
    config = configured(tmp_path)
    absent = absent_methods(config, set())
    assert "there is no champion to evaluate (" in absent[NAME]
    left, notes = without_missing(config, set(), absent)
    assert left.transfer.methods == ("scratch", "comface")
    assert any(note.startswith(f"The method {NAME} is left out: there is no champion to evaluate") for note in notes)
    assert make_plans(left, "").items.champion == ""


def test_its_name_is_not_that_of_a_variant(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="variants defines 'champion', but comface:champion is the registered"):
        configured(tmp_path, "variants={champion: {epochs: 2}}")
