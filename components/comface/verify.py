"""Every number back to its inputs: the manifests behind an artifact, walked and checked.

In: references. Out: each artifact that was reached, once, after all of its objects were compared with its manifest.
References are relative to the store that is looked at, so a copy of a store verifies itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from comface.errors import ComfaceError
from comface.manifest import PIN, Artifact, changed, located, open_artifact, split_pin
from comface.models import DCGAN, IMAGENET, models_folder
from comface.store import FileStore, open_store


def verify(*references: str) -> Iterator[Artifact]:
    """Walk the manifests from `references` back to the first inputs and check every hash. Raises DataError at the first
    that does not hold."""
    todo = list(reversed(references))
    checked: dict[str, str] = {}
    while todo:
        uri, expected = split_pin(todo.pop())
        if uri not in checked:
            artifact = open_artifact(uri)
            for name in artifact.manifest.objects:
                artifact.check(name)
            checked[uri] = artifact.sha256
            inputs = artifact.manifest.inputs.values()
            todo += [f"{located(each, artifact.root)}{PIN}{each.sha256}" for each in inputs]
            yield artifact
        if expected is not None and checked[uri] != expected:
            raise changed(uri)


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
            yield f"The weight file of '{record['method']}'", record["weights_sha256"], _packaged(IMAGENET)
    rows = [(row["file"], row["sha256"]) for row in config.get("provenance", ())]
    for name, sha256 in [*instruments.get("scorers_sha256", {}).items(), *rows]:
        if sha256:
            yield f"The file '{name}'", sha256, _packaged(name)
    if config.get("fingerprint"):
        yield f"The data set '{config['dataset']}'", config["fingerprint"], str(facts.get("source", ""))


def _packaged(name: str) -> str:
    return str(models_folder() / name)


def _generator_file(generator: str, weights: str) -> str:
    if generator == "dcgan":
        return _packaged(DCGAN)
    from comface.generators.location import find_weights

    try:
        location = open_store(weights)
        key = find_weights(location, location.keys(), generator) if isinstance(location, FileStore) else None
    except ComfaceError:
        return ""
    return str(location.path(key)) if isinstance(location, FileStore) and key else ""
