"""Provenance of the results: all artifacts that they depend on, read from the manifests.

In: artifacts. Out: one `Origin` per artifact (kind, description, URI, sha256 of its manifest), inputs before outputs;
and the report's facts about data sets, pre-training and screening.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from comface.artifacts.manifest import Artifact
from comface.screening.table import HEADINGS, lightness, rows

KINDS = ("tracks", "screening", "shards", "backbone", "dataset", "faces", "features", "transfer")


@dataclass(frozen=True)
class Origin:
    kind: str
    what: str
    uri: str
    sha256: str
    config: dict[str, Any]
    facts: dict[str, Any]


def origins(artifacts: Iterable[Artifact]) -> list[Origin]:
    """Return every artifact that these depend on, once, sorted by kind in the order of the pipeline. Raises DataError
    if the sha256 of a manifest is not the one recorded by the artifact that uses it."""
    found: dict[str, Artifact] = {}
    todo = list(artifacts)
    while todo:
        artifact = todo.pop()
        if artifact.uri in found:
            continue
        found[artifact.uri] = artifact
        todo += artifact.inputs().values()
    lines = [Origin(a.manifest.kind, _what(a), a.uri, a.sha256, a.manifest.config, a.facts) for a in found.values()]
    return sorted(lines, key=lambda line: (_rank(line.kind), line.what, line.uri))


def datasets(lines: Sequence[Origin]) -> list[dict[str, Any]]:
    """Per data set: number of people, of faces found, and of photos without a usable face by reason."""
    rows = []
    for line in lines:
        if line.kind == "faces":
            missed = dict(line.facts.get("missed") or {})
            rows.append(
                {
                    "dataset": line.facts.get("dataset", ""),
                    "rehearsal": bool(line.facts.get("rehearsal")),
                    "subjects": line.facts.get("subjects", 0),
                    "found": line.facts.get("found", 0),
                    "missed": sum(missed.values()),
                    "reasons": ", ".join(f"{reason}: {count}" for reason, count in sorted(missed.items())),
                }
            )
    return sorted(rows, key=lambda row: str(row["dataset"]))


def pretraining(lines: Sequence[Origin]) -> dict[str, Any]:
    """Training data and settings of the backbone; empty if there is no backbone."""
    backbones = [line for line in lines if line.kind == "backbone"]
    if not backbones:
        return {}
    config = backbones[0].config
    generators = {str(name) for line in lines if line.kind == "tracks" for name in line.config.get("generators") or ()}
    shards: dict[str, Any] = next((line.facts.get("train", {}) for line in lines if line.kind == "shards"), {})
    return {
        "generators": sorted(generators),
        "images": shards.get("images"),
        "identities": shards.get("identities"),
        "backbone": config.get("backbone"),
        "image_size_px": config.get("image_size_px"),
        "learning": config.get("learning"),
        "target": config.get("target"),
        "curriculum": config.get("curriculum"),
        "epochs": config.get("epochs"),
    }


def screening(lines: Sequence[Origin]) -> dict[str, Any]:
    """Results of screening and how they were used; empty if the synthetic faces were not screened."""
    facts = next((line.facts for line in lines if line.kind == "screening"), None)
    if facts is None:
        return {}
    shards: dict[str, Any] = next((line.facts for line in lines if line.kind == "shards"), {})
    return {
        "rows": rows(facts),
        "headings": HEADINGS,
        "kept": sum(bool(each["kept"]) for each in facts["attributes"]),
        "method": facts["method"],
        "others": facts["others"],
        "used": "alpha_ranges" in shards,
        "left_out": shards.get("screened_out_tracks", 0),
        "lightness": lightness(facts),
    }


def _rank(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _what(artifact: Artifact) -> str:
    facts, config = artifact.facts, artifact.manifest.config
    parts: list[object]
    if artifact.manifest.kind == "transfer":
        parts = [facts.get("task"), facts.get("method"), facts.get("mode")]
    elif artifact.manifest.kind in ("faces", "dataset"):
        parts = [facts.get("dataset") or facts.get("layout"), "rehearsal" if facts.get("rehearsal") else None]
    elif artifact.manifest.kind == "features":
        parts = [facts.get("method"), facts.get("dataset")]
    elif artifact.manifest.kind == "tracks":
        parts = [f"part {config['part']}" if "part" in config else None, f"{facts.get('images', 0)} images"]
    elif artifact.manifest.kind == "screening":
        parts = [f"{len(facts.get('attributes', ()))} attributes", facts.get("method")]
    else:
        parts = [config.get("backbone"), config.get("learning")]
    return ", ".join(str(part) for part in parts if part)
