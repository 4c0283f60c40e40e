"""Entry point of the component `evaluate`.

In: a plan and all transfer results. Out: the `evaluation` artifact, and the files that the KFP UI displays.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from comface.artifacts.manifest import Artifact
from comface.artifacts.plans import Plan, handed, name_report
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.header import RunFacts
from comface.evaluate.tables import About
from comface.execution import execute
from comface.execution.pages import write_text
from comface.store import Store
from comface.tasks.classes import CLASS_METRICS
from comface.tasks.metrics import METRICS


class EvaluatePlan(Plan):
    evaluate: EvaluateConfig
    profile: str
    command: str = ""
    """The command that gives this run (plan/command.py)."""
    started: float | None = None
    """When the run was planned, in seconds since 1970."""
    notes: tuple[str, ...]
    """What this run leaves out and why; shown in the report."""
    absent: dict[str, str]
    """Method → the reason why it was not run."""
    titles: dict[str, str] = Field(default={})
    """Task → title, of the tasks whose configuration gives one."""
    random_weights: tuple[str, ...] = ()
    """Methods whose weight file is a stand-in with random weights."""

    @property
    def facts(self) -> RunFacts:
        about = About(self.absent, self.random_weights)
        return RunFacts(self.command, self.profile, self.notes, self.titles, about, self.started, time.time())


def evaluate_results(
    plan: str, results: list[str], backbones: list[str], report_path: str, table_path: str
) -> tuple[str, dict[str, float]]:
    """`backbones`: of all trainings; the first is registered. Return (URI of the evaluation, the metrics of all methods
    for the KFP UI)."""

    def work(store: Store, planned: EvaluatePlan) -> tuple[str, dict[str, float]]:
        from comface.evaluate.step import evaluate

        trained = handed(store, planned.run, backbones, "backbone")
        transfers = handed(store, planned.run, [each for each in results if each], "transfer")
        evaluation = evaluate(store, planned.evaluate, transfers, planned.facts, trained)
        write_text(report_path, evaluation.read("report.html").decode())
        name_report(store, planned.run, evaluation)
        write_text(table_path, evaluation.read("summary.md").decode())
        return evaluation.pinned, named_metrics(evaluation)

    return execute("evaluate", plan, EvaluatePlan, work)


def named_metrics(evaluation: Artifact) -> dict[str, float]:
    """TASK_METHOD_MODE_METRIC → figure, for every result that has one."""
    found: dict[str, Any] = evaluation.read_json("metrics.json")
    return {
        f"{r['task']}_{r['method']}_{r['mode']}_{metric}": r[metric]["value"]
        for r in found["results"]
        for metric in (*METRICS, *CLASS_METRICS)
        if metric in r and r[metric]["value"] is not None
    }
