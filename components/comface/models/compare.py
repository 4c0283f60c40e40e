"""Compare two photos of one person: estimates the change for every task of a registered model.

In: two photos, a `model` artifact. Out: a Comparison (printed as JSON or as a table; picture.py draws it). Each result
includes its caveats: whether the head was fitted on a rehearsal, the coverage of the interval, and why there is no
verdict. The content of a photo is never logged; an error names only the file and its role.

Legend: S = H = W side length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.errors import ComfaceError
from comface.models.estimator import Estimator, Features, load_estimator
from comface.models.format import Interval
from comface.tasks.conformal import differences

if TYPE_CHECKING:
    from comface.faces.detection import Face

SHOWN_PX = 192
"""Side length in pixels of the aligned faces in the picture."""
UNCHECKED = (
    "it was not checked whether both photos show the same person; run `comface fetch` to get the network for this"
)
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
    reasons: tuple[str, ...] = ()
    """Why there is no verdict, and other caveats of the estimate."""

    @property
    def verdict(self) -> str:
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return CANNOT_TELL
        return "increase" if self.change > 0 else "decrease"

    def record(self) -> dict[str, Any]:
        return {
            "change": self.change,
            "unit": self.unit,
            "interval": list(self.interval) if self.interval else None,
            "coverage": self.coverage,
            "rehearsal": self.rehearsal,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class Caveats:
    """Caveats of a pair of photos, independent of the task. `refused`: no interval and no verdict is given."""

    reasons: tuple[str, ...] = ()
    refused: bool = False


@dataclass(frozen=True)
class Comparison:
    model: str
    changes: Mapping[str, Change]
    before_SS3: NDArray[np.uint8]
    after_SS3: NDArray[np.uint8]
    caveats: Caveats = Caveats()

    def record(self) -> dict[str, Any]:
        """Return the JSON object that `comface compare --json` prints."""
        return {"model": self.model, "changes": {task: each.record() for task, each in self.changes.items()}}


def compare(before: Path, after: Path, model: Artifact, reference: str = "") -> Comparison:
    """Compare two photos with a model. `reference`: the model's name in the output (default: its URI). Raises DataError
    that names the photo if it cannot be used."""
    return compare_with(load_estimator(model), before, after, reference or model.uri)


def compare_with(estimator: Estimator, before: Path, after: Path, reference: str) -> Comparison:
    photos = [prepared(estimator, path, role) for role, path in (("BEFORE", before), ("AFTER", after))]
    return compared(estimator, photos[0], photos[1], reference)


@dataclass(frozen=True)
class Prepared:
    """All that a comparison needs of one photo: it can be compared with several others, or sent to another process."""

    image_HW3: NDArray[np.uint8]
    face: Face
    shown_SS3: NDArray[np.uint8]
    """The aligned face at the size of the picture."""
    features: Features
    conditions: Mapping[str, float]


def prepared(estimator: Estimator, path: Path, role: str) -> Prepared:
    """Read a photo, find its face and compute its features. `role`: its name in messages, as BEFORE or AFTER. Raises
    DataError that names the photo if it cannot be used."""
    from comface.faces.conditions import conditions

    image_HW3, face = _found(role, path)
    aligned_SS3 = _aligned(image_HW3, face, estimator.preprocessing.aligned_px)
    shown_SS3 = _aligned(image_HW3, face, SHOWN_PX)
    measured = conditions(aligned_SS3, face.points_52)
    return Prepared(image_HW3, face, shown_SS3, estimator.features(aligned_SS3), measured)


def compared(estimator: Estimator, before: Prepared, after: Prepared, reference: str) -> Comparison:
    caveats = caveats_of((before.image_HW3, before.face), (after.image_HW3, after.face))
    found = estimator.changes_between(before.features, after.features)
    changes = judged(estimator, found, caveats, differences(before.conditions, after.conditions))
    return Comparison(reference, changes, before.shown_SS3, after.shown_SS3, caveats)


def caveats_of(before: Any, after: Any) -> Caveats:
    """Check whether both photos show the same person. `before`, `after`: a photo (H,W,3) and the face found in it."""
    from comface.faces import identity

    if not identity.at_hand():
        return Caveats((UNCHECKED,))
    apart = identity.distance(before, after)
    if apart <= identity.THRESHOLD:
        return Caveats()
    reason = f"the photos seem to show different people (distance {apart:.2f}, threshold {identity.THRESHOLD:.2f})"
    return Caveats((reason,), refused=True)


def changes_of(
    estimator: Estimator,
    before_SS3: NDArray[np.uint8],
    after_SS3: NDArray[np.uint8],
    caveats: Caveats = Caveats(),
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
        reasons, named = list(caveats.reasons), f"{100 * entry.coverage:g} % prediction interval"
        if entry.interval is None:
            reasons.append(f"the test set has too few people ({entry.subjects}) to compute a {named}")
        elif interval and interval[0] <= 0 <= interval[1]:
            reasons.append(f"the {named} contains zero")
        if width is not None and (unlike := _unlike(entry.interval, apart)):
            reasons.append(f"the photos differ in {unlike}, so the {named} is wider than usual")
        if entry.rehearsal:
            reasons.append(OF_REHEARSAL)
        found[task] = Change(value, entry.unit, interval, entry.coverage, entry.rehearsal, tuple(reasons))
    return found


def _unlike(interval: Interval | None, apart: Mapping[str, float] | None) -> str:
    """The condition that widens the interval most, if it is wider than usual; else an empty text."""
    from comface.faces.conditions import CONDITIONS

    if interval is None or apart is None or not interval.mean_half_width:
        return ""
    if interval.half_width(apart) <= WIDER * interval.mean_half_width:
        return ""
    most = max(interval.weights, key=lambda name: interval.weights[name] * apart.get(name, 0.0), default="")
    return CONDITIONS.get(most, most)


def _found(role: str, path: Path) -> tuple[NDArray[np.uint8], Any]:
    """Read a photo and find its face."""
    from comface.faces import detection as faces
    from comface.faces.photos import read_photo

    try:
        image_HW3 = read_photo(path)
    except ComfaceError as error:
        reason = str(error)
        raise type(error)(f"The photo {role} cannot be used: {reason[:1].lower()}{reason[1:]}") from None
    return image_HW3, faces.find_face(image_HW3, what=f"the photo {role} ({path})")


def _aligned(image_HW3: NDArray[np.uint8], face: Any, size_px: int) -> NDArray[np.uint8]:
    from comface.faces import detection as faces

    return faces.align(image_HW3, face.points_52, size_px)


def table(comparison: Comparison) -> str:
    """Return a table for the terminal: one line per task, then the caveats."""
    rows = [("task", "change", "interval", "verdict", "unit")]
    for task, each in comparison.changes.items():
        interval = f"{each.interval[0]:+.2f} … {each.interval[1]:+.2f}" if each.interval else "–"
        unit = each.unit + (" (rehearsal)" if each.rehearsal else "")
        rows.append((task, f"{each.change:+.2f}", interval, each.verdict, unit))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f"{task:<{widths[0]}}  {value:>{widths[1]}}  {interval:^{widths[2]}}  {verdict:<{widths[3]}}  {unit}"
        for task, value, interval, verdict, unit in rows
    ]
    return "\n".join([*lines, f"Model {comparison.model}; change from BEFORE to AFTER", *notes(comparison)])


def notes(comparison: Comparison) -> list[str]:
    """Return the caveats of a comparison, one sentence each, for the table and the picture."""
    changes = comparison.changes.values()
    said = [f"{reason[:1].upper()}{reason[1:]}." for reason in comparison.caveats.reasons]
    if comparison.caveats.refused:
        said.append("Therefore no interval and no verdict is given.")
    else:
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
