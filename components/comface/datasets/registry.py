"""The layouts in which data sets lie on disk (docs/data.md), by name.

A further layout is a file with a reader and a `LAYOUT`, and a line here; configuration, checks and transfer read it
from then on. Its rehearsal, if it has one, is an entry of rehearsal/registry.py. People can name a reader of their own
by `module:function`: it takes what a `Reader` takes, and its file names never enter a message.
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
    decided_by: Callable[[], Mapping[str, Any]] = dict
    """What stands in an address for a reader from outside."""


LAYOUTS: Entries[Layout] = Entries(
    "layout", {name: f"comface.datasets.{name}:LAYOUT" for name in ("disfa", "fgnet", "edema", "pairs")}
)


def layout(name: str) -> Layout:
    """Raises ConfigurationError, with the choices, for a name that means no layout."""
    if ":" not in name:
        return LAYOUTS[name]
    own = Outside("layout", name)

    def read(*given: Any) -> DataSet:
        from comface.datasets.dataset import DataSet

        found = own.call(*given)
        if not isinstance(found, DataSet):
            raise ConfigurationError(
                f"{own} gives {type(found).__name__}, not a comface.datasets.dataset.DataSet; return one."
            )
        return found

    return Layout(name, read, patients=True, decided_by=own.decided_by)


LayoutName = Annotated[str, findable(layout), LAYOUTS]
