"""Loads a published checkpoint by its layout (layouts.py).

In: a weight file and the layouts of a method. Out: an Encoder. The layout is recognised from the names of the tensors,
never from the file's name. Tensors that do not belong to the backbone (heads, queues, decoders) are dropped, logged and
recorded. A file in which no layout is recognised, or whose backbone lacks a tensor, is refused. Files are read by
weights/tensor_tables.py, which executes nothing.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comface.errors import DataError
from comface.methods.encoder import Encoder, Sources, load_whole
from comface.methods.layouts import ENTRIES, Layout, Origin
from comface.methods.method import Method
from comface.weights.pickle_machine import Refused
from comface.weights.tensor_tables import Records, read_records

logger = logging.getLogger(__name__)

COPY = re.compile("^[0-9a-f]{32}-")
"""What the cache puts before the names of its copies."""
MOST_NAMED = 12
"""Dropped tensors that the log names one by one; more are grouped."""


def published(name: str, title: str, layouts: Sequence[Layout], files: Sequence[str], **fields: Any) -> Method:
    """The registry entry of a method that loads its published files by their layouts."""

    def load(sources: Sources) -> Encoder:
        return load_layout(entry.weights(sources), entry.layouts, name)

    entry = Method(name, title, load, files=tuple(files), layouts=tuple(layouts), **fields)
    return entry


def load_layout(path: Path, layouts: Sequence[Layout], method: str) -> Encoder:
    """Load the encoder from a weight file in one of `layouts`. Raises DataError if the file has none of them, or lacks
    a tensor."""
    import torch

    records, layout, start = recognised(path, layouts, method)
    kept, dropped = _sorted(records, layout, start, path)
    try:
        arrays = records.arrays(kept)
    except Refused as refused:
        raise DataError(f"The weight file '{path}' was refused: {refused}; get the published file again.") from None
    network, width = layout.build()
    load_whole(network, {key: torch.from_numpy(array) for key, array in arrays.items()}, f"'{path.name}'")
    _log_once(path, f"weights of {method}: layout {layout.name}, {len(kept)} tensors read; {summary(dropped)}")
    origin = Origin(COPY.sub("", path.name), layout.name, tuple(dropped))
    return Encoder(width, layout.preprocessing, network, folds=layout.folds, crop=layout.crop, origin=origin)


@functools.cache
def _log_once(path: Path, message: str) -> None:
    """Fine-tuning loads a file for every fold."""
    logger.info(message)


def recognised(path: Path, layouts: Sequence[Layout], method: str) -> tuple[Records, Layout, str]:
    """(the tensors in the file, its layout, the beginning of the backbone's names). Raises DataError if it has none of
    the layouts."""
    records = read_records(path)
    for layout in layouts:
        start = layout.start(records.by_name)
        if start is not None:
            _check_classes(records, layout, start, f"'{path.name}' contains no weights of '{method}'")
            return records, layout, start
    wanted = ", or ".join(f"{layout.name} ({layout.prefix}{layout.marks[0]} …)" for layout in layouts)
    found = ", ".join(ascii(name)[1:-1][:60] for name in list(records.by_name)[:3])
    what = f"its tensors are {found} …" if found else "it has no tensors"
    raise DataError(
        f"'{path.name}' contains no weights of '{method}': {what}, but the layout must be {wanted}; give the published "
        "file."
    )


def _check_classes(records: Records, layout: Layout, start: str, what: str) -> None:
    """Raises DataError if the classifier shows another training set: the networks have the same names and shapes."""
    classifier = records.by_name.get(f"{start}fc.weight")
    if layout.classes and classifier is not None:
        classes = len(classifier.array())
        if other := layout.trained_on(classes):
            raise DataError(
                f"{what}: its classifier has {classes:,} classes, so it was trained on {other}; give the published "
                "file."
            )


def _sorted(records: Records, layout: Layout, start: str, path: Path) -> tuple[dict[str, str], list[str]]:
    """(network's name -> the file's name, names of the dropped tensors without the checkpoint's entry)."""
    kept: dict[str, str] = {}
    dropped = []
    entry = next((entry for entry in ENTRIES if entry and start.startswith(entry)), "")
    for name in records.by_name:
        inner = name.removeprefix(start)
        if not name.startswith(start) or inner.startswith(layout.dropped or ("\0",)):
            dropped.append(name.removeprefix(entry))
        elif kept.setdefault(layout.renamed(inner), name) != name:
            raise DataError(
                f"'{path.name}' has two tensors for '{layout.renamed(inner)}' of the network; give the published file."
            )
    return kept, dropped


def summary(dropped: Sequence[str]) -> str:
    """The dropped tensors in one clause."""
    if not dropped:
        return "none dropped"
    if len(dropped) <= MOST_NAMED:
        return f"dropped {', '.join(dropped)}"
    counts: dict[str, int] = {}
    for name in dropped:
        group = ".".join(name.split(".")[:3])
        counts[group] = counts.get(group, 0) + 1
    groups = [f"{group}.* ({count})" if count > 1 else group for group, count in counts.items()]
    more = f" and {len(groups) - MOST_NAMED} more groups" if len(groups) > MOST_NAMED else ""
    return f"dropped {len(dropped)} tensors: {', '.join(groups[:MOST_NAMED])}{more}"
