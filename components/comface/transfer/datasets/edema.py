"""Photos of dialysis patients before and after sessions (Edema-A and Edema-B, section 4.2).

    weights.csv                         patient,session,phase,weight_kg    phase: before or after
    PATIENT/SESSION/before/000.jpg …    the frames of that datum (the paper uses 100)
    PATIENT/SESSION/after/000.jpg …

In: the folder. Out: photos with the label 'weight' in kg. These are health data: errors name a line of weights.csv or a
count, never a patient or a file.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from comface.config import DataSource
from comface.errors import DataError
from comface.transfer.datasets import Photo

TABLE = "weights.csv"
COLUMNS = ("patient", "session", "phase", "weight_kg")
PHASES = ("before", "after")
IMAGES = (".jpg", ".jpeg", ".png")


def read(folder: Path, source: DataSource) -> list[Photo]:
    path = folder / TABLE
    if not path.is_file():
        raise DataError(f"The edema data set at '{folder}' lacks {TABLE} ({','.join(COLUMNS)}); see docs/data.md.")
    weights: dict[tuple[str, str, str], float] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise DataError(f"{TABLE} in '{folder}' lacks the column {', '.join(missing)}; mend its first line.")
        for row in rows:
            key, weight = _datum(row, f"Line {rows.line_num} of {TABLE} in '{folder}'")
            if key in weights:
                raise DataError(f"Line {rows.line_num} of {TABLE} in '{folder}' repeats a datum; delete one.")
            weights[key] = weight
    photos = [photo for key in sorted(weights) for photo in _frames(folder, key, weights[key])]
    _require_pictures(folder, len(weights), len({(p.subject, p.session, p.phase) for p in photos}))
    return photos


def _datum(row: dict[str, str], where: str) -> tuple[tuple[str, str, str], float]:
    patient, session, phase = (str(row[name] or "").strip() for name in COLUMNS[:3])
    if not patient or not session or phase.lower() not in PHASES or not _plain(patient) or not _plain(session):
        raise DataError(f"{where} does not name a patient, a session and before or after; mend it.")
    try:
        weight_kg = float(row["weight_kg"])
    except (TypeError, ValueError):
        weight_kg = math.nan
    if not 1 < weight_kg < 700:
        raise DataError(f"{where} gives no weight in kilograms; mend it.")
    return (patient, session, phase.lower()), weight_kg


def _plain(name: str) -> bool:
    return "/" not in name and "\\" not in name and not name.startswith(".")


def _frames(folder: Path, key: tuple[str, str, str], weight_kg: float) -> list[Photo]:
    patient, session, phase = key
    place = folder / patient / session / phase
    files = sorted(p for p in place.glob("*") if p.suffix.lower() in IMAGES) if place.is_dir() else []
    return [
        Photo(subject=patient, labels={"weight": weight_kg}, path=path, session=session, phase=phase) for path in files
    ]


def _require_pictures(folder: Path, data: int, with_pictures: int) -> None:
    if with_pictures < data:
        raise DataError(
            f"{data - with_pictures} of the {data} weighings in {TABLE} at '{folder}' have no photo in "
            "PATIENT/SESSION/before or after; add the photos, or delete the lines."
        )
