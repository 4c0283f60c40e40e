"""Photos of dialysis patients before and after sessions (Edema-A and Edema-B, section 4.2).

    weights.csv                         patient,session,phase,weight_kg    phase: before or after
    PATIENT/SESSION/before/000.jpg …    the frames of this weighing (the paper uses 100)
    PATIENT/SESSION/after/000.jpg …

In: the folder. Out: photos with the label 'weight' in kg. Names are compared without regard to case. Weighings without
photos and photos without a weighing are excluded and counted. Further columns can give groups (datasets/groups.py).
These are health data: messages give a line of weights.csv or a count, never a patient or a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, Photo
from comface.datasets.files import files_in, split_pictures, table_called
from comface.datasets.groups import group_columns, groups_of
from comface.datasets.registry import Layout
from comface.errors import DataError
from comface.files.tables import Table, assume, normal, read_table

TABLE = "weights.csv"
COLUMNS = ("patient", "session", "phase", "weight_kg")
PHASES = ("before", "after")
NO_WEIGHING = "photos without a weighing"
NO_PHOTO = "weighings without a photo"
ELSEWHERE = "photos outside of PATIENT/SESSION/before and after"

Key = tuple[str, str, str]
"""(patient, session, phase), normalised by comface.files.tables.normal."""


@dataclass(frozen=True)
class Weighing:
    patient: str
    session: str
    phase: str
    weight_kg: float
    groups: Mapping[str, str]
    line: int


def read(folder: Path, source: DataSource, place: str, quick: bool = False) -> DataSet:
    path = table_called(folder, TABLE, ",".join(COLUMNS), place)
    weighings = _weighings(read_table(path, "The table", COLUMNS, name=f"{TABLE} of the data set at '{place}'"))
    pictures, left_out = split_pictures(each for each in files_in(folder) if each != path)
    photos, folders, used = [], set(), set()
    for picture in pictures:
        key = _key(folder, picture)
        if key is None:
            left_out[ELSEWHERE] += 1
        elif key not in weighings:
            left_out[NO_WEIGHING] += 1
            folders.add(key)
        else:
            used.add(key)
            of = weighings[key]
            labels = {"weight": of.weight_kg}
            photos.append(
                Photo(of.patient, labels, picture, session=of.session, phase=of.phase, groups=of.groups, line=of.line)
            )
    photos.sort(key=lambda photo: (photo.subject, photo.session, photo.phase, photo.path))
    lines = sorted(of.line for key, of in weighings.items() if key not in used)
    if weighings and not used:
        raise DataError(
            f"None of the {len(weighings)} weighings in {TABLE} of the data set at '{place}' has a photo in "
            "PATIENT/SESSION/before or after; compare the names of the folders with the table."
        )
    return DataSet(photos, ("weight",), left_out + Counter({NO_PHOTO: len(lines)}), _remarks(lines, len(folders)))


def _weighings(table: Table) -> dict[Key, Weighing]:
    weighings: dict[Key, Weighing] = {}
    spelled: dict[str, str] = {}
    weights = table.numbers("weight_kg", "weight in kilograms")
    groups = group_columns(table.columns)
    for row, weight_kg in zip(table.rows, weights, strict=True):
        where = f"Line {row.line} of {table.what}"
        patient, session, phase = (row.cells[name] for name in COLUMNS[:3])
        if not patient or not session or normal(phase) not in PHASES or not _plain(patient) or not _plain(session):
            raise DataError(f"{where} does not have a patient, a session, and the phase before or after; correct it.")
        if weight_kg is None or not 1 < weight_kg < 700:
            raise DataError(f"{where} has no weight in kilograms (1 to 700); correct it.")
        key = normal(patient), normal(session), normal(phase)
        if key in weighings:
            raise DataError(f"{where} repeats the weighing of line {weighings[key].line}; delete one of them.")
        if spelled.setdefault(key[0], patient) != patient:
            assume(f"{table.what} was read so that patients whose names differ only in case are one person")
        weighings[key] = Weighing(spelled[key[0]], session, key[2], weight_kg, groups_of(row.cells, groups), row.line)
    return weighings


def _plain(name: str) -> bool:
    return "/" not in name and "\\" not in name and not name.startswith(".")


def _key(folder: Path, picture: Path) -> Key | None:
    parts = [normal(part) for part in picture.relative_to(folder).parts]
    return (parts[0], parts[1], parts[2]) if len(parts) == 4 and parts[2] in PHASES else None


def _remarks(lines: list[int], folders: int) -> list[str]:
    remarks = []
    if lines:
        named = ", ".join(map(str, lines[:20])) + (f" and {len(lines) - 20} more" if len(lines) > 20 else "")
        remarks.append(f"lines of {TABLE} whose weighings have no photo: {named}")
    if folders:
        remarks.append(f"folders PATIENT/SESSION/before or after whose photos have no weighing: {folders:,}")
    return remarks


LAYOUT = Layout("edema", read, patients=True, alike=True)
