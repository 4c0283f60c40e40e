"""Compare two photos of one person: the estimated change of every task that a registered model knows.

In: two photos as people take them, a `model` artifact. Out: a Comparison (the JSON of the command line, a table for
the terminal; picture.py draws it). Caveats travel with the figures: every task says whether it was learned on a
rehearsal, what its interval promises, and why it cannot tell. Nothing of a photo is logged; an error names the file
and its role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.errors import ComfaceError
from comface.models.estimator import Estimator, load_estimator

SHOWN_PX = 192
"""Side length of the aligned faces that a person is shown."""
UNCHECKED = "whether both photos show one person was not checked: run `comface fetch` to get the network that does"
OF_REHEARSAL = "rehearsal: learned and calibrated on generated faces, no statement about a person"
CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Change:
    """The change of one task. `interval` holds the true change with a probability of `coverage` for photos like those
    the task was learned on; None where nothing can be promised."""

    change: float
    unit: str
    interval: tuple[float, float] | None
    coverage: float
    rehearsal: bool = False
    reasons: tuple[str, ...] = ()
    """Why it cannot be told, and what else to know before the figure is used."""

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
    """What holds for two photos whatever the task. `refused`: no interval and no verdict can be given for them."""

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
        """What `comface compare --json` prints."""
        return {"model": self.model, "changes": {task: each.record() for task, each in self.changes.items()}}


def compare(before: Path, after: Path, model: Artifact, reference: str = "") -> Comparison:
    """`reference`: how the model is called (default: its URI). Raises DataError naming the photo at fault."""
    return compare_with(load_estimator(model), before, after, reference or model.uri)


def compare_with(estimator: Estimator, before: Path, after: Path, reference: str) -> Comparison:
    found = [_found(role, path) for role, path in (("BEFORE", before), ("AFTER", after))]
    caveats = caveats_of(*found)
    sizes_px = (estimator.preprocessing.aligned_px, SHOWN_PX)
    faces = [[_aligned(image_HW3, face, size_px) for size_px in sizes_px] for image_HW3, face in found]
    changes = changes_of(estimator, faces[0][0], faces[1][0], caveats)
    return Comparison(reference, changes, faces[0][1], faces[1][1], caveats)


def caveats_of(before: Any, after: Any) -> Caveats:
    """`before`, `after`: a photo (H,W,3) and the face found in it. Further rules about photos belong here."""
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
) -> dict[str, Change]:
    """From aligned faces."""
    found = {}
    for task, value in estimator.changes(before_SS3, after_SS3).items():
        entry = estimator.record[task]
        width = None if caveats.refused else entry.interval_half_width
        interval = (value - width, value + width) if width is not None else None
        reasons, promise = list(caveats.reasons), f"{100 * entry.coverage:g} % prediction interval"
        if entry.interval_half_width is None:
            reasons.append(f"too few people were measured ({entry.subjects}) to give a {promise}")
        elif interval and interval[0] <= 0 <= interval[1]:
            reasons.append(f"the {promise} contains zero")
        if entry.rehearsal:
            reasons.append(OF_REHEARSAL)
        found[task] = Change(value, entry.unit, interval, entry.coverage, entry.rehearsal, tuple(reasons))
    return found


def _found(role: str, path: Path) -> tuple[NDArray[np.uint8], Any]:
    """The photo and its one face."""
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
    """For a terminal: what holds for both photos, one line per task, then what the columns mean."""
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
    return "\n".join([*lines, f"model {comparison.model}; change from BEFORE to AFTER", *notes(comparison)])


def notes(comparison: Comparison) -> list[str]:
    """What must be known before the figures are used, one sentence each; the same under a table and a picture."""
    changes = comparison.changes.values()
    said = [f"{reason[:1].upper()}{reason[1:]}." for reason in comparison.caveats.reasons]
    if comparison.caveats.refused:
        said.append("So neither an interval nor a verdict is given.")
    else:
        said += [
            _promise(*kind) for kind in sorted({(each.rehearsal, each.coverage) for each in changes if each.interval})
        ]
        if not all(each.interval for each in changes):
            said.append("No interval is given where too few people were measured to promise one.")
    if any(each.rehearsal for each in changes):
        said.append("Rehearsal: learned from generated faces; no statement about a person.")
    return said


def _promise(rehearsal: bool, coverage: float) -> str:
    interval = f"{100 * coverage:g} % prediction interval"
    if rehearsal:
        return f"Rehearsal: the {interval} was calibrated on generated faces; how often it holds on photos is unknown."
    return f"Interval: the {interval} for a new person, photographed as the people of the task were."
