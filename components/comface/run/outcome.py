"""What a run came to: report, model, first comparison; and the lines that say so.

In: the URI of the evaluation, and the reference of the model that the gate let through. Out: an Outcome.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from comface.artifacts.facts import EvaluationFacts
from comface.artifacts.manifest import Artifact, open_artifact
from comface.execution.pages import FIRST, filled
from comface.files import write_file
from comface.models.references import DEFAULT_NAME, resolve_model
from comface.models.registry import Registry
from comface.plan.configuration import RunConfig
from comface.register.champion import champion_reference
from comface.register.decision import PROMOTE, GateDecision
from comface.register.report import REPORT
from comface.register.step import GATE_REVISION, gate
from comface.run.first_comparison import WHO, FirstComparison, first_comparison
from comface.store import Store


@dataclass(frozen=True)
class Outcome:
    """The results of a run. `model` is None if the gate rejected it."""

    report: Path
    verdict: str
    decision: GateDecision
    model: str | None
    comparison: FirstComparison | None
    seconds: float
    rehearsal: bool = False
    """Whether a task of the model was trained on generated faces."""
    store: str = ""
    """The store, if it is not the one that `comface compare` reads."""
    champion: str = ""
    """Reference of the champion after the run; empty if there is none."""

    def lines(self) -> list[str]:
        lines = [f"Done in {self.seconds / 60:.1f} minutes. {self.verdict}", f"  report      {self.report}"]
        reasons = [f"    - {reason}" for reason in self.decision.reasons]
        if self.model is None:
            return [*lines, f"  model       not registered. {self.decision.sentence}", *reasons]
        if self.model == self.champion:
            lines.append(f"  model       {self.model}, the champion")
        else:
            lines += [f"  model       {self.model}. {self.decision.sentence}", *reasons]
            lines.append(f"    `comface models promote {self.model}` makes it the champion.")
        if self.comparison:
            lines.append(f"  comparison  {self.comparison.picture}, {WHO}")
            lines += [f"              {line}" for line in self.comparison.lines()]
        option = self._option(self.model)
        option += f" --store {shlex.quote(self.store)}" if self.store else ""
        caveat = " (a rehearsal: its figures say nothing about people)" if self.rehearsal else ""
        return [*lines, f"Try it on two photos of one person: comface compare BEFORE.jpg AFTER.jpg{option}{caveat}"]

    def _option(self, model: str) -> str:
        """What `comface compare` needs to use this model, if it is not the default."""
        if self.champion and self.champion != model:
            return f" --model {model}"
        name = model.partition("@")[0]
        return "" if name == DEFAULT_NAME else f" --model {name}"


def collect(uri: str, model: str | None, config: RunConfig, store: Store, folder: Path, started: float) -> Outcome:
    evaluation, report = open_artifact(uri, "evaluation"), folder / REPORT
    registry = Registry(store, config.register_model.name)
    recorded = _decision(registry, model, evaluation) if model else None
    if recorded is None:
        _, recorded = gate(store, config.register_model, evaluation)
    decision = GateDecision.of(recorded.read_json("decision.json"))
    comparison = None
    if model is not None:
        comparison = first_comparison(resolve_model(store, model)[1], model, folder, config.rehearse.seed)
    page = recorded.read(REPORT).decode()
    write_file(report, filled(page, FIRST, comparison.section() if comparison else "").encode(), private=True)
    facts, champion = evaluation.facts_as(EvaluationFacts), champion_reference(registry)
    seconds, rehearsal = time.monotonic() - started, bool(facts.rehearsal)
    usual = Path("runs", "laptop", "store").absolute().as_uri()
    place = "" if config.store == usual else config.store
    return Outcome(report, facts.verdict, decision, model, comparison, seconds, rehearsal, place, champion)


def _decision(registry: Registry, model: str, evaluation: Artifact) -> Artifact | None:
    """The gate's decision with which a version was registered; None if it was made from another evaluation, or if the
    version became champion in spite of it, by a later decision."""
    version = next((each for each in registry.versions() if each.reference == model), None)
    recorded = registry.decision(version) if version else None
    if recorded is None or recorded.manifest.revisions != {"gate": GATE_REVISION}:
        return None
    if recorded.facts["outcome"] != PROMOTE and registry.champion() == version:
        return None
    return recorded if recorded.manifest.inputs["evaluation"].sha256 == evaluation.sha256 else None
