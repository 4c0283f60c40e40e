"""Entry point of the component `evaluate`.

In: a plan and all transfer results. Out: the `evaluation` artifact, and the files that the KFP UI displays.
"""

from __future__ import annotations

from comface.artifacts.facts import EvaluationFacts, ShardsFacts
from comface.artifacts.manifest import Artifact
from comface.artifacts.plans import Plan, handed
from comface.evaluate.config import EvaluateConfig
from comface.execution import execute
from comface.execution.pages import write_text
from comface.store import Store


class EvaluatePlan(Plan):
    evaluate: EvaluateConfig
    profile: str
    notes: tuple[str, ...]
    """What this run leaves out and why; shown in the report."""
    absent: dict[str, str]
    """Method → the reason why it was not run."""
    random_weights: tuple[str, ...] = ()
    """Methods whose weight file is a stand-in with random weights."""


def evaluate_results(
    plan: str, results: list[str], backbones: list[str], report_path: str, table_path: str
) -> tuple[str, dict[str, float]]:
    """`backbones`: of all trainings; the first is registered. Return (URI of the evaluation, metrics of ComFace for the
    KFP UI)."""

    def work(store: Store, planned: EvaluatePlan) -> tuple[str, dict[str, float]]:
        from comface.evaluate.step import evaluate

        trained = handed(store, planned.run, backbones, "backbone")[0]
        context = {"profile": planned.profile, "notes": " ".join(planned.notes)}
        evaluation = evaluate(
            store,
            planned.evaluate,
            handed(store, planned.run, [each for each in results if each], "transfer"),
            {"curve": trained.read("curve.png")} | contact_sheets(trained) | screening(trained),
            {name: text for name, text in context.items() if text},
            planned.absent,
        )
        write_text(report_path, evaluation.read("report.html").decode())
        write_text(table_path, evaluation.read("summary.md").decode())
        found = evaluation.facts_as(EvaluationFacts).metrics
        metrics = {name.replace("/", "_"): value for name, value in found.items() if value is not None}
        return evaluation.pinned, metrics

    return execute("evaluate", plan, EvaluatePlan, work)


def contact_sheets(backbone: Artifact) -> dict[str, bytes]:
    """Return the contact sheets (JPEG) of the tracks that `backbone` was trained on, one per generator."""
    shards = backbone.input("shards", "shards")
    generators = shards.facts_as(ShardsFacts).generators
    return {f"sheet {name}": shards.read(f"sheet-{number}.jpg") for number, name in enumerate(generators)}


def screening(backbone: Artifact) -> dict[str, bytes]:
    """Return the screening picture of those tracks, or nothing if they were not screened."""
    shards = backbone.input("shards", "shards")
    if "screening" not in shards.manifest.inputs:
        return {}
    return {"screening": shards.input("screening", "screening").read("screening.png")}
