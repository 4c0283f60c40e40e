"""Compare two photos of one person: the estimated change of every task that a registered model knows.

In: two photos as people take them, a `model` artifact. Out: a Comparison (the JSON of the command line, a table for
the terminal; picture.py draws it). Nothing of a photo is logged; an error names the file and its role, no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import DataError
from comface.manifest import Artifact
from comface.register.estimator import Estimator, load_estimator

SHOWN_PX = 192
"""Side length of the aligned faces that a person is shown."""


@dataclass(frozen=True)
class Change:
    change: float
    unit: str
    interval: tuple[float, float] | None
    coverage: float
    rehearsal: bool = False


@dataclass(frozen=True)
class Comparison:
    model: str
    changes: Mapping[str, Change]
    before_SS3: NDArray[np.uint8]
    after_SS3: NDArray[np.uint8]

    def record(self) -> dict[str, Any]:
        """What `comface compare --json` prints."""
        changes = {
            task: {"change": each.change, "unit": each.unit, "interval": each.interval and list(each.interval)}
            for task, each in self.changes.items()
        }
        return {"model": self.model, "changes": changes}


def compare(before: Path, after: Path, model: Artifact, reference: str = "") -> Comparison:
    """`reference`: how the model is called (default: its URI). Raises DataError naming the photo at fault."""
    estimator = load_estimator(model)
    aligned_px = int(estimator.preprocessing["aligned_px"])
    faces = [aligned(role, path, (aligned_px, SHOWN_PX)) for role, path in (("BEFORE", before), ("AFTER", after))]
    changes = changes_of(estimator, faces[0][0], faces[1][0])
    return Comparison(reference or model.uri, changes, faces[0][1], faces[1][1])


def changes_of(estimator: Estimator, before_SS3: NDArray[np.uint8], after_SS3: NDArray[np.uint8]) -> dict[str, Change]:
    """From aligned faces."""
    found = {}
    for task, value in estimator.changes(before_SS3, after_SS3).items():
        entry = estimator.record[task]
        width = entry["interval_half_width"]
        interval = (value - width, value + width) if width is not None else None
        found[task] = Change(value, entry["unit"], interval, entry["coverage"], entry["rehearsal"])
    return found


def aligned(role: str, path: Path, sizes_px: tuple[int, ...]) -> list[NDArray[np.uint8]]:
    """The one face of a photo, aligned at each size."""
    from comface import faces

    if not path.is_file():
        raise DataError(f"The photo {role} ({path}) is not there; give the path of an image file.")
    try:
        image_HW3 = faces.read_photo(path)
    except DataError as error:
        reason = str(error)
        raise DataError(f"The photo {role} cannot be used: {reason[:1].lower()}{reason[1:]}") from None
    face = faces.find_face(image_HW3, what=f"the photo {role} ({path})")
    return [faces.align(image_HW3, face.points_52, size_px) for size_px in sizes_px]


def table(comparison: Comparison) -> str:
    """For a terminal: one line per task, then what the columns mean."""
    rows = [("task", "change", "interval", "unit")]
    for task, each in comparison.changes.items():
        interval = f"{each.interval[0]:+.2f} … {each.interval[1]:+.2f}" if each.interval else "–"
        rows.append((task, f"{each.change:+.2f}", interval, each.unit + (" (rehearsal)" if each.rehearsal else "")))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        f"{task:<{widths[0]}}  {value:>{widths[1]}}  {interval:^{widths[2]}}  {unit}"
        for task, value, interval, unit in rows
    ]
    coverages = {each.coverage for each in comparison.changes.values() if each.interval}
    notes = [f"model {comparison.model}; change from BEFORE to AFTER"]
    notes += [
        f"the interval holds the true change of a new person, photographed as the task's were, in {c:.0%} of cases"
        for c in sorted(coverages)
    ]
    if any(each.rehearsal for each in comparison.changes.values()):
        notes.append("(rehearsal): fitted on generated faces, says nothing about people")
    return "\n".join([*lines, *notes])
