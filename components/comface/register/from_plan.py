"""Gate and register as components call them: a plan and an evaluation in, a decision, a reference, a card out."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.plans import Plan
from comface.execution import execute
from comface.execution.pages import write_text
from comface.register.config import RegisterConfig
from comface.store import Store


class RegisterPlan(Plan):
    register_model: RegisterConfig = Field(alias="register")


def decide(plan: str, evaluation: str, decision_path: str) -> str:
    """'passed' or 'refused'; the reasons are recorded in the store and shown."""

    def work(store: Store, planned: RegisterPlan) -> str:
        from comface.register.step import decision_markdown, gate

        decision, _ = gate(store, planned.register_model, open_artifact(evaluation, "evaluation"))
        write_text(decision_path, decision_markdown(decision))
        return "passed" if decision.passed else "refused"

    return execute("gate", plan, RegisterPlan, work)


def register_model(plan: str, evaluation: str, backbone: str, card_path: str) -> tuple[str, str]:
    """(NAME@vN, URI of the model). Raises GateRefused when the gate has refused this evaluation."""

    def work(store: Store, planned: RegisterPlan) -> tuple[str, str]:
        from comface.register.step import register

        evaluated = open_artifact(evaluation, "evaluation")
        result = register(
            store,
            planned.register_model,
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

    return execute("register", plan, RegisterPlan, work)


def transfers_of(evaluation: Artifact) -> list[Artifact]:
    """The results that an evaluation was made of, through its manifest."""
    return [evaluation.input(name, "transfer") for name in evaluation.manifest.inputs]
