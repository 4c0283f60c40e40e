"""Evaluate: computes metrics from predictions and writes tables and the report (sections 4.3 and 4.4).

In: `transfer` artifacts of any tasks, methods and modes. Out: an artifact `evaluation`:

    report.html                     the report, a self-contained file
    summary.md                      the main finding and one table
    metrics.json                    every metric with its interval, and the gain of ComFace over each method
    table-expression.csv … .json    one table per group of tasks, laid out like tables 2, 3 and 6 of the paper
    table-gains-….csv … .json       every other table of the report
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from comface.artifacts.facts import EvaluationFacts, TransferFacts
from comface.artifacts.made import read_made
from comface.artifacts.manifest import Artifact, Draft, with_inputs
from comface.evaluate import exports, header, pretrainings, provenance, report
from comface.evaluate.cards import cards
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.header import RunFacts
from comface.evaluate.plots import identity
from comface.evaluate.records import records
from comface.evaluate.results import Comparison, Result, compare, read_results
from comface.evaluate.saliency import saliency_picture
from comface.evaluate.single import of_changes
from comface.evaluate.table import csv_text
from comface.evaluate.tables import groups_of
from comface.evaluate.verdict import main_mode, verdict
from comface.methods import challenger
from comface.runtime.progress import counted
from comface.store import Store
from comface.tasks.registry import titled

logger = logging.getLogger(__name__)

REVISION = 3
"""Raise it when the same results give other metrics, or when the report changes so much that it should be rebuilt."""


def evaluate(
    store: Store,
    config: EvaluateConfig,
    results: Sequence[Artifact],
    run: RunFacts | None = None,
    backbones: Sequence[Artifact] = (),
    pictures: Mapping[str, bytes] | None = None,
) -> Artifact:
    """Publish the `evaluation` artifact, or return it if it exists.

    `backbones`: the pre-trainings of the run, the registered one first; the others are those behind the results.
    `pictures`: PNG or JPEG bytes that show no person (`saliency` is figure 4; without it, it is made of the results).
    Raises DataError if the results are not comparable (see `read_results`)."""
    run, pictures = run or RunFacts(), dict(pictures or {})
    address = config.model_dump(mode="json") | {
        "pictures": {name: hashlib.sha256(data).hexdigest() for name, data in pictures.items()},
        "backbones": [each.address for each in backbones],
        "run": _decisive(run),
    }
    inputs = {_name(artifact): artifact for artifact in results}
    draft = Draft(store, "evaluation", address, inputs, {"evaluate": REVISION})
    if (done := draft.published()) is not None:
        return done
    if "saliency" not in pictures and (saliency := saliency_picture(results)) is not None:
        pictures["saliency"] = saliency
    with titled(run.titles):
        scored = read_results(results, config)
        comparisons = compare(scored, config)
        logger.info(f"{counted(len(scored), 'result')} of {counted(len({r.task for r in scored}), 'task')}")
        behind = _behind(results, backbones, run, pictures, draft.uri.rsplit("/", 1)[1])
        html, tables = report.render(scored, comparisons, config, run, behind)
        changes, compared, _ = of_changes(scored, comparisons)
        files = {group.name: exports.group_records(group, changes, run.about) for group in groups_of(changes)}
        files |= {identity(table.name): table.records() for table in tables}
        for name, rows in files.items():
            draft.write(f"table-{name}.csv", csv_text(rows).encode())
            draft.write_json(f"table-{name}.json", rows)
        written = records(scored, comparisons, config.confidence, run.about.absent)
        draft.write_json("metrics.json", written | {"random_weights": list(run.about.random_weights)})
        draft.write("summary.md", report.summary(scored, comparisons, run.about).encode())
        draft.write("report.html", html.encode())
        return draft.publish(_facts(scored, changes, compared, run.titles).record())


def _decisive(run: RunFacts) -> dict[str, Any]:
    """What decides the content of the report; the time at which it is made does not."""
    values = asdict(run)
    left_out = {"started", "now", *(() if run.titles else ("titles",))}  # reports without titles keep their address
    return {name: value for name, value in values.items() if name not in left_out}


def _behind(
    results: Sequence[Artifact],
    backbones: Sequence[Artifact],
    run: RunFacts,
    pictures: Mapping[str, bytes],
    address: str,
) -> report.Behind:
    found = with_inputs([*results, *backbones])
    of_methods = pretrainings.backbones_of(results, found)
    first = next(iter([*backbones, *of_methods.get(challenger().name, ())]), None)
    lines = provenance.origins(found)
    return report.Behind(
        header=header.lines(run, [read_made(each.store) for each in found], address),
        citation=header.citation(run, address),
        pretraining=pretrainings.pretraining(first) if first and "shards" in first.manifest.inputs else None,
        pretrainings=pretrainings.overview(of_methods) if of_methods else None,
        trained=pretrainings.trained_of(results, found),
        screening=provenance.screening(lines),
        cards=cards(found),
        origins=lines,
        pictures=pictures,
    )


def _facts(
    scored: Sequence[Result], changes: Sequence[Result], comparisons: Sequence[Comparison], titles: Mapping[str, str]
) -> EvaluationFacts:
    named = {"titles": dict(titles)} if titles else {}
    return EvaluationFacts(
        **named,
        verdict=verdict(changes, comparisons, main_mode(changes)),
        metrics={
            f"{r.task}/{r.mode}/{metric}": r.estimates[metric].value for r in scored if r.ours for metric in r.metrics
        },
        rehearsal=tuple(sorted({r.task for r in scored if r.rehearsal})),
    )


def _name(artifact: Artifact) -> str:
    facts = artifact.facts_as(TransferFacts)
    return f"{facts.task}/{facts.method}/{facts.mode}/{facts.seed}"
