"""`comface verify`: traces every number to its inputs, and compares the files found here with those that were used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from comface.commands.options import REFERENCE, Chosen, configured
from comface.commands.surface import argument, command
from comface.errors import ComfaceError, DataError

if TYPE_CHECKING:
    from comface.artifacts.manifest import Artifact
    from comface.store import Store


@command(example="comface verify comface@v3 --store file:///backup/store")
@argument("reference", "REF", f"{REFERENCE}; any other artifact too", required=False)
@configured()
def verify(reference: str | None, chosen: Chosen) -> None:
    """Follow an artifact's manifests back to its inputs and check every hash.

    A model is verified with its decision and its evaluation. References are followed inside the named store, so a copy
    of a store verifies itself. The weight files and data sets that are found here are compared with those that were
    used. The output also tells whether the installed code made each artifact; other code is not an error.
    """
    from comface.artifacts.verify import verify
    from comface.store import open_store

    config = chosen.configuration()
    starts = starting_points(open_store(config.store), reference)
    artifacts = objects = 0
    files: dict[tuple[str, str], str] = {}
    code: Counter[str] = Counter()
    for artifact in verify(*(start.pinned for start in starts)):
        count = len(artifact.manifest.objects)
        outside = "" if artifact.root == starts[0].root else f"  (outside {starts[0].root})"
        print(f"ok  {count:>5} objects  {artifact.uri}{outside}")
        artifacts, objects = artifacts + 1, objects + count
        for what, sha256, place in used(artifact, config.weights):
            files[what, sha256] = place
        code[made_by(artifact)] += 1
    differing = [what for (what, sha256), place in files.items() if not _compared(what, sha256, place)]
    for made, count in sorted(code.items()):
        print(f"code: {count} artifacts by {made}")
    if differing:
        raise DataError(
            f"{differing[0]} has changed since it was used (number of changed files and data sets: {len(differing)}, "
            "listed above); restore the one that was used, or make again what was made from it."
        )
    print(f"{artifacts} artifacts, {objects} objects: all hashes match")


def starting_points(store: Store, reference: str | None) -> list[Artifact]:
    """The artifact that is named, and with a registered model the decision of its gate."""
    from comface.artifacts.manifest import open_artifact
    from comface.models.registry import Registry, place_of, resolve_model

    if reference is not None and (uri := place_of(reference)) is not None:
        return [open_artifact(uri)]
    called, model = resolve_model(store, reference)
    name, _, number = called.partition("@v")
    registry = Registry(store, name)
    decision = registry.decision(registry.version(int(number)))
    return [model, *([decision] if decision else [])]


def made_by(artifact: Artifact) -> str:
    from comface.artifacts.code_digest import code_digest

    code = artifact.manifest.code
    present = code_digest() == code["digest"]
    return f"version {code['version']}, {'the installed code' if present else 'other code than the installed one'}"


def _compared(what: str, sha256: str, place: str) -> bool:
    """Say whether the file or data set at `place` is the one that was used; False when it is another."""
    found = _digest(place)
    state = "not found here" if found is None else "unchanged" if found == sha256 else "CHANGED"
    print(f"{what}: {state}" + (f" ({place})" if place else ""))
    return found in (None, sha256)


def _digest(place: str) -> str | None:
    from comface.artifacts.manifest import file_sha256
    from comface.datasets.place import fingerprint
    from comface.store import FileStore, open_store

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
    """(what, sha256, where it would be at hand) of each weight file and data set that an artifact's manifest records.
    `weights`: the weights location of the StyleGANs."""
    config, facts = artifact.manifest.config, artifact.facts
    for generator, record in config.get("generators", {}).items():
        if record.get("weights_sha256"):
            yield f"The weight file of '{generator}'", record["weights_sha256"], _generator_file(generator, weights)
    instruments = config.get("instruments", {})
    for record in (config, instruments):
        if record.get("weights_sha256"):
            method = record["method"]
            yield f"The weight file of '{method}'", record["weights_sha256"], _method_file(method, weights)
    rows = [(row["file"], row["sha256"]) for row in config.get("provenance", ())]
    files = [*config.get("files_sha256", {}).items(), *instruments.get("scorers_sha256", {}).items()]
    for name, sha256 in [*files, *rows]:
        if sha256:
            yield f"The file '{name}'", sha256, _packaged(name)
    if config.get("fingerprint"):
        yield f"The data set '{config['dataset']}'", config["fingerprint"], str(facts.get("source", ""))


def _packaged(name: str) -> str:
    from comface.weights.fetched import models_folder

    return str(models_folder() / name)


def _generator_file(generator: str, weights: str) -> str:
    from comface.generators.registry import GENERATORS
    from comface.tracks.supplies import find_weights

    if generator in GENERATORS and (fetched := GENERATORS[generator].fetched):
        return _packaged(fetched)
    return _located(weights, lambda location: find_weights(location, location.keys(), generator))


def _method_file(name: str, weights: str) -> str:
    from comface.methods import method
    from comface.tracks.supplies import find_file

    try:
        entry = method(name)
    except ComfaceError:  # of another version
        return ""
    if entry.fetched:
        return _packaged(entry.fetched)
    return _located(weights, lambda location: find_file(location, location.keys(), entry.file, name))


def _located(weights: str, find: Callable[[Store], str | None]) -> str:
    """The path of what `find` finds in the weights location; empty where it finds nothing, or not on this machine."""
    from comface.store import FileStore, open_store

    try:
        location = open_store(weights)
        key = find(location) if isinstance(location, FileStore) else None
    except ComfaceError:
        return ""
    return str(location.path(key)) if isinstance(location, FileStore) and key else ""
