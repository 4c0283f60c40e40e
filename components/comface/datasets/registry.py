"""The layouts in which data sets lie on disk (docs/data.md), by name.

A further layout is a file with a reader and a `LAYOUT`, and a line here; configuration, checks and transfer read it
from then on. Its rehearsal, if it has one, is an entry of rehearsal/registry.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from comface.config.entries import Entries

if TYPE_CHECKING:
    from comface.datasets.dataset import DataSet

Reader = Callable[[Path, Any, str, bool], "DataSet"]
"""(folder, source: a DataSource, how the place is called in messages, quick: decode no video) -> photos."""


@dataclass(frozen=True)
class Layout:
    """All that anyone asks about a layout."""

    name: str
    read: Reader
    patients: bool = False
    """Its file names may tell who somebody is: they never enter a message."""
    labels_from: str = ""
    """The table whose columns are the labels; empty: the layout decides what labels there are."""
    chooses_labels: bool = False
    """`labels` of the data set say which of the layout's labels are read, not only which must be there."""
    video: bool = False
    """Photos are frames of a video, which may stand still: equal ones are no copies."""
    alike: bool = False
    """Photos of one person are taken in a row and look alike."""


LAYOUTS: Entries[Layout] = Entries(
    "layout", {name: f"comface.datasets.{name}:LAYOUT" for name in ("disfa", "fgnet", "edema", "pairs")}
)
LayoutName = Annotated[str, AfterValidator(LAYOUTS.known), LAYOUTS]
