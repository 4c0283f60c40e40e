"""Compare two photos of one person: estimates the change for every task of a registered model.

In: two photos, a `model` artifact. Out: a Comparison (printed as JSON or as a table; picture.py draws it). Each result
includes its caveats: whether the head was fitted on a rehearsal, the coverage of the interval, and why there is no
verdict (caveats.py). The content of a photo is never logged; an error names only the file and its role.

Legend: S = H = W side length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.models.caveats import NONE, Caveats, Reason, caveats_of
from comface.models.estimator import Estimator, load_estimator
from comface.models.format import Interval, Task
from comface.models.photo import Prepared, prepared
from comface.tasks.conformal import differences
from comface.tasks.registry import quantity, quantity_title, title

if TYPE_CHECKING:
    from comface.faces.photos import Photo

OF_REHEARSAL = "rehearsal: fitted and calibrated on generated faces, says nothing about a real person"
CANNOT_TELL = "cannot tell"
WIDER = 1.25
"""An interval that is this many times as wide as the mean is said to be wider than usual, with the reason."""


@dataclass(frozen=True)
class Change:
    """The estimated change for one task. `interval` is a prediction interval with the given `coverage`, valid for
    photos like those that the head was fitted on. None if it cannot be computed."""

    change: float
    unit: str
    interval: tuple[float, float] | None
    coverage: float
    rehearsal: bool = False
    reasons: tuple[Reason, ...] = ()
    """Why there is no verdict, and other caveats of the estimate."""
    title: str = ""
    quantity: str = ""
    """Tasks of one quantity (edema-a, edema-b and edema-a-to-b: weight) estimate the same change."""
    corr: float | None = None
    """The head's correlation on people who had no part in its fit."""

    @property
    def verdict(self) -> str:
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return CANNOT_TELL
        return "increase" if self.change > 0 else "decrease"

    def record(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "quantity": self.quantity,
            "change": self.change,
            "unit": self.unit,
            "interval": list(self.interval) if self.interval else None,
            "coverage": self.coverage,
            "rehearsal": self.rehearsal,
            "verdict": self.verdict,
            "reasons": [reason.sentence for reason in self.reasons],
            "codes": [reason.code for reason in self.reasons],
        }


@dataclass(frozen=True)
class Comparison:
    model: str
    changes: Mapping[str, Change]
    """Task → its change, one task per quantity (`one_per_quantity`) unless everything was asked for."""
    before_SS3: NDArray[np.uint8]
    after_SS3: NDArray[np.uint8]
    caveats: Caveats = NONE

    @property
    def verdict(self) -> dict[str, str]:
        """Task → increase, decrease or cannot tell."""
        return {task: each.verdict for task, each in self.changes.items()}

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `comface compare --json` prints."""
        return {
            "model": self.model,
            "changes": {task: each.record() for task, each in self.changes.items()},
            "caveats": {
                "refused": self.caveats.refused,
                "reasons": [reason.record() for reason in self.caveats.reasons],
            },
        }


def compare(before: Photo, after: Photo, model: Artifact, reference: str = "", everything: bool = False) -> Comparison:
    """Compare two photos with a model. `reference`: the model's name in the output (default: its URI); `everything`:
    every task, also those of one quantity. Raises DataError that names the photo if it cannot be used."""
    return compare_with(load_estimator(model), before, after, reference or model.uri, everything)


def compare_with(
    estimator: Estimator, before: Photo, after: Photo, reference: str, everything: bool = False
) -> Comparison:
    photos = [prepared(estimator, photo, role) for role, photo in (("BEFORE", before), ("AFTER", after))]
    return compared(estimator, photos[0], photos[1], reference, everything)


def compared(
    estimator: Estimator, before: Prepared, after: Prepared, reference: str, everything: bool = False
) -> Comparison:
    caveats = caveats_of(before, after)
    found = estimator.changes_between(before.features, after.features)
    changes = judged(estimator, found, caveats, differences(before.conditions, after.conditions))
    if not everything:
        changes = one_per_quantity(changes)
    return Comparison(reference, changes, before.shown_SS3, after.shown_SS3, caveats)


def changes_of(
    estimator: Estimator,
    before_SS3: NDArray[np.uint8],
    after_SS3: NDArray[np.uint8],
    caveats: Caveats = NONE,
    apart: Mapping[str, float] | None = None,
) -> dict[str, Change]:
    """Estimate the change of every task from two aligned faces; the rest as `judged`."""
    return judged(estimator, estimator.changes(before_SS3, after_SS3), caveats, apart)


def judged(
    estimator: Estimator, changes: Mapping[str, float], caveats: Caveats, apart: Mapping[str, float] | None
) -> dict[str, Change]:
    """Add interval and reasons to the estimated change of every task. `apart`: how much the photos differ in each
    condition; None: unknown, which gives intervals of mean width."""
    found = {}
    for task, value in changes.items():
        entry = estimator.record[task]
        width = None if caveats.refused or entry.interval is None else entry.interval.half_width(apart)
        interval = (value - width, value + width) if width is not None else None
        reasons = (*caveats.reasons, *_reasons(entry, interval, apart))
        found[task] = Change(
            value,
            entry.unit,
            interval,
            entry.coverage,
            entry.rehearsal,
            reasons,
            entry.title or title(task),
            quantity(task),
            entry.corr,
        )
    return found


def one_per_quantity(changes: Mapping[str, Change]) -> dict[str, Change]:
    """One task per quantity, under the quantity's title: a head fitted on real people before one of a rehearsal, one
    with an interval before one without, then the one with the highest correlation on held-out people."""
    quantities: dict[str, list[str]] = {}
    for task, each in changes.items():
        quantities.setdefault(each.quantity or task, []).append(task)
    best = [max(tasks, key=lambda task: _rank(changes[task])) for tasks in quantities.values()]
    return {task: replace(changes[task], title=quantity_title(task, changes[task].title)) for task in best}


def _rank(change: Change) -> tuple[bool, bool, float]:
    """The same for a refused pair, which has no interval, and for any other: few people mean that the task has none."""
    has_interval = all(reason.code != "few_people" for reason in change.reasons)
    return not change.rehearsal, has_interval, -2.0 if change.corr is None else change.corr


def _reasons(entry: Task, interval: tuple[float, float] | None, apart: Mapping[str, float] | None) -> Iterator[Reason]:
    """The caveats of one task's estimate. `interval`: None if the pair is refused or the task has none."""
    named = f"{100 * entry.coverage:g} % prediction interval"
    if entry.interval is None:
        sentence = f"the test set has too few people ({entry.subjects}) to compute a {named}"
        yield Reason("few_people", sentence)
    elif interval and interval[0] <= 0 <= interval[1]:
        yield Reason("contains_zero", f"the {named} contains zero")
    if interval and (unlike := _unlike(entry.interval, apart)):
        yield Reason("unlike_photos", f"the photos differ in {unlike}, so the {named} is wider than usual")
    if entry.rehearsal:
        yield Reason("rehearsal", OF_REHEARSAL)


