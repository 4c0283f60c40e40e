"""What a model was made from: generators, data and published files, read from the manifests behind it.

In: the artifacts that a model names as its inputs. Out: Origins, for the card. What merely lies on this machine (a
competitor's weights, a generator that was not used) is not among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface.artifacts.manifest import Artifact
from comface.faces.lightness import added, tenths
from comface.generators.registry import GENERATORS
from comface.methods import method
from comface.weights.fetched import provenance_path

KEYS = ("licence", "trained_on", "citation", "package")


@dataclass(frozen=True)
class Origins:
    generators: tuple[str, ...]
    """Of the faces that the backbone learned from."""
    tracks: int | None
    images: int | None
    identities: int | None
    datasets: tuple[str, ...]
    files: tuple[dict[str, Any], ...]
    """Rows of file, role, sha256, licence, trained_on, citation, package."""
    lightness: tuple[str, ...] = ()
    """A sentence per generator whose faces were looked for: whether dark ones are found as often as light ones."""
    screened_by: tuple[str, ...] = ()
    """Methods by whose features screening told identity."""


def origins(inputs: Iterable[Artifact], weights: Path) -> Origins:
    """`weights`: where the fetched files lie, with their licences beside them."""
    behind = _behind(inputs)
    generators = {name for artifact in behind for name in _generators(artifact)}
    shards = next((a.facts for a in behind if a.manifest.kind == "shards"), {})
    splits = [shards[split] for split in ("train", "validation") if split in shards]

    def total(what: str) -> int | None:
        return sum(split[what] for split in splits) if splits and all(what in split for split in splits) else None

    by_lightness = added(a.facts.get("faces_by_lightness", {}) for a in behind if a.manifest.kind == "tracks")
    used: dict[tuple[str, str], set[str]] = {}
    for artifact in behind:
        for file, sha256, role in _files(artifact):
            used.setdefault((file, sha256), set()).add(role)
    return Origins(
        tuple(sorted(generators)) or tuple(shards.get("generators", ())),
        total("tracks"),
        total("images"),
        total("identities"),
        tuple(sorted({_dataset(a) for a in behind if a.manifest.kind == "faces"})),
        tuple(_row(file, sha256, roles, weights) for (file, sha256), roles in sorted(used.items())),
        tuple(f"{name}: {tenths(counts).sentence()}" for name, counts in sorted(by_lightness.items())),
        tuple(sorted({_instruments(a)["method"] for a in behind if "method" in _instruments(a)})),
    )


def _behind(inputs: Iterable[Artifact]) -> list[Artifact]:
    """Every artifact behind these, each once."""
    found: dict[str, Artifact] = {}
    todo = list(inputs)
    while todo:
        artifact = todo.pop()
        if artifact.uri not in found:
            found[artifact.uri] = artifact
            todo += artifact.inputs().values()
    return list(found.values())


def _generators(artifact: Artifact) -> dict[str, Any]:
    made_by = artifact.manifest.config.get("generators") if artifact.manifest.kind == "tracks" else None
    return dict(made_by) if isinstance(made_by, dict) else {}


def _instruments(artifact: Artifact) -> dict[str, Any]:
    return dict(artifact.manifest.config.get("instruments", {})) if artifact.manifest.kind == "screening" else {}


def _dataset(faces: Artifact) -> str:
    name = str(faces.facts.get("dataset", "unnamed"))
    return f"{name} (rehearsal)" if faces.facts.get("rehearsal") else name


def _files(artifact: Artifact) -> Iterable[tuple[str, str, str]]:
    """(file, sha256, role) of every published file that made this artifact."""
    kind, config, facts = artifact.manifest.kind, artifact.manifest.config, artifact.facts
    files = dict(config.get("files_sha256", {}))
    if kind == "tracks":
        for name, made in _generators(artifact).items():
            if made.get("weights_sha256"):
                yield (name in GENERATORS and GENERATORS[name].fetched) or name, made["weights_sha256"], "generator"
        yield from ((name, sha256, "face finder") for name, sha256 in files.items())
    elif kind == "screening":
        instruments = _instruments(artifact)
        for name, sha256 in instruments.get("scorers_sha256", {}).items():
            yield name, sha256, "screening"
        if instruments.get("weights_sha256"):
            yield method(instruments["method"]).fetched, instruments["weights_sha256"], "screening"
    elif kind == "dataset":
        yield from ((name, sha256, "rehearsal data") for name, sha256 in files.items())
    elif kind == "faces" and facts.get("with_own_landmarks", 0) < facts.get("photos", 1):
        yield from ((name, sha256, "face finder") for name, sha256 in files.items())


def _row(file: str, sha256: str, roles: set[str], weights: Path) -> dict[str, Any]:
    """The licence is told of this very file only."""
    try:
        told = json.loads(provenance_path(weights / file).read_text("utf-8"))
    except (OSError, ValueError):
        told = {}
    known = told if isinstance(told, dict) and told.get("sha256") == sha256 else {}
    return {"file": file, "role": ", ".join(sorted(roles)), "sha256": sha256} | {key: known.get(key) for key in KEYS}
