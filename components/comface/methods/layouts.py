"""Layouts of published checkpoints: how the tensors of the backbone are named in a file, and what else it contains.

A layout is a table: `build`, `preprocessing` and `crop` (the network and its input); `prefix`, `marks`, `dropped` and
`renames` (the names). published.py loads files by their layouts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comface.faces.preprocessing import Crop, Preprocessing

if TYPE_CHECKING:
    from torch import nn

ENTRIES = ("", "state_dict.", "model.")
"""Entries of a checkpoint that contain the network."""
WRAPPERS = tuple(f"{entry}{module}" for entry in ENTRIES for module in ("module.", ""))
"""Beginnings of names that trainings add: the entry, and DistributedDataParallel's."""


CLASSES = {1000: "ImageNet", 8631: "VGGFace2"}
"""Training sets by the number of their classes."""


@dataclass(frozen=True)
class Layout:
    """One way in which a method's weights are published."""

    name: str
    build: Callable[[], tuple[nn.Module, int]]
    """Returns the network with random weights and its feature width D."""
    preprocessing: Preprocessing
    """The network's input from aligned faces."""
    crop: Crop
    """What the official code cuts from an image; used where images are taken as they are."""
    prefix: str = ""
    """Beginning of the backbone's names, after a wrapper."""
    marks: tuple[str, ...] = ("conv1.weight",)
    """Names after the prefix that identify the layout."""
    others: tuple[str, ...] = ()
    """Names outside the prefix that identify the layout."""
    dropped: tuple[str, ...] = ()
    """Beginnings of names after the prefix that belong to a head. What has another prefix is dropped as well."""
    renames: tuple[tuple[str, str], ...] = ()
    """Regular expressions and replacements, applied in order, from the file's names to the network's."""
    folds: bool = True
    """Encoder.folds."""
    classes: int = 0
    """Classes of the classifier `fc` in the file, where layouts of several methods have the same names; 0: any."""
    published: str = ""
    """Where the files of this layout are published, for the documentation."""

    def renamed(self, name: str) -> str:
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def start(self, names: Mapping[str, Any]) -> str | None:
        """Wrapper and prefix in a file with these names; None if the file does not have this layout."""
        marks = [*(self.prefix + mark for mark in self.marks), *self.others]
        found = (wrapper for wrapper in WRAPPERS if all(wrapper + mark in names for mark in marks))
        return next((wrapper + self.prefix for wrapper in found), None)

    def trained_on(self, classes: int) -> str:
        """The training set that a classifier with so many classes shows to be another one; empty if it does not."""
        return CLASSES.get(classes, "") if self.classes and classes != self.classes else ""


@dataclass(frozen=True)
class Origin:
    """What was read from a weight file, for the log and the provenance."""

    file: str
    layout: str
    dropped: tuple[str, ...] = field(default=())

    def described(self) -> dict[str, Any]:
        return {"weight_file": self.file, "layout": self.layout, "dropped": list(self.dropped)}
