"""The first comparison after a run: two photos of one person of the scored cohort, compared by the new model.

In: an evaluation and the model registered from it. Out: comparison.png, with both faces, the estimated changes and the
caveats.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact
from comface.datasets.rehearsal.registry import COHORT
from comface.faces.detection import NoUsableFace
from comface.files import write_file
from comface.models.compare import Comparison, compare_with
from comface.models.estimator import Estimator, load_estimator
from comface.models.picture import picture

LABEL = "smile"
PEOPLE_TRIED = 20
"""Shows the first of these people whose two photos are accepted as one person."""


def compare_first_pair(evaluation: Artifact, model: Artifact, reference: str, folder: Path) -> Path | None:
    """None if the run had no scored cohort, or its photos cannot be compared."""
    cohort = _cohort(evaluation)
    if cohort is None:
        return None
    estimator = load_estimator(model)
    shown = None
    for rows in _pairs(csv.DictReader(io.StringIO(cohort.read("labels.csv").decode())))[:PEOPLE_TRIED]:
        try:
            made = _compared(cohort, rows, estimator, reference)
        except NoUsableFace:
            continue
        shown = shown or made
        if not made.caveats.refused:
            shown = made
            break
    if shown is None:
        return None
    output = folder / "comparison.png"
    write_file(output, picture(shown), private=True)
    return output


def _pairs(rows: Iterable[dict[str, str]]) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Per person the photos with the lowest and the highest label, the largest change first."""
    subjects: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row[LABEL]:
            subjects.setdefault(row["subject"], []).append(row)
    ends = [(min(mine, key=_label), max(mine, key=_label)) for mine in subjects.values()]
    return sorted(ends, key=lambda pair: _label(pair[0]) - _label(pair[1]))


def _label(row: dict[str, str]) -> float:
    return float(row[LABEL])


def _compared(
    cohort: Artifact, rows: tuple[dict[str, str], dict[str, str]], estimator: Estimator, reference: str
) -> Comparison:
    with tempfile.TemporaryDirectory() as scratch:
        paths = Path(scratch, "before.jpg"), Path(scratch, "after.jpg")
        for path, row in zip(paths, rows, strict=True):
            path.write_bytes(cohort.read(row["file"]))
        return compare_with(estimator, *paths, reference)


def _cohort(evaluation: Artifact) -> Artifact | None:
    for result in evaluation.inputs().values():
        for faces in result.inputs().values():
            if (
                faces.manifest.kind == "faces"
                and faces.facts_as(FacesFacts).dataset == COHORT
                and "dataset" in faces.manifest.inputs
            ):
                return faces.input("dataset", "dataset")
    return None
