"""The model card, in Markdown: what the model is, what it was made from, what it reached, what it must not be used for.

In: plain facts (CardFacts). Out: text, a function of these facts alone (no date), so that the model's address is too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from comface.config.names import markdown_cell
from comface.generators.registry import GENERATORS, OWN, PHOTOGRAPHS
from comface.methods import METHODS, challenger
from comface.models.format import Task
from comface.register.gate import Metric
from comface.register.origins import Origins


@dataclass(frozen=True)
class CardFacts:
    name: str
    backbone: str
    image_size_px: int
    origins: Origins
    metrics: Sequence[Metric]
    tasks: Mapping[str, Task]
    """What `compare` uses, by task."""
    coverage: float
    inputs: Mapping[str, str]
    """Name of an input artifact -> sha256 of its manifest."""


def card(facts: CardFacts) -> str:
    sections = (_what, _data, _reached, _use, _limits, _verification)
    return "\n\n".join(section(facts).strip() for section in sections) + "\n"


def _what(facts: CardFacts) -> str:
    tasks = _listed(facts.tasks) or "none"
    return f"""# Model card: {_cell(facts.name)}

Estimates the change between two photos of one person, after ComFace (representation learning with synthetic face
images, comparing faces within a person). Tasks: {tasks}.

- Backbone: {_cell(facts.backbone)}, {facts.image_size_px} px, trained from random weights on generated faces only.
- Head per task: d = l(ReLU(h_after − h_before)); linear: on standardised features of that backbone, fitted by ridge
  regression; finetune: backbone and head trained further on the task, then kept for it alone.
- Input: two photos, one face each, found and aligned as `preprocessing.json` says."""


def _data(facts: CardFacts) -> str:
    made = facts.origins
    counts = [
        f"{count:,} {what}"
        for what, count in (("identities", made.identities), ("tracks", made.tracks), ("images", made.images))
        if count
    ]
    lines = [
        "## Trained on",
        f"Pre-training: faces made by {_listed(made.generators) or 'unknown generators'}"
        f"{' (' + ', '.join(counts) + ')' if counts else ''}. No photograph of a person.",
        f"Heads: {_listed(made.datasets) or 'the data sets below'}.",
    ]
    if made.files:
        lines += [
            "",
            "Published files that took part, as the manifests behind this model name them:",
            "",
            "| file | as | licence | trained on | source | sha256 |",
            "|---|---|---|---|---|---|",
            *(
                f"| {_cell(row.get('file'))} | {_cell(row.get('role'))} | {_cell(row.get('licence') or 'not known')} "
                f"| {_cell(row.get('trained_on'))} | {_cell(row.get('citation'))} "
                f"| `{str(row.get('sha256', ''))[:12]}…` |"
                for row in made.files
            ),
        ]
    return "\n".join(lines)


def _reached(facts: CardFacts) -> str:
    lines = [
        "## Reached",
        "Cross-validated by subject: nobody is in training and test. The interval is the half width that holds the",
        f"true change of a new person with a probability of {facts.coverage:.0%}; a dash means too few subjects to",
        "promise it.",
        "",
        "| task | mode | used by compare | unit | correlation | MAE | direction | interval ± | data |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for metric in facts.metrics:
        task = facts.tasks.get(metric.task)
        used = task is not None and task.mode == metric.mode
        width = task.interval_half_width if task is not None and used else None
        direction = "–" if metric.acc is None else f"{metric.acc:.0%}"
        lines.append(
            f"| {_cell(metric.task)} | {metric.mode} | {'yes' if used else ''} | {_cell(metric.unit)} "
            f"| {_number(metric.corr)} | {_number(metric.mae)} | {direction} | {_number(width)} "
            f"| {_cell(metric.dataset)}{', **rehearsal**' if metric.rehearsal else ''} |"
        )
    if any(metric.rehearsal for metric in facts.metrics):
        lines += [
            "",
            "**Rehearsal** means that the data set was made by a generator in the file layout of the real one: the",
            "figure shows that the procedure works, and says nothing about people.",
        ]
    return "\n".join(lines)


def _use(facts: CardFacts) -> str:
    return f"""## Intended use
Research: comparing two photos of one person, both seen from the front, with methods and error stated. Call it with
`comface compare BEFORE AFTER --model {_cell(facts.name)}`."""


def _limits(facts: CardFacts) -> str:
    limits = "\n".join(f"- {_cell(name)}: {_limit(name)}" for name in facts.origins.generators)
    limits += "".join(
        f"\n- {_cell(sentence)}. Faces that are not found are not learned." for sentence in facts.origins.lightness
    )
    limits += "".join(
        f"\n- Screening by {_cell(METHODS[name].title)}: {METHODS[name].limits}"
        for name in facts.origins.screened_by
        if name in METHODS and METHODS[name].limits
    )
    ours = challenger().name
    rehearsed = sorted({metric.task for metric in facts.metrics if metric.rehearsal and metric.method == ours})
    warning = (
        f"\n- {_listed(rehearsed)}: fitted on rehearsal data, so no estimate is a statement about a person."
        if rehearsed
        else ""
    )
    return f"""## Limits
- **Not a medical device.** It must not be used to diagnose, to dose, or to decide on a treatment.
- It compares two photos of the *same* person. `comface compare` warns where a face-recognition network holds them for
  two people; that check errs on some relatives, children, and on faces that are turned, covered or blurred.
- An estimate holds for photos like those its head was fitted on (camera, light, pose, population). Elsewhere the
  interval's promise does not hold.
- Two photos under very different light, pose or make-up differ for reasons that no task is about.{warning}
{limits}"""


def _limit(generator: str) -> str:
    """The generator may be of another version, whose entry is not here."""
    if ":" in generator:
        return OWN
    return GENERATORS[generator].limits if generator in GENERATORS else PHOTOGRAPHS


def _verification(facts: CardFacts) -> str:
    rows = "\n".join(f"| {_cell(name)} | `{sha256}` |" for name, sha256 in sorted(facts.inputs.items()))
    return f"""## Verify
`comface verify {_cell(facts.name)}` walks from this model back to the first input and checks every sha256 on the way.

| made from | sha256 of its manifest |
|---|---|
{rows}"""


def _listed(items: Iterable[str]) -> str:
    return ", ".join(map(markdown_cell, items))


def _cell(value: object) -> str:
    return markdown_cell(value if value is not None else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
