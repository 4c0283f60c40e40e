"""A model with a fine-tuned task, through the public commands; and tasks that a model cannot have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from comface.cli import main
from comface.models.estimator import load_estimator
from comface.models.format import Task
from comface.register.config import RegisterConfig
from comface.register.step import RegisterResult, register
from comface.weights.fetched import DCGAN, LANDMARKS, available

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def registered_from(chain: Any, folder: Path) -> RegisterResult:
    config = RegisterConfig(must_beat=None, margin=2)
    return register(chain.store, config, chain.evaluation, chain.backbone, chain.transfers, NOW, folder)


def said(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    capfd.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capfd.readouterr().out


@pytest.mark.skipif(not {DCGAN, LANDMARKS} <= set(available()), reason="needs what `comface fetch` takes from packages")
def test_a_fine_tuned_task_is_registered_shown_and_compared(
    make_chain: Callable, tmp_path: Path, photos: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    chain = make_chain(smile=0.6, age=0.5, finetuned={"smile": 0.61, "age": 0.65})
    model = registered_from(chain, tmp_path).model
    assert model is not None
    at = ("--store", chain.store.uri)

    shown = json.loads(said(capfd, "models", "show", "comface", *at, "--json"))["tasks"]
    assert {task: entry["mode"] for task, entry in shown.items()} == {"age": "finetune", "smile": "linear"}
    assert "correlation 0.65 instead of 0.5" in shown["age"]["why_mode"]
    assert "fine-tuning is not clearly better" in shown["smile"]["why_mode"]
    card = said(capfd, "models", "show", "comface", *at)
    assert f"- age: finetune, {shown['age']['why_mode']}." in card
    assert "backbones/age.safetensors" in card

    changes = json.loads(said(capfd, "compare", photos["one"], photos["smiling"], *at, "--json"))["changes"]
    estimator = load_estimator(model)
    assert estimator.encoder_of["age"] == "backbones/age.safetensors"
    assert set(changes) == {"age", "smile"}
    other = registered_from(make_chain(smile=0.6, age=0.5, seed=0), tmp_path).model
    assert other is not None
    plain = json.loads(said(capfd, "compare", photos["one"], photos["smiling"], *at, "--model", other.uri, "--json"))
    assert changes["age"]["change"] != plain["changes"]["age"]["change"], "another network estimates it"
    assert changes["smile"]["change"] == pytest.approx(plain["changes"]["smile"]["change"])


def test_tasks_that_a_model_cannot_have_are_left_out_with_a_word(
    make_chain: Callable, with_tasks: Callable, tmp_path: Path
) -> None:
    single, split = ("years-of-photo", {"kind": "single"}), ("edema-a-patients", {"own_split": True})
    result = registered_from(with_tasks(make_chain(), single, split), tmp_path)
    assert result.model is not None
    assert set(result.model.read_json("heads.json")) == {"age", "smile"}
    assert [row["task"] for row in result.model.facts["metrics"]].count("edema-a-patients") == 0
    assert result.decision.notes[:2] == (
        "edema-a-patients is not part of the model, because it has its own split of subjects.",
        "years-of-photo is not part of the model, because it is of single photos.",
    )


def test_a_run_of_such_tasks_alone_registers_nothing_and_says_why(
    make_chain: Callable, with_tasks: Callable, tmp_path: Path
) -> None:
    alone = replace(make_chain(), transfers=[])
    result = registered_from(with_tasks(alone, ("years-of-photo", {"kind": "single"})), tmp_path)
    assert result.model is None
    assert "not evaluated on any task that a model can have" in result.decision.reasons[0]


def test_a_model_of_an_earlier_version_has_no_reason_for_its_modes() -> None:
    record = {"corr": 0.5, "subjects": 9, "pairs": 90, "coverage": 0.9, "interval_half_width": 1.0}
    assert Task.model_validate(record).why_mode == ""
