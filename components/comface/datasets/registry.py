"""The layouts of data sets on disk (docs/data.md), by name.

To add a layout, write a file with a reader and a `LAYOUT`, and add a line here. Configuration, checks and transfer read
this registry. A rehearsal of the layout is an entry of rehearsal/registry.py. Users can name their own reader as
`module:function`; it takes the arguments of a `Reader`, and messages contain neither its file names nor the text of
its exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from comface.config.entries import Entries, findable
from comface.config.outside import Outside
from comface.errors import ConfigurationError

if TYPE_CHECKING:
    from comface.datasets.dataset import DataSet

Reader = Callable[[Path, Any, str, bool], "DataSet"]
"""(folder, DataSource, name of the location in messages, quick: do not decode videos) → photos."""


@dataclass(frozen=True)
class Layout:
    """The registry entry of a layout: everything that other modules need to know about it."""

    name: str
    read: Reader
    patients: bool = False
    """Whether its file names can identify people; then they never appear in a message."""
    labels_from: str = ""
    """The table whose columns are the labels; empty: the layout has fixed labels."""
    chooses_labels: bool = False
    """Whether `labels` of the data set selects the labels to read, instead of only requiring them."""
    video: bool = False
    """Whether photos are frames of a video; then identical frames are not copies."""
    known_by: Callable[[str], object] | None = None
    """Whether a file name shows this layout, even if its files are refused; None: names show nothing."""
    alike: bool = False
    """Whether photos of one person are a series of similar photos."""
    decided_by: Callable[[], Mapping[str, Any]] = dict
    """Returns the part of an artifact's address that depends on a user's reader."""


LAYOUTS: Entries[Layout] = Entries(
    "layout", {name: f"comface.datasets.{name}:LAYOUT" for name in ("disfa", "fgnet", "edema", "pairs")}
)


def layout(name: str) -> Layout:
    """Return the entry of a layout. Raises ConfigurationError with the choices if the name is unknown."""
    if ":" not in name:
        return LAYOUTS[name]
    own = Outside("layout", name, patients=True)

    def read(*given: Any) -> DataSet:
        from comface.datasets.dataset import DataSet

        found = own.call(*given)
        if not isinstance(found, DataSet):
            raise ConfigurationError(
                f"{own} returns {type(found).__name__}, not a comface.datasets.dataset.DataSet; return one."
            )
        return found

    return Layout(name, read, patients=True, decided_by=own.decided_by)


LayoutName = Annotated[str, findable(layout), LAYOUTS]
