"""Evaluate: computes metrics from predictions and writes tables and the report (sections 4.3 and 4.4).

In: `transfer` artifacts of any tasks, methods and modes. Out: an artifact `evaluation`:

    report.html                     the report, a self-contained file
    summary.md                      the main finding and one table
    metrics.json                    every figure with its interval, and the gain of ComFace over each method
    table-expression.csv … .json    one table per group of tasks, laid out like tables 2, 3 and 6 of the paper
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from comface.artifacts.facts import EvaluationFacts, TransferFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.evaluate import report, tables
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.provenance import origins
from comface.evaluate.records import records
from comface.evaluate.results import Comparison, Result, compare, read_results
from comface.evaluate.saliency import saliency_picture
from comface.runtime.progress import counted
from comface.store import Store

logger = logging.getLogger(__name__)

REVISION = 2
"""Raise it when the same results give other metrics, or when the report changes so much that it should be rebuilt."""


def evaluate(
    store: Store,
    config: EvaluateConfig,
    results: Sequence[Artifact],
    pictures: Mapping[str, bytes] | None = None,
    context: Mapping[str, Any] | None = None,
    absent: Mapping[str, str] | None = None,
) -> Artifact:
    """Publish the `evaluation` artifact, or return it if it exists.

    `pictures`: PNG or JPEG bytes of synthetic faces and curves (`contact_sheet`, `curve`, `screening`). `context`: what
    the report's header says about the run (name, profile …). `absent`: requested methods that were not run, with the
    reason. Raises DataError if the results are not comparable (see `read_results`)."""
    pictures, context, absent = dict(pictures or {}), dict(context or {}), dict(absent or {})
    address = config.model_dump(mode="json") | {
        "pictures": {name: hashlib.sha256(data).hexdigest() for name, data in pictures.items()},
        "context": {str(key): str(value) for key, value in context.items()},
        "absent": absent,
    }
    inputs = {_name(artifact): artifact for artifact in results}
    draft = Draft(store, "evaluation", address, inputs, {"evaluate": REVISION})
    if (done := draft.published()) is not None:
        return done
    if (saliency := saliency_picture(results)) is not None:
        pictures["saliency"] = saliency
    scored = read_results(results, config)
    comparisons = compare(scored, config)
    lines = origins(results)
    logger.info(f"{counted(len(scored), 'result')} of {counted(len({r.task for r in scored}), 'task')}")
    for group in tables.groups_of(scored):
        text = tables.table_csv(group, scored, absent)
        draft.write(f"table-{group.name}.csv", text.encode())
        draft.write_json(f"table-{group.name}.json", list(csv.DictReader(io.StringIO(text))))
    draft.write_json("metrics.json", records(scored, comparisons, config.confidence, absent))
    draft.write("summary.md", report.summary(scored, comparisons, absent).encode())
    draft.write("report.html", report.render(scored, comparisons, lines, pictures, context, config, absent).encode())
    return draft.publish(_facts(scored, comparisons).record())


def _facts(scored: Sequence[Result], comparisons: Sequence[Comparison]) -> EvaluationFacts:
    return EvaluationFacts(
        verdict=report.verdict(scored, comparisons, report.main_mode(scored)),
        metrics={
            f"{r.task}/{r.mode}/{metric}": value if math.isfinite(value := r.estimates[metric].value) else None
            for r in scored
            if r.ours
            for metric in r.metrics
        },
        rehearsal=tuple(sorted({r.task for r in scored if r.rehearsal})),
    )


def _name(artifact: Artifact) -> str:
    facts = artifact.facts_as(TransferFacts)
    return f"{facts.task}/{facts.method}/{facts.mode}" + (f"/{facts.seed}" if facts.seed else "")
