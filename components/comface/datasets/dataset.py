"""Photos of people with labels, whatever the layout they lie in (docs/data.md).

Photos of patients and their file names never enter a message: such errors name a row or a count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ODD_ENTRIES = "links that lead nowhere, and other entries that are no files"


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
    """'before' or 'after' dialysis; pairs are drawn between phases where a data set has them."""
    eyes: tuple[tuple[float, float], ...] = field(default=())
    """Landmarks shipped by the data set: the four eye corners, as faces.align takes them; empty: find the face."""
    line: int = 0
    """Of the data set's table, where it has one."""


@dataclass(frozen=True)
class DataSet:
    """What a reader of a layout finds. `labels`: the names that its photos may have."""

    photos: Sequence[Photo]
    labels: Sequence[str]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason, in the plural, to how many: "photos without a weighing"."""
    remarks: Sequence[str] = ()
    """Sentences that say more about it, without anybody's name."""

    def told(self) -> str:
        """What was left out, in words; empty where nothing was."""
        return ", ".join(f"{reason} ({count:,})" for reason, count in sorted(self.left_out.items()) if count)
