"""Photos of people with labels, independent of the layout (docs/data.md).

Messages never contain photos of patients or their file names; they give a row or a count instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comface.errors import ComfaceError

ODD_ENTRIES = "broken links and other entries that are not files"


@dataclass(frozen=True)
class Photo:
    """One photo (or one frame of a video) of one subject."""

    subject: str
    labels: Mapping[str, float]
    path: Path
    frame: int | None = None
    """0-based position of the frame in the video at `path`; None: `path` is an image."""
    session: str = ""
    phase: str = ""
    """'before' or 'after' dialysis; if photos have phases, pairs are drawn between them."""
    eyes: tuple[tuple[float, float], ...] = field(default=())
    """Landmarks included in the data set: the four eye corners (x, y) in pixels; empty: detect the face."""
    conditions: Mapping[str, float] = field(default_factory=dict)
    """Light, sharpness, pose and other conditions, measured on the aligned face (faces/conditions.py)."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Groups of people that the subject belongs to, such as sex (comface.datasets.groups)."""
    line: int = 0
    """Line in the table of the data set; 0 if it has no table."""


@dataclass(frozen=True)
class DataSet:
    """The result of reading a data set. `labels`: names of the labels that its photos can have."""

    photos: Sequence[Photo]
    labels: Sequence[str]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason for exclusion in the plural ("photos without a weighing") → count."""
    remarks: Sequence[str] = ()
    """Further remarks, without names of people."""
    assumed: Sequence[str] = ()
    """How the files were read, without names of people."""
    taken: Mapping[str, str] = field(default_factory=dict)
    """What a column or folder was taken for: "column 'Gewicht (kg)'" → "weight_kg"."""
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Reason for exclusion → the files relative to the folder, or "line 7". Names can identify people: only for the
    terminal of `comface check`."""
    problems: Sequence[ComfaceError] = ()
    """Why the data set cannot be used. Photos and rows with a problem are not among the photos."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Label → its unit, as far as the data set names it."""

    def told(self) -> str:
        """Return what was excluded as text; empty if nothing was."""
        return ", ".join(f"{reason} ({count:,})" for reason, count in sorted(self.left_out.items()) if count)


class LeftOut:
    """Collects what a reader excludes, by reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[str, list[str]] = {}

    def add_files(self, reason: str, paths: Iterable[Path], hint: str = "") -> None:
        self.places.setdefault(reason, []).extend(f"{path.relative_to(self.folder).as_posix()}{hint}" for path in paths)

    def add_lines(self, reason: str, lines: Iterable[int]) -> None:
        self.places.setdefault(reason, []).extend(f"line {line}" for line in sorted(lines))

    def counts(self) -> dict[str, int]:
        return {reason: len(places) for reason, places in self.places.items() if places}
