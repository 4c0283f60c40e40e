"""Gate and register: decides about a model, registers it as a version, and makes it the champion.

In: RegisterConfig; artifacts `evaluation`, `backbone` and `transfer` (of ComFace); the champion of the registry. Out:
an artifact `decision` (always, because a rejection is a result too) and, unless the model is rejected, an artifact
`model` and a version in the registry. The result depends on the inputs only, so a retry finds the same version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import safetensors.numpy

from comface.artifacts.facts import EvaluationFacts, TransferFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.config.names import markdown_cell
from comface.errors import GateRefused
from comface.models.format import FORMAT, SEEN
from comface.models.registry import Registry, Version
from comface.models.signing import key_of_environment, sign
from comface.register.card import card
from comface.register.champion import read_champion
from comface.register.config import RegisterConfig
from comface.register.contents import (
    card_facts,
    first_heads,
    heads_record,
    metrics_of,
    of_challenger,
    over_seeds,
    preprocessing,
    registrable,
    seen_by,
    transfers_of,
    usable_heads,
)
from comface.register.decision import CANNOT_TELL, KEEP, PASSED, PROMOTE, GateDecision
from comface.register.gate import decide
from comface.register.origins import origins
from comface.register.report import REPORT, numbers, powers, report_with
from comface.store import Store
from comface.tasks.config import base
from comface.weights.fetched import models_folder

GATE_REVISION, REVISION = 3, 3
"""Revisions of the decision and of the model. Raise one when the same inputs give another decision or model."""


@dataclass(frozen=True)
class RegisterResult:
    """`version` and `model` are None if the gate rejected the model. `promoted`: the version is the champion."""

    decision: GateDecision
    recorded: Artifact
    version: Version | None = None
    model: Artifact | None = None
    promoted: bool = False

    def raise_if_refused(self) -> None:
        """Raise GateRefused (exit code 66) if the gate rejected the model; used by the command only."""
        if self.decision.outcome == KEEP:
            more = f" ({len(self.decision.reasons) - 1} more)" if len(self.decision.reasons) > 1 else ""
            first = self.decision.reasons[0].rstrip(".")
            raise GateRefused(
                f"The gate rejected the model: {first[:1].lower()}{first[1:]}{more}; see {self.recorded.uri}."
            )

    def sentence(self) -> str:
        """What the registry has now, for the log."""
        assert self.version is not None, "a rejected model is raised, not told"
        name, champion = self.version.reference, self.decision.champion
        if self.promoted:
            return f"{name} is registered and is the champion."
        if self.decision.outcome == CANNOT_TELL:
            why = f"because the gate cannot tell: {self.decision.reasons[0]}"
        else:
            why = "because register.promote is false, or it was the champion before and was replaced."
        stays = f"The champion {champion} stays" if champion else "There is no champion"
        return f"{name} is registered. {stays}, {why} `comface models promote {name}` makes it the champion."


def gate(store: Store, config: RegisterConfig, evaluation: Artifact) -> tuple[GateDecision, Artifact]:
    """Return the decision and the artifact `decision` that records it (decision.json, decision.md, and report.html: the
    evaluation's report with the decision in it)."""
    registry, transfers = Registry(store, config.name), transfers_of(evaluation)
    heads = first_heads(transfers)
    champion = read_champion(registry, heads, transfers)
    address = config.model_dump(mode="json", exclude={"promote", "interval_coverage"})
    inputs = {"evaluation": evaluation}
    if champion is not None:
        address["champion"] = {"problem": champion.problem, "made_from": dict(champion.made_from)}
        inputs |= {"champion": champion.model} if champion.model else {}
    draft = Draft(store, "decision", address, inputs, {"gate": GATE_REVISION})
    if (done := draft.published()) is not None:
        return GateDecision.of(done.read_json("decision.json")), done
    metrics, left_out = metrics_of(transfers)
    subjects = {task: head.facts_as(TransferFacts).subjects for task, head in heads.items()}
    decision = decide([over_seeds(of_seeds) for of_seeds in metrics], config, champion, subjects, left_out)
    draft.write_json("decision.json", decision.record())
    draft.write("decision.md", decision_markdown(decision).encode())
    if (report := report_with(decision, evaluation)) is not None:
        draft.write(REPORT, report)
    facts = {"outcome": decision.outcome, "reasons": list(decision.reasons), "notes": list(decision.notes)}
    recorded = draft.publish(facts)
    return GateDecision.of(recorded.read_json("decision.json")), recorded


def register(
    store: Store,
    config: RegisterConfig,
    evaluation: Artifact,
    backbone: Artifact,
    heads: Sequence[Artifact],
    now: datetime,
    published_weights: Path | None = None,
) -> RegisterResult:
    """Run the gate. Outcome `promote`: publish the model, register the next version and make it the champion (unless
    config.promote is false); `cannot tell`: register it only; `keep`: neither.

    `heads`: `transfer` artifacts; one of ComFace is used per task, other methods are ignored. `published_weights`: the
    folder with the fetched files and their licence records (default: models_folder()).

    Raises DataError if a head does not belong to the backbone, TryAgain if another run promoted a version since the
    decision. A rejection is returned in the result, not raised."""
    private = key_of_environment()
    fitted = usable_heads(heads, backbone)
    decision, recorded = gate(store, config, evaluation)
    if decision.outcome == KEEP:
        return RegisterResult(decision, recorded)
    ours = registrable(of_challenger(heads))
    titles = evaluation.facts_as(EvaluationFacts).titles if "titles" in evaluation.facts else {}
    model = make_model(store, config, backbone, fitted, ours, published_weights or models_folder(), titles)
    if private is not None:
        sign(model, private)
    registry = Registry(store, config.name)
    version = registry.register(model, now, recorded)
    promoted = decision.outcome == PROMOTE and config.promote and _promote(registry, version, decision, now)
    return RegisterResult(decision, recorded, version, model, promoted)


def _promote(registry: Registry, version: Version, decision: GateDecision, now: datetime) -> bool:
    """Make the version the champion instead of the one that it was compared with. A version that was the champion
    before and was replaced stays replaced: somebody took it back, and a repeated run must not undo that."""
    before = [change.version for change in registry.history()]
    if version.number in before and before[-1] != version.number:
        return False
    registry.promote(version.number, now, decision.reasons[0], instead_of=decision.champion)
    return True


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
    lines = [f"**{decision.sentence}**", ""]
    lines += [f"- {markdown_cell(sentence)}" for sentence in (*decision.reasons, *decision.notes)]
    lines += ["", "| check | task | mode | value | interval | limit | power | |", f"{'|---' * 8}|"]
    for check in decision.checks:
        task = ", ".join(filter(None, (check.task, check.group)))
        result = check.result if check.result == PASSED else f"**{check.result}**"
        value, interval, limit = numbers(check)
        lines.append(
            f"| {check.check} | {markdown_cell(task)} | {check.mode} | {value} | {interval} | {limit} | "
            f"{powers(check)} | {result} |"
        )
    return "\n".join(lines) + "\n"