def _unlike(interval: Interval | None, apart: Mapping[str, float] | None) -> str:
    """The condition that widens the interval most, if it is wider than usual; else an empty text."""
    from comface.faces.conditions import CONDITIONS

    if interval is None or apart is None or not interval.mean_half_width:
        return ""
    if interval.half_width(apart) <= WIDER * interval.mean_half_width:
        return ""
    most = max(interval.weights, key=lambda name: interval.weights[name] * apart.get(name, 0.0), default="")
    return CONDITIONS.get(most, most)


def table(comparison: Comparison) -> str:
    """Return a table for the terminal: one line per change, then the caveats."""
    rows = [("", "change", "interval", "verdict", "unit")]
    for task, each in comparison.changes.items():
        interval = f"{each.interval[0]:+.2f} … {each.interval[1]:+.2f}" if each.interval else "–"
        unit = each.unit + (" (rehearsal)" if each.rehearsal else "")
        rows.append((each.title or task, f"{each.change:+.2f}", interval, each.verdict, unit))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f"{task:<{widths[0]}}  {value:>{widths[1]}}  {interval:^{widths[2]}}  {verdict:<{widths[3]}}  {unit}"
        for task, value, interval, verdict, unit in rows
    ]
    return "\n".join([*lines, f"Model {comparison.model}; change from BEFORE to AFTER", *notes(comparison)])


def notes(comparison: Comparison) -> list[str]:
    """Return the caveats of a comparison, one sentence each, for the table and the picture."""
    return [*pair_notes(comparison), *general_notes(comparison)]


def pair_notes(comparison: Comparison) -> list[str]:
    """The caveats of these two photos."""
    said = [f"{reason.sentence[:1].upper()}{reason.sentence[1:]}." for reason in comparison.caveats.reasons]
    return [*said, "Therefore no interval and no verdict is given."] if comparison.caveats.refused else said


def general_notes(comparison: Comparison) -> list[str]:
    """What the figures of the model mean."""
    changes, said = comparison.changes.values(), []
    if not comparison.caveats.refused:
        said += [
            _promise(*kind) for kind in sorted({(each.rehearsal, each.coverage) for each in changes if each.interval})
        ]
        if not all(each.interval for each in changes):
            said.append("A task without an interval was tested on too few people to compute one.")
    if any(each.rehearsal for each in changes):
        said.append("Rehearsal: the head was fitted on generated faces; the estimate says nothing about a real person.")
    return said


def _promise(rehearsal: bool, coverage: float) -> str:
    interval = f"{100 * coverage:g} % prediction interval"
    if rehearsal:
        return f"Rehearsal: the {interval} was calibrated on generated faces; its coverage on real photos is unknown."
    return f"Interval: {interval} for a new person, for photos like those the head was fitted on."
