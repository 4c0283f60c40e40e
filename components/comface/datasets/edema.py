"""Photos of dialysis patients before and after sessions (Edema-A and Edema-B, section 4.2).

    weights.csv                         patient,session,phase,weight_kg    phase: before or after
    PATIENT/SESSION/before/000.jpg …    the frames of this weighing (the paper uses 100)
    PATIENT/SESSION/after/000.jpg …

In: the folder. Out: photos with the label 'weight' in kg. The table may have one row per session instead, with the
columns weight_before and weight_after. Folders may be inside other folders, and have further folders inside. Names are
compared as in matching.py. Weighings without photos or weight and photos without a weighing are excluded and counted.
Further columns can give groups (datasets/groups.py). These are health data: messages give a line of the table or a
count, never a patient or a file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, LeftOut, Photo
from comface.datasets.files import files_in, sort_pictures, table_called
from comface.datasets.groups import group_columns, groups_of
from comface.datasets.matching import matched
from comface.datasets.registry import Layout
from comface.errors import ComfaceError, DataError
from comface.files.headings import normal, phase_of, unit_in
from comface.files.tables import Row, Table, survey_table

TABLE = "weights.csv"
COLUMNS = ("patient", "session", "phase", "weight_kg")
WIDE = ("patient", "session", "weight_before_kg", "weight_after_kg")
"""The columns of a table with one row per session."""
NO_WEIGHING = "photos without a weighing"
NO_WEIGHT = "weighings without a weight"
NO_PHOTO = "weighings without a photo"
ELSEWHERE = "photos outside of PATIENT/SESSION/before and after"
KILOGRAMS = {"kg": 1.0, "kgs": 1.0, "kilogram": 1.0, "kilograms": 1.0, "kilo": 1.0, "g": 0.001, "lb": 0.45359237,
             "lbs": 0.45359237, "pound": 0.45359237, "pounds": 0.45359237}  # fmt: skip
LEAST_KG, MOST_KG = 1, 700

Key = tuple[str, str, str]
"""(patient, session, phase) in normal form."""


@dataclass(frozen=True)
class Weighing:
    patient: str
    session: str
    phase: str
    weight_kg: float | None
    groups: Mapping[str, str]
    line: int


def read(folder: Path, source: DataSource, place: str, quick: bool = False) -> DataSet:
    path = table_called(folder, TABLE, ",".join(COLUMNS), place)
    table = _table(path, f"{path.name if normal(path.name) != TABLE else TABLE} of the data set at '{place}'")
    weighings = _weighings(table)
    left_out = LeftOut(folder)
    pictures = sort_pictures((each for each in files_in(folder) if each != path), left_out)
    of_picture = _keys(folder, pictures, weighings, table)
    photos: list[Photo] = []
    without: set[Key] = set()
    for picture in pictures:
        key = of_picture.get(picture)
        if key is None:
            left_out.add_files(ELSEWHERE, [picture])
        elif (of := weighings.get(key)) is None or of.weight_kg is None:
            left_out.add_files(NO_WEIGHING, [picture], "" if of else _nearest_line(key, weighings))
            without.add(key)
        else:
            labels = {"weight": of.weight_kg}
            photos.append(
                Photo(of.patient, labels, picture, session=of.session, phase=of.phase, groups=of.groups, line=of.line)
            )
    photos.sort(key=lambda photo: (photo.subject, photo.session, photo.phase, photo.path))
    used = {of_picture[picture] for picture in pictures if picture in of_picture}
    lines = sorted({of.line for key, of in weighings.items() if key not in used})
    left_out.add_lines(NO_PHOTO, (of.line for key, of in weighings.items() if key not in used))
    left_out.add_lines(NO_WEIGHT, (of.line for of in weighings.values() if of.weight_kg is None))
    problems = list(table.problems)
    if weighings and not used & weighings.keys():
        problems.append(
            DataError(
                f"None of the {len(weighings)} weighings in {table.what} has a photo in PATIENT/SESSION/before or "
                f"after; compare the names of the folders with the table{_shape(folder, pictures)}."
            )
        )
    return DataSet(
        photos, ("weight",), left_out.counts(), _remarks(lines, len(without)), table.assumed,
        _taken(table), left_out.places, problems,
    )  # fmt: skip


def _table(path: Path, called: str) -> Table:
    """The table in the form of COLUMNS, or in that of WIDE."""
    try:
        return survey_table(path, "The table", COLUMNS, name=called)
    except DataError as error:
        try:
            return survey_table(path, "The table", WIDE, name=called)
        except DataError:
            raise error from None


def _taken(table: Table) -> dict[str, str]:
    columns = {f"column '{' '.join(heading.split())}'": name for name, heading in table.headings.items()}
    known = {*COLUMNS, *WIDE}
    groups = set(group_columns(table.columns))
    named = {column: name if name in known else "a group" if name in groups else "" for column, name in columns.items()}
    return {column: name or "not read" for column, name in named.items()} | {
        "folders PATIENT/SESSION/before and after": "photos of a weighing"
    }


def _weighings(table: Table) -> dict[Key, Weighing]:
    found: dict[Key, Weighing] = {}
    again: dict[int, int] = {}
    incomplete, outside = [], []
    groups = group_columns(table.columns)
    spelled: dict[str, str] = {}
    for row, phase, weight_kg in _each(table):
        patient, session = row.cells["patient"], row.cells["session"]
        if not patient or not session or not phase or not _plain(patient) or not _plain(session):
            incomplete.append(row.line)
            continue
        if weight_kg is not None and not LEAST_KG < weight_kg < MOST_KG:
            outside.append(row.line)
            continue
        key = normal(patient), normal(session), phase
        if key in found:
            again[row.line] = found[key].line
            continue
        if spelled.setdefault(key[0], patient) != patient:
            table.assume(f"{table.what} was read so that patients whose names differ only in case are one person")
        found[key] = Weighing(spelled[key[0]], session, phase, weight_kg, groups_of(row.cells, groups), row.line)
    table.problems.extend(_wrong(table, incomplete, outside, again))
    return found


def _each(table: Table) -> Iterator[tuple[Row, str, float | None]]:
    """(row, phase, weight in kg) of each weighing."""
    if "phase" in table.columns:
        for row, weight_kg in zip(table.rows, _kilograms(table, "weight_kg"), strict=True):
            yield row, phase_of(row.cells["phase"]), weight_kg
        return
    sides = {phase: _kilograms(table, f"weight_{phase}_kg") for phase in ("before", "after")}
    for at, row in enumerate(table.rows):
        for phase, weights in sides.items():
            yield row, phase, weights[at]


def _kilograms(table: Table, column: str) -> list[float | None]:
    heading = table.headings[column]
    values = table.read(column, "weight in kilograms")
    unit = unit_in(heading) or table.units.get(column, "")
    factor = KILOGRAMS.get(unit or "kg")
    if factor is None:
        table.problems.append(
            DataError(
                f"{table.what} has weights in '{unit}' in the column '{heading}'; write them in kilograms, and name "
                f"the column {column}."
            )
        )
    elif factor != 1:
        table.assume(f"{table.what} was read with weights in {unit}, which were converted to kg")
    elif not unit:
        table.assume(f"{table.what} was read with weights in kg in the column '{heading}', which names no unit")
    return [None if value is None else value * (factor or 1.0) for value in values]


def _wrong(
    table: Table, incomplete: Sequence[int], outside: Sequence[int], again: Mapping[int, int]
) -> Iterator[ComfaceError]:
    if incomplete:
        verb = "does not" if len(set(incomplete)) == 1 else "do not"
        yield DataError(
            f"{table.where(incomplete)} {verb} have a patient, a session, and the phase before or after; correct it."
        )
    if outside:
        verb = "has" if len(set(outside)) == 1 else "have"
        yield DataError(f"{table.where(outside)} {verb} no weight in kilograms ({LEAST_KG} to {MOST_KG}); correct it.")
    for line, first in again.items():
        yield DataError(f"Line {line} of {table.what} repeats the weighing of line {first}; delete one of them.")


def _plain(name: str) -> bool:
    return "\\" not in name and not name.startswith(".")


def _keys(folder: Path, pictures: Sequence[Path], weighings: Mapping[Key, Weighing], table: Table) -> dict[Path, Key]:
    """Picture → key, in the spelling of the table where a folder matches it."""
    parts = {picture: found for picture in pictures if (found := _parts(folder, picture))}
    roots = defaultdict[str, set[str]](set)
    for above, patient, _, _ in parts.values():
        roots[patient].add(above)
    if several := sum(len(each) > 1 for each in roots.values()):
        table.problems.append(
            DataError(
                f"The folders of {several} {'patient' if several == 1 else 'patients'} of {table.what} are at several "
                "places; two people may have one name: put all folders of a patient in one, or rename one."
            )
        )
    patients, changed = matched(roots, {key[0] for key in weighings})
    sessions: dict[tuple[str, str], str] = {}
    for folder_name, patient in patients.items():
        there = {session for _, name, session, _ in parts.values() if name == folder_name}
        of_patient, more = matched(there, {key[1] for key in weighings if key[0] == patient})
        changed += more
        sessions |= {(folder_name, each): session for each, session in of_patient.items()}
    if changed:
        table.assume(
            f"{table.what} was read so that folders whose names differ from it in leading zeros, signs or the form of "
            "a date belong to it"
        )
    return {
        picture: (patients.get(patient, patient), sessions.get((patient, session), session), phase)
        for picture, (_, patient, session, phase) in parts.items()
    }


def _parts(folder: Path, picture: Path) -> tuple[str, str, str, str] | None:
    """(folders above, patient, session, phase) of a picture in PATIENT/SESSION/before or after, at any depth."""
    parts = [normal(part) for part in picture.relative_to(folder).parts[:-1]]
    for at in range(len(parts) - 1, 1, -1):
        if phase := phase_of(parts[at]):
            return "/".join(parts[: at - 2]), parts[at - 2], parts[at - 1], phase
    return None


def _shape(folder: Path, pictures: Sequence[Path]) -> str:
    """How the folders of the photos are, if they are not as wanted."""
    depths = {len(picture.relative_to(folder).parts) - 1 for picture in pictures}
    if not pictures:
        return "; there is no photo"
    if any(_parts(folder, picture) for picture in pictures):
        return ""
    deep = " or ".join(map(str, sorted(depths)))
    return f"; the photos are {deep} folders deep, none of which is called before or after"


def _nearest_line(key: Key, weighings: dict[Key, Weighing]) -> str:
    """Where the table has a similar name, for a folder that it does not have."""
    by_patient = {each[0]: of.line for each, of in reversed(weighings.items())}
    if key[0] in by_patient:
        sessions = {each[1]: of.line for each, of in reversed(weighings.items()) if each[0] == key[0]}
        close = get_close_matches(key[1], sessions, 1)
        return f" (the nearest session of this patient: line {sessions[close[0]]})" if close else ""
    close = get_close_matches(key[0], by_patient, 1)
    return f" (the nearest patient of the table: line {by_patient[close[0]]})" if close else ""


def _remarks(lines: Sequence[int], folders: int) -> list[str]:
    remarks = []
    if lines:
        named = ", ".join(map(str, lines[:20])) + (f" and {len(lines) - 20} more" if len(lines) > 20 else "")
        remarks.append(f"lines of {TABLE} whose weighings have no photo: {named}")
    if folders:
        remarks.append(f"folders PATIENT/SESSION/before or after whose photos have no weighing: {folders:,}")
    return remarks


LAYOUT = Layout("edema", read, patients=True, alike=True)
