"""The origins of a model: generators, data sets and published files, read from the manifests of all its inputs.

In: the input artifacts of a model. Out: Origins, for the card. Files that are installed but were not used (weights of
other methods, other generators) are not listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface.artifacts.facts import FacesFacts, ShardsFacts
from comface.artifacts.manifest import Artifact, with_inputs
from comface.faces.lightness import tenths
from comface.generators.registry import GENERATORS
from comface.methods import method
from comface.weights.fetched import PACKAGED, provenance_path

KEYS = ("licence", "trained_on", "citation", "package")


@dataclass(frozen=True)
class Origins:
    generators: tuple[str, ...]
    """Generators of the faces that the backbone was trained on."""
    tracks: int | None
    images: int | None
    identities: int | None
    datasets: tuple[str, ...]
    files: tuple[dict[str, Any], ...]
    """Rows with file, role, sha256, licence, trained_on, citation and package."""
    lightness: tuple[str, ...] = ()
    """One sentence per generator: how often faces are found among its darkest and lightest images."""
    screened_by: tuple[str, ...] = ()
    """Methods whose features screening used to check identity."""
    data: tuple[dict[str, Any], ...] = ()
    """Rows with dataset, layout, kind, photos, subjects and sha256, one per data set."""


def origins(inputs: Iterable[Artifact], weights: Path) -> Origins:
    """`weights`: the folder with the fetched files and their licence records."""
    behind = with_inputs(inputs)
    generators = {name for artifact in behind for name in _generators(artifact)}
    shards = next((a.facts_as(ShardsFacts) for a in behind if a.manifest.kind == "shards"), None)

    def total(what: str) -> int | None:
        return getattr(shards.train, what) + getattr(shards.validation, what) if shards is not None else None

    by_lightness = shards.faces_by_lightness if shards is not None else {}
    used: dict[tuple[str, str], set[str]] = {}
    for artifact in behind:
        for file, sha256, role in _files(artifact):
            used.setdefault((file, sha256), set()).add(role)
    return Origins(
        tuple(sorted(generators)) or (shards.generators if shards is not None else ()),
        total("tracks"),
        total("images"),
        total("identities"),
        tuple(sorted({_dataset(a) for a in behind if a.manifest.kind == "faces"})),
        tuple(_row(file, sha256, roles, weights) for (file, sha256), roles in sorted(used.items())),
        tuple(f"{name}: {tenths(counts).sentence()}" for name, counts in sorted(by_lightness.items())),
        tuple(sorted({_instruments(a)["method"] for a in behind if "method" in _instruments(a)})),
        tuple(sorted((_data(a) for a in behind if a.manifest.kind == "faces"), key=lambda row: str(row["dataset"]))),
    )


def _generators(artifact: Artifact) -> dict[str, Any]:
    made_by = artifact.manifest.config.get("generators") if artifact.manifest.kind == "tracks" else None
    return dict(made_by) if isinstance(made_by, dict) else {}


def _instruments(artifact: Artifact) -> dict[str, Any]:
    return dict(artifact.manifest.config.get("instruments", {})) if artifact.manifest.kind == "screening" else {}


def _dataset(faces: Artifact) -> str:
    facts = faces.facts_as(FacesFacts)
    return f"{facts.dataset} (rehearsal)" if facts.rehearsal else facts.dataset


def _files(artifact: Artifact) -> Iterable[tuple[str, str, str]]:
    """Yield (file, sha256, role) of every published file that this artifact was made with."""
    kind, config = artifact.manifest.kind, artifact.manifest.config
    files = dict(config.get("files_sha256", {}))
    if kind == "tracks":
        for name, made in _generators(artifact).items():
            if made.get("weights_sha256"):
                yield (name in GENERATORS and GENERATORS[name].fetched) or name, made["weights_sha256"], "generator"
        yield from ((name, sha256, "face detection") for name, sha256 in files.items())
    elif kind == "screening":
        instruments = _instruments(artifact)
        for name, sha256 in instruments.get("scorers_sha256", {}).items():
            yield name, sha256, "screening"
        if instruments.get("weights_sha256"):
            yield method(instruments["method"]).fetched, instruments["weights_sha256"], "screening"
    elif kind == "dataset":
        yield from ((name, sha256, "rehearsal data") for name, sha256 in files.items())
    elif kind == "faces" and (facts := artifact.facts_as(FacesFacts)).with_own_landmarks < facts.photos:
        yield from ((name, sha256, "face detection") for name, sha256 in files.items())


def _row(file: str, sha256: str, roles: set[str], weights: Path) -> dict[str, Any]:
    """Build a row of the card. The licence is given only if the record's sha256 is that of the file that was used."""
    records = (_record(provenance_path(folder / file)) for folder in (weights, PACKAGED))
    known = next((record for record in records if record.get("sha256") == sha256), {})
    return {"file": file, "role": ", ".join(sorted(roles)), "sha256": sha256} | {key: known.get(key) for key in KEYS}


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _data(faces: Artifact) -> dict[str, Any]:
    """A row of the card for a data set. Rehearsal data have the sha256 of the manifest of the generated files."""
    facts, made = faces.facts_as(FacesFacts), faces.manifest.inputs.get("dataset")
    digest = faces.manifest.config.get("fingerprint") or (made.sha256 if made is not None else "")
    kind = "generated (rehearsal)" if facts.rehearsal else "brought by the user"
    row = {"dataset": facts.dataset, "layout": facts.layout, "kind": kind, "photos": facts.photos}
    return row | {"subjects": facts.subjects, "sha256": str(digest)}
