"""Entry points of the components `gate` and `register`.

In: a plan and the URI of an evaluation. Out: the decision; the reference of the model and its card.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from pydantic import Field

from comface.artifacts.manifest import open_artifact
from comface.artifacts.plans import Plan, handed, name_report
from comface.execution import execute
from comface.execution.pages import write_text
from comface.models.config import RegistryConfig
from comface.register.config import RegisterConfig
from comface.store import Store

logger = logging.getLogger(__name__)


class RegisterPlan(Plan):
    register_model: RegisterConfig = Field(alias="register")
    registry: RegistryConfig = RegistryConfig()


def decide(plan: str, evaluation: str, decision_path: str, report_path: str) -> tuple[str, dict[str, float]]:
    """Return the outcome ('promote', 'keep' or 'cannot tell') and the metrics for the KFP UI. The reasons are recorded
    in the store and written to `decision_path` (Markdown). The report with the decision in it is written to
    `report_path`."""

    def work(store: Store, planned: RegisterPlan) -> tuple[str, dict[str, float]]:
        from comface.models.signing import trust
        from comface.register.report import REPORT
        from comface.register.step import decision_markdown, gate

        trust(planned.registry.trusted_keys)
        decision, recorded = gate(store, planned.register_model, open_artifact(evaluation, "evaluation"))
        write_text(decision_path, decision_markdown(decision))
        write_text(report_path, recorded.read(REPORT).decode())
        name_report(store, planned.run, recorded)
        logger.info(f"{decision.sentence} {decision.reasons[0]}")
        return decision.outcome, decision.metrics()

    return execute("gate", plan, RegisterPlan, work)


def register_model(plan: str, evaluation: str, backbones: list[str], card_path: str) -> tuple[str, str]:
    """`backbones`: of all trainings; the first is registered. Return (NAME@vN, URI of the model). Raises GateRefused if
    the gate rejects this evaluation."""

    def work(store: Store, planned: RegisterPlan) -> tuple[str, str]:
        from comface.models.mirrors import mirror_registry
        from comface.models.registry import Registry
        from comface.models.signing import trust
        from comface.register.contents import backbone_of
        from comface.register.step import register

        trust(planned.registry.trusted_keys)
        evaluated = open_artifact(evaluation, "evaluation")
        trained = handed(store, planned.run, backbones, "backbone")
        others = {each.sha256 for each in trained[1:]}
        transfers = [evaluated.input(name, "transfer") for name in evaluated.manifest.inputs]
        origins = [backbone_of(each) for each in transfers]
        heads = [
            each
            for each, origin in zip(transfers, origins, strict=True)
            if origin is None or origin.sha256 not in others
        ]
        result = register(store, planned.register_model, evaluated, trained[0], heads, datetime.now(UTC))
        result.raise_if_refused()
        assert result.version is not None, "the gate did not reject it, so there is a version"
        assert result.model is not None, "the gate did not reject it, so there is a model"
        logger.info(result.sentence())
        write_text(card_path, result.model.read("card.md").decode())
        for sentence in mirror_registry(Registry(store, planned.register_model.name), planned.registry.mirrors):
            logger.info(sentence)
        return result.version.reference, result.model.pinned

    return execute("register", plan, RegisterPlan, work)
