"""Verifies that the inputs of a model are unchanged: manifests and objects, weight files, data sets, code.

In: a store, and the reference of a model or of any other artifact. Out: one line per artifact and per file. Raises
DataError for the first object that differs from its manifest, and at the end if weight files or data sets have changed.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from comface.artifacts.code_digest import code_digest
from comface.artifacts.manifest import Artifact, file_sha256, open_artifact
from comface.artifacts.verify import verify
from comface.datasets.place import fingerprint
from comface.errors import ComfaceError, DataError
from comface.generators.registry import GENERATORS
from comface.methods import method
from comface.models.registry import Registry, default_model, place_of, resolve_model
from comface.models.shipped import NAME as SHIPPED
from comface.models.shipped import shipped_model
from comface.store import FileStore, Store, open_store
from comface.tracks.supplies import find_file, find_weights
from comface.weights.fetched import located


def verification(store: Store, reference: str | None, weights: str) -> Iterator[str]:
    """Yield the lines of the verification one by one. `weights`: the weights location."""
    if reference == SHIPPED:
        yield from _of_shipped()
        return
    starts = starting_points(store, reference)
    artifacts = objects = 0
    files: dict[tuple[str, str], str] = {}
    may_differ: set[str] = set()
    code: Counter[str] = Counter()
    partly: dict[str, str] = {}
    wholly: list[str] = []

    def on_removed(uri: str, told: str, count: int) -> None:
        if count:
            partly[uri] = f"{count} objects removed {told}"
        else:
            wholly.append(f"removed {told}  {uri}")

    for artifact in verify(*(start.pinned for start in starts), on_removed=on_removed):
        count = len(artifact.manifest.objects)
        outside = "" if artifact.root == starts[0].root else f"  (outside {starts[0].root})"
        lacking = f"  ({partly[artifact.uri]})" if artifact.uri in partly else ""
        yield f"ok  {count:>5} objects  {artifact.uri}{outside}{lacking}"
        artifacts, objects = artifacts + 1, objects + count
        for what, sha256, place in used(artifact, weights):
            files[what, sha256] = place
            if artifact.uri in partly:  # the person is gone from the data set, too
                may_differ.add(what)
        code[made_by(artifact)] += 1
    differing = []
    for (what, sha256), place in files.items():
        found = _digest(place)
        state = "not found" if found is None else "unchanged" if found == sha256 else "CHANGED"
        yield f"{what}: {state}" + (f" ({place})" if place else "")
        differing += [what] if state == "CHANGED" and what not in may_differ else []
    for made, count in sorted(code.items()):
        yield f"code: {count} artifacts by {made}"
    if differing:
        raise DataError(
            f"{differing[0]} has changed since it was used (number of changed files and data sets: {len(differing)}, "
            "listed above); restore the original file, or make the artifacts that depend on it again."
        )
    yield from wholly
    gone = len(partly) + len(wholly)
    yield f"{artifacts} artifacts, {objects} objects: all hashes match" + (
        f"; removed on purpose, in whole or in part: {gone} artifacts" if gone else ""
    )


def _of_shipped() -> Iterator[str]:
    model = shipped_model()
    for name in model.manifest.objects:
        model.check(name)
    yield f"ok  {len(model.manifest.objects):>5} objects  {model.uri}"
    yield "The model that ships with the package is unchanged. Its inputs are not in the package, and were not checked."


def starting_points(store: Store, reference: str | None) -> list[Artifact]:
    """Return the artifact, and for a registered model also the decision of its gate."""
    if reference is not None and (uri := place_of(reference)) is not None:
        return [open_artifact(uri)]
    called, model = resolve_model(store, reference or default_model(store).reference)
    name, _, number = called.partition("@v")
    registry = Registry(store, name)
    decision = registry.decision(registry.version(int(number)))
    return [model, *([decision] if decision else [])]


def made_by(artifact: Artifact) -> str:
    code = artifact.manifest.code
    present = code_digest() == code["digest"]
    return f"version {code['version']}, {'the installed code' if present else 'code other than the installed code'}"


def _digest(place: str) -> str | None:
    try:
        store = open_store(place) if "://" in place else FileStore(Path(place)) if place else None
    except ComfaceError:
        store = None
    if not isinstance(store, FileStore):
        return None
    if store.root.is_dir():
        return fingerprint(store.root)
    return file_sha256(store.root) if store.root.is_file() else None


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
