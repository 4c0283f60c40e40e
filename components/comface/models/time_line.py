"""The changes over several photos of one person: each photo against the first, and against the one before.

In: photos in their order, an Estimator. Out: a TimeLine (printed as JSON or as a table; time_line_picture.py draws it).
A photo after the first that cannot be used is left out and named; without the first one there is nothing to compare
with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface.datasets.files import PICTURES, is_left_by_a_system
from comface.errors import ConfigurationError, DataError
from comface.faces.photos import is_picture
from comface.files import open_file
from comface.look import is_drawn
from comface.models.compare import Comparison, compared, general_notes
from comface.models.estimator import Estimator
from comface.models.photo import prepared
from comface.runtime.output import say
from comface.runtime.progress import counted, shown

HEAD_BYTES = 256


@dataclass(frozen=True)
class Step:
    """A photo after the first. `number` counts from 1 over all photos, with those that are left out."""

    number: int
    photo: str
    from_first: Comparison
    from_previous: Comparison


@dataclass(frozen=True)
class TimeLine:
    model: str
    first: str
    """The first photo, by its path."""
    steps: tuple[Step, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """(photo, why it cannot be used)."""

    @property
    def rehearsal(self) -> bool:
        return any(each.rehearsal for step in self.steps for each in step.from_first.changes.values())

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `comface compare --json` prints for more than two photos."""
        line = []
        for step in self.steps:
            from_first, from_previous = (each.to_dict() for each in (step.from_first, step.from_previous))
            del from_first["model"], from_previous["model"]
            line.append({"photo": step.photo, "from_first": from_first, "from_previous": from_previous})
        left_out = [{"photo": photo, "reason": reason} for photo, reason in self.left_out]
        return {"model": self.model, "first": self.first, "time_line": line, "left_out": left_out}


def time_line(estimator: Estimator, photos: Sequence[Path], reference: str, everything: bool = False) -> TimeLine:
    """Compare three or more photos. Raises DataError if the first one, or all others, cannot be used."""
    first = previous = prepared(estimator, photos[0], "number 1")
    steps, left_out = [], []
    for number, path in enumerate(shown(photos[1:], "comparing photos", unit="photo"), start=2):
        try:
            photo = prepared(estimator, path, f"number {number}")
        except DataError as error:
            left_out.append((str(path), str(error)))
            continue
        steps.append(
            Step(
                number,
                str(path),
                compared(estimator, first, photo, reference, everything),
                compared(estimator, previous, photo, reference, everything),
            )
        )
        previous = photo
    if not steps:
        raise DataError(f"No photo after the first can be used. {left_out[0][1]}")
    return TimeLine(reference, str(photos[0]), tuple(steps), tuple(left_out))


def photos_of(named: Sequence[Path]) -> list[Path]:
    """The photos that files and folders name, in the order given. A folder stands for its photos in the order of their
    names, numbers by their value (2 before 10), without the pictures that comface drew. A file is a photo by its suffix
    or by its content, so that a damaged one is named when it is read. Raises ConfigurationError for a folder without
    photos."""
    found: list[Path] = []
    for path in named:
        if not path.is_dir():
            found.append(path)
            continue
        files = [each for each in path.iterdir() if not (is_left_by_a_system(Path(each.name)) or each.is_dir())]
        heads = {each: _head(each) for each in files}
        pictures = [each for each in files if each.suffix.casefold() in PICTURES or is_picture(heads[each])]
        inside = sorted((each for each in pictures if not is_drawn(heads[each])), key=lambda each: _natural(each.name))
        if drawn := len(pictures) - len(inside):
            say(f"Left out {counted(drawn, 'picture')} that comface drew in '{path}'.")
        if not inside:
            raise ConfigurationError(f"The folder '{path}' has no photos; name photos, or a folder with photos in it.")
        found += inside
    return found


def _head(path: Path) -> bytes:
    """The first bytes of a file; empty if it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


HEADINGS = ("", "photo", "from first", "interval", "verdict", "from the one before", "verdict")


def table(line: TimeLine) -> str:
    """A table per quantity for the terminal, then the caveats."""
    blocks = []
    for task, each in line.steps[0].from_first.changes.items():
        rows = [HEADINGS, ("1", _named(line.first)), *(_cells(step, task) for step in line.steps)]
        widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(HEADINGS))]
        name = f"{each.title or task}, {each.unit}{' (rehearsal)' if each.rehearsal else ''}"
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        blocks.append("\n".join([name, *lines]))
    said = [f"Model {line.model}; changes from photo 1", *photo_caveats(line), *general_caveats(line)]
    return "\n\n".join([*blocks, "\n".join(said)])


def _named(photo: str) -> str:
    return Path(photo).name[-24:]


def _cells(step: Step, task: str) -> tuple[str, ...]:
    first, before = step.from_first.changes[task], step.from_previous.changes[task]
    interval = f"{first.interval[0]:+.2f} … {first.interval[1]:+.2f}" if first.interval else "–"
    since = f"{before.change:+.2f}"
    return str(step.number), _named(step.photo), f"{first.change:+.2f}", interval, first.verdict, since, before.verdict


def photo_caveats(line: TimeLine) -> list[str]:
    """What limits the figures of single photos, one sentence each: photos left out, and pairs with the first."""
    said = [f"Left out: {reason[:1].lower()}{reason[1:]}" for _, reason in line.left_out]
    for step in line.steps:
        reasons = "; ".join(reason.sentence for reason in step.from_first.caveats.reasons)
        said += [f"Photos 1 and {step.number}: {reasons}."] if reasons else []
    return said


def general_caveats(line: TimeLine) -> list[str]:
    """What limits all figures, one sentence each."""
    return list(dict.fromkeys(note for step in line.steps for note in general_notes(step.from_first)))
