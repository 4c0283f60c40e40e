"""Gate and register: decides whether a model may be registered, and registers it as a version.

In: RegisterConfig; artifacts `evaluation`, `backbone` and `transfer` (of ComFace). Out: an artifact `decision` (always,
because a rejection is a result too) and, if the gate passes, an artifact `model` and a version in the registry. The
result depends on the inputs only, so a retry finds the same version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import safetensors.numpy

from comface.artifacts.facts import EvaluationFacts, TransferFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.config.names import markdown_cell
from comface.errors import GateRefused
from comface.models.format import FORMAT, SEEN, read_facts
from comface.models.registry import Registry, Version
from comface.models.signing import key_of_environment, sign
from comface.register.card import card
from comface.register.config import RegisterConfig
from comface.register.contents import (
    card_facts,
    heads_record,
    metrics_of,
    of_challenger,
    over_seeds,
    preprocessing,
    registrable,
    seen_by,
    usable_heads,
)
from comface.register.gate import Check, GateDecision, Metric, decide
from comface.register.origins import origins
from comface.register.report import REPORT, report_with
from comface.store import Store
from comface.tasks.config import base
from comface.weights.fetched import models_folder

GATE_REVISION, REVISION = 2, 3
"""Revisions of the decision and of the model. Raise one when the same inputs give another decision or model."""


@dataclass(frozen=True)
class RegisterResult:
    """`version` and `model` are None if the gate rejected the model."""

    decision: GateDecision
    recorded: Artifact
    version: Version | None = None
    model: Artifact | None = None

    def raise_if_refused(self) -> None:
        """Raise GateRefused (exit code 66) if the gate rejected the model; used by the command only."""
        if not self.decision.passed:
            more = f" ({len(self.decision.reasons) - 1} more)" if len(self.decision.reasons) > 1 else ""
            first = self.decision.reasons[0].rstrip(".")
            raise GateRefused(
                f"The gate rejected the model: {first[:1].lower()}{first[1:]}{more}; see {self.recorded.uri}."
            )


def gate(store: Store, config: RegisterConfig, evaluation: Artifact) -> tuple[GateDecision, Artifact]:
    """Return the decision and the artifact `decision` that records it (decision.json, decision.md, and report.html: the
    evaluation's report with the decision in it)."""
    registry = Registry(store, config.name)
    champion = registry.champion()
    inputs = {"evaluation": evaluation} | ({"champion": registry.open(champion)} if champion else {})
    draft = Draft(store, "decision", config.model_dump(mode="json"), inputs, {"gate": GATE_REVISION})
    if (done := draft.published()) is not None:
        return _decision(done.read_json("decision.json")), done
    before = [Metric(**row.model_dump()) for row in read_facts(inputs["champion"]).metrics] if champion else None
    metrics, left_out = metrics_of(evaluation)
    means, first = [over_seeds(of_seeds) for of_seeds in metrics], [of_seeds[0] for of_seeds in metrics]
    decision = decide(means, config, before, left_out, first)
    draft.write_json("decision.json", decision.record())
    draft.write("decision.md", decision_markdown(decision).encode())
    if (report := report_with(decision, evaluation)) is not None:
        draft.write(REPORT, report)
    facts = {"passed": decision.passed, "reasons": list(decision.reasons), "notes": list(decision.notes)}
    recorded = draft.publish(facts)
    return _decision(recorded.read_json("decision.json")), recorded


def register(
    store: Store,
    config: RegisterConfig,
    evaluation: Artifact,
    backbone: Artifact,
    heads: Sequence[Artifact],
    now: datetime,
    published_weights: Path | None = None,
) -> RegisterResult:
    """Run the gate and, if it passes, publish the model and register the next version.

    `heads`: `transfer` artifacts; one of ComFace is used per task, other methods are ignored. `published_weights`: the
    folder with the fetched files and their licence records (default: models_folder()).

    Raises DataError if a head does not belong to the backbone. A rejection is returned in the result, not raised."""
    private = key_of_environment()
    fitted = usable_heads(heads, backbone)
    decision, recorded = gate(store, config, evaluation)
    if not decision.passed:
        return RegisterResult(decision, recorded)
    ours = registrable(of_challenger(heads))
    titles = evaluation.facts_as(EvaluationFacts).titles if "titles" in evaluation.facts else {}
    model = make_model(store, config, backbone, fitted, ours, published_weights or models_folder(), titles)
    if private is not None:
        sign(model, private)
    version = Registry(store, config.name).register(model, now, recorded)
    return RegisterResult(decision, recorded, version, model)


def make_model(
    store: Store,
    config: RegisterConfig,
    backbone: Artifact,
    heads: dict[str, Artifact],
    results: Sequence[Artifact],
    published_weights: Path,
    titles: Mapping[str, str] | None = None,
) -> Artifact:
    """Publish the `model` artifact, or return it if it exists. Its address depends only on what its content depends on,
    so not on the thresholds or the report. The decision, to which the version refers, leads to both."""
    named = {f"{facts.task}-{facts.mode}": each for each in results for facts in [each.facts_as(TransferFacts)]}
    inputs = {"backbone": backbone} | dict(sorted(named.items()))
    behind = origins(inputs.values(), published_weights)
    settings = {"name": config.name, "interval_coverage": config.interval_coverage}
    named_tasks = {task: title for task, title in (titles or {}).items() if task in heads}
    settings |= {"titles": named_tasks} if named_tasks else {}
    draft = Draft(store, "model", settings | {"provenance": list(behind.files)}, inputs, {"register": REVISION})
    if (done := draft.published()) is not None:
        return done
    record = heads_record(heads, results, config.interval_coverage)
    draft.write("model.safetensors", backbone.read("model.safetensors"))
    for task, head in heads.items():
        draft.write(f"heads/{task}.safetensors", head.read("head.safetensors"))
        if base(record[task].mode) == "finetune":
            draft.write(f"backbones/{task}.safetensors", head.read("backbone.safetensors"))
    if (known := seen_by(results)) is not None:
        draft.write(SEEN, safetensors.numpy.save(known.tensors()))
    tasks = {task: entry.model_dump(mode="json", exclude={"title"}) for task, entry in record.items()}
    for task, title in named_tasks.items():
        tasks[task]["title"] = title
    draft.write_json("heads.json", tasks)
    draft.write_json("preprocessing.json", preprocessing(heads, backbone).model_dump(mode="json"))
    draft.write_json("config.json", {"pretrain": backbone.manifest.config, "register": settings})
    facts = card_facts(config.name, backbone, record, inputs, behind, config.interval_coverage)
    draft.write("card.md", card(facts).encode())
    return draft.publish(
        {"format": FORMAT, "name": config.name, "tasks": tasks, "metrics": [asdict(metric) for metric in facts.metrics]}
    )


def decision_markdown(decision: GateDecision) -> str:
    """Return the decision as Markdown, for the KFP UI and for decision.md."""
    verdict = "**The gate passed.**" if decision.passed else "**The gate rejected the model.**"
    lines = [verdict, "", *(f"- {markdown_cell(sentence)}" for sentence in (*decision.reasons, *decision.notes))]
    lines += ["", "| check | task | mode | value | limit | |", "|---|---|---|---|---|---|"]
    for check in decision.checks:
        value, limit = (f"{number:.3f}" if number is not None else "–" for number in (check.value, check.limit))
        verdict = "passed" if check.passed else "**failed**"
        lines.append(f"| {check.check} | {markdown_cell(check.task)} | {check.mode} | {value} | {limit} | {verdict} |")
    return "\n".join(lines) + "\n"


def _decision(record: dict[str, Any]) -> GateDecision:
    checks = tuple(Check(**row) for row in record["checks"])
    return GateDecision(record["passed"], tuple(record["reasons"]), checks, tuple(record["notes"]))
