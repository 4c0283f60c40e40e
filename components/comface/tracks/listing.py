"""Output of `comface directions list` about the published generators: the catalogue, and the missing files of a weights
location.

In: the URI or folder of the location, if any. Out: one record per weight file and per direction, or lines of a table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comface.directions.published import catalogue, weight_files, weights_origin
from comface.store import FileStore, Store, open_store
from comface.tracks.supplies import find_file, find_weights

HEAD = ("generator", "attribute", "file", "space", "rows", "edit", "norm", "licence", "location")


def listed(place: str | None) -> list[dict[str, Any]]:
    """Return the records of the catalogue. `key`: the key of the file in the location, "" if it is missing, None if no
    location is given. Raises the errors of the store."""
    location: Store | None = None
    if place is not None:
        location = open_store(place) if "://" in place else FileStore(Path(place))
    keys = list(location.keys()) if location is not None else []
    records: list[dict[str, Any]] = []
    for generator, entries in catalogue().items():
        key = find_weights(location, keys, generator) if location is not None else None
        weights = {"generator": generator, "attribute": None, "file": weight_files(generator)[1]}
        records.append({**weights, **weights_origin(generator), "key": _key(location, key)})
        for entry in entries.values():
            key = find_file(location, keys, entry.file, generator) if location is not None else None
            records.append({**entry.model_dump(mode="json"), "key": _key(location, key)})
    return records


def listing_text(records: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table: per generator its weights, then one line per direction."""
    rows = [HEAD, *(_row(record) for record in records)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    missing = [record for record in records if record["key"] == ""]
    return ["", *lines, *([f"{len(missing)} of {len(records)} files are missing"] if missing else [])]


def _key(location: Store | None, key: str | None) -> str | None:
    return None if location is None else key or ""


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    place = {None: "", "": "MISSING"}.get(record["key"], record["key"])
    if record["attribute"] is None:
        return (record["generator"], "(weights)", record["file"], "", "", "", "", record["licence"], place)
    rows = "{}-{}".format(*record["layers"]) if record["layers"] else "all"
    norm = "1" if record["unit_norm"] else "as is"
    edit = f"{record['truncate']} truncation"
    return (
        record["generator"], record["attribute"], record["file"], record["space"] or "", rows, edit, norm,
        record["licence"], place,
    )  # fmt: skip
