"""The weight files and data sets that an artifact was made with, and whether they are still the same.

In: an artifact; the weights location. Out: description, sha256 and place of each; then its state today. What cannot be
compared has a reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from comface.artifacts.manifest import Artifact, file_sha256
from comface.datasets.place import fingerprint, local_folder
from comface.errors import ComfaceError
from comface.generators.registry import GENERATORS
from comface.methods import method
from comface.store import FileStore, Store, open_store
from comface.tracks.supplies import find_file, find_weights
from comface.weights.fetched import located

UNCHANGED, CHANGED, UNCHECKED = "unchanged", "CHANGED", "not checked"


def state_of(place: str, sha256: str, is_dataset: bool) -> tuple[str, str]:
    """Return (UNCHANGED, CHANGED or UNCHECKED; why it was not checked) of a file or data set. A data set on s3:// is
    compared with what is there now, through its copy in the cache."""
    if not place:
        return UNCHECKED, "it is not on this machine"
    try:
        store = open_store(place)
        if isinstance(store, FileStore):
            path = store.root
        elif is_dataset:
            path = local_folder(place)
        else:
            return UNCHECKED, f"it is in {place}, not on this machine"
        if not path.exists():
            return UNCHECKED, f"{place} does not exist here"
        found = fingerprint(path) if path.is_dir() else file_sha256(path)
    except ComfaceError as error:
        return UNCHECKED, f"{str(error)[:1].lower()}{str(error)[1:].rstrip('.')}"
    return (UNCHANGED, "") if found == sha256 else (CHANGED, "")


def used(artifact: Artifact, weights: str) -> Iterator[tuple[str, str, str]]:
    """Yield (description, sha256, local path) of each weight file and data set in an artifact's manifest. `weights`:
    the weights location."""
    config, facts = artifact.manifest.config, artifact.facts
    for generator, record in config.get("generators", {}).items():
        if record.get("weights_sha256"):
            yield f"The weight file of '{generator}'", record["weights_sha256"], _generator_file(generator, weights)
    instruments = config.get("instruments", {})
    for record in (config, instruments):
        if record.get("weights_sha256"):
            method = record["method"]
            yield f"The weight file of '{method}'", record["weights_sha256"], _method_file(record, weights)
    rows = [(row["file"], row["sha256"]) for row in config.get("provenance", ())]
    files = [*config.get("files_sha256", {}).items(), *instruments.get("scorers_sha256", {}).items()]
    for name, sha256 in [*files, *rows]:
        if sha256:
            yield f"The file '{name}'", sha256, _packaged(name)
    if config.get("fingerprint"):
        yield f"The data set '{config['dataset']}'", config["fingerprint"], str(facts.get("source", ""))


def _packaged(name: str) -> str:
    return str(located(name))


def _generator_file(generator: str, weights: str) -> str:
    if generator in GENERATORS and (fetched := GENERATORS[generator].fetched):
        return _packaged(fetched)
    return _located(weights, lambda location: find_weights(location, location.keys(), generator))


def _method_file(record: Mapping[str, Any], weights: str) -> str:
    """The method's file with the recorded sha256, else any of its files; a method may have several."""
    try:
        entry = method(record["method"])
    except ComfaceError:  # of another version
        return ""
    names = [functools.partial(_named, name=name, method=entry.name) for name in entry.files]
    places = [_packaged(entry.fetched)] if entry.fetched else []
    places += [_located(weights, find) for find in names]
    there = [place for place in places if place and Path(place).is_file()]
    return next((place for place in there if file_sha256(Path(place)) == record["weights_sha256"]), (there or [""])[0])


def _named(location: Store, name: str, method: str) -> str | None:
    return find_file(location, location.keys(), name, method)


def _located(weights: str, find: Callable[[Store], str | None]) -> str:
    """Return the local path of what `find` finds in the weights location; empty if there is none on this machine."""
    try:
        location = open_store(weights)
        key = find(location) if isinstance(location, FileStore) else None
    except ComfaceError:
        return ""
    return str(location.path(key)) if isinstance(location, FileStore) and key else ""
