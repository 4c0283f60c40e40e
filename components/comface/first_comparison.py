"""The first thing to look at after a run: two photos of one person of the scored cohort, compared by the new model.

In: an evaluation and the model registered from it. Out: comparison.png, with both faces and the estimated changes.
"""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

from comface.manifest import Artifact
from comface.register.compare import compare
from comface.register.picture import picture
from comface.render import publish

COHORT = "cohort"
LABEL = "smile"


def compare_first_pair(evaluation: Artifact, model: Artifact, reference: str, folder: Path) -> Path | None:
    """None where the run had no scored cohort."""
    cohort = _cohort(evaluation)
    if cohort is None:
        return None
    rows = [row for row in csv.DictReader(io.StringIO(cohort.read("labels.csv").decode())) if row[LABEL]]
    subjects: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        subjects.setdefault(row["subject"], []).append(row)
    photos = max(subjects.values(), key=lambda mine: _spread([float(row[LABEL]) for row in mine]))
    photos.sort(key=lambda row: float(row[LABEL]))
    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch, "before.jpg"), Path(scratch, "after.jpg")
        for path, row in ((before, photos[0]), (after, photos[-1])):
            path.write_bytes(cohort.read(row["file"]))
        comparison = compare(before, after, model, reference)
    output = folder / "comparison.png"
    publish(output, lambda partial: partial.write_bytes(picture(comparison)))
    return output


def _spread(values: list[float]) -> float:
    return max(values) - min(values)


def _cohort(evaluation: Artifact) -> Artifact | None:
    for result in evaluation.inputs().values():
        for faces in result.inputs().values():
            if (
                faces.manifest.kind == "faces"
                and faces.facts["dataset"] == COHORT
                and "dataset" in faces.manifest.inputs
            ):
                return faces.input("dataset", "dataset")
    return None
