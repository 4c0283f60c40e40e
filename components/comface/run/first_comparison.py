"""The first comparison after a run: two photos of a generated person whom the model has never seen, and the truth.

In: the model that was registered. Out: comparison.png, with both faces, the estimated and the true changes, and the
caveats; the same as lines for the terminal and as a section of the report.
"""

from __future__ import annotations

import base64
import html
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comface.artifacts.manifest import Artifact
from comface.datasets.rehearsal.registry import COHORT
from comface.files import write_file
from comface.models.compare import Comparison, compare_with
from comface.models.estimator import Estimator, load_estimator
from comface.models.picture import figures, picture
from comface.tasks.registry import TASKS
from comface.weights.fetched import AGE, DCGAN, EXPRESSION, IMAGENET, LANDMARKS, available

NEEDS = {DCGAN, AGE, EXPRESSION, IMAGENET, LANDMARKS}
PEOPLE_TRIED = 20
"""The first of these people about whose photos `compare` has no reservation is shown, whatever the estimates are."""
WHO = "a generated person whom the model has never seen"


@dataclass(frozen=True)
class FirstComparison:
    picture: Path
    comparison: Comparison
    truth: Mapping[str, float]
    """Task → true change, of the tasks whose truth is known."""

    def lines(self) -> list[str]:
        """One line per task whose truth is known."""
        changes = self.comparison.changes
        return [f"{changes[task].title}: {figures(changes[task], true)}" for task, true in self.truth.items()]

    def section(self) -> str:
        """A section of the report, as HTML."""
        data = base64.b64encode(self.picture.read_bytes()).decode()
        said = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines())
        alt = f"Two photos of {WHO}, and the estimated changes"
        return (
            f'<section><h2 id="first">The first comparison</h2><p>Two photos of {WHO}: its identity took part in no '
            "training, no fit and no calibration. The true change is that of the scorers. One pair shows how the model "
            f"is used; the tables show how good it is.</p><ul>{said}</ul>"
            f'<figure><img alt="{html.escape(alt)}" style="max-width:26rem;width:100%;max-height:none" '
            f'src="data:image/png;base64,{data}"></figure></section>'
        )


def first_comparison(model: Artifact, reference: str, folder: Path, seed: int = 0) -> FirstComparison | None:
    """None if no task of the model has a rehearsal whose truth can be generated, or no photo can be used."""
    estimator = load_estimator(model)
    labels = {
        task: TASKS[task].label
        for task, entry in estimator.record.items()
        if entry.rehearsal and task in TASKS and TASKS[task].dataset == COHORT
    }
    if not labels or not set(available()) >= NEEDS:
        return None
    found = _shown(estimator, reference, seed)
    if found is None:
        return None
    comparison, truth = found
    known = {task: truth[label] for task, label in labels.items() if math.isfinite(truth[label])}
    known = {task: true for task, true in known.items() if task in comparison.changes}
    output = folder / "comparison.png"
    write_file(output, picture(comparison, known), private=True)
    return FirstComparison(output, comparison, known)


def _shown(estimator: Estimator, reference: str, seed: int) -> tuple[Comparison, Mapping[str, float]] | None:
    """The comparison of the first person about whose photos there is no reservation, else of the first person."""
    from comface.datasets.rehearsal.held_out import held_out_pairs
    from comface.faces.detection import NoUsableFace

    first = None
    for pair in itertools.islice(held_out_pairs(seed), PEOPLE_TRIED):
        try:
            made = compare_with(estimator, pair.before_SS3, pair.after_SS3, reference)
        except NoUsableFace:
            continue
        first = first or (made, pair.truth)
        if not {reason.code for reason in made.caveats.reasons} - {"identity_unchecked"}:
            return made, pair.truth
    return first
