"""Gate and register as components call them: a plan and an evaluation in, a decision, a reference, a card out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from comface.artifacts.manifest import Artifact, open_artifact
from comface.config.reading import parse
from comface.execution import execute
from comface.execution.pages import write_text
from comface.register.config import RegisterConfig
from comface.store import Store


def decide(plan: str, evaluation: str, decision_path: str) -> str:
    """'passed' or 'refused'; the reasons are recorded in the store and shown."""

    def work(store: Store, values: dict[str, Any]) -> str:
        from comface.register.step import decision_markdown, gate

        decision, _ = gate(store, parse(RegisterConfig, values["register"]), open_artifact(evaluation, "evaluation"))
        write_text(decision_path, decision_markdown(decision))
        return "passed" if decision.passed else "refused"

    return execute("gate", plan, work)


def register_model(plan: str, evaluation: str, backbone: str, card_path: str) -> tuple[str, str]:
    """(NAME@vN, URI of the model). Raises GateRefused when the gate has refused this evaluation."""

    def work(store: Store, values: dict[str, Any]) -> tuple[str, str]:
        from comface.register.step import register

        evaluated = open_artifact(evaluation, "evaluation")
        result = register(
            store,
            parse(RegisterConfig, values["register"]),
            evaluated,
            open_artifact(backbone, "backbone"),
            transfers_of(evaluated),
            datetime.now(UTC),
        )
        result.raise_if_refused()
        assert result.version is not None, "a gate that passed gives a version"
        assert result.model is not None, "a gate that passed gives a model"
        write_text(card_path, result.model.read("card.md").decode())
        return result.version.reference, result.model.pinned

    return execute("register", plan, work)


def transfers_of(evaluation: Artifact) -> list[Artifact]:
    """The results that an evaluation was made of, through its manifest."""
    return [evaluation.input(name, "transfer") for name in evaluation.manifest.inputs]
