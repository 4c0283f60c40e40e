"""Provenance of the results: all artifacts that they depend on, read from the manifests.

In: artifacts. Out: one `Origin` per artifact (kind, description, URI, sha256 of its manifest), inputs before outputs;
and the report's facts about screening.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface.artifacts.facts import Facts, PartFacts, ProtocolFacts, ScreeningFacts, ShardsFacts, TracksFacts
from comface.artifacts.manifest import Artifact
from comface.runtime.progress import counted
from comface.screening.table import HEADINGS, Row, lightness, rows

KINDS = ("tracks", "screening", "shards", "backbone", "dataset", "faces", "protocol", "features", "transfer")
READ: dict[str, type[Facts]] = {"screening": ScreeningFacts, "shards": ShardsFacts}
"""Kinds whose facts the report shows."""


@dataclass(frozen=True)
class Origin:
    kind: str
    what: str
    uri: str
    sha256: str
    config: Mapping[str, Any]
    facts: Facts | None
    """Its facts; None for a kind that is not in READ."""


@dataclass(frozen=True)
class Screening:
    """Results of screening and how they were used."""

    rows: tuple[Row, ...]
    method: str
    others: int
    used: bool
    left_out: int
    """Number of excluded tracks."""
    lightness: tuple[str, ...]
    headings: tuple[str, ...] = HEADINGS

    @property
    def kept(self) -> int:
        return sum(row.kept for row in self.rows)


def origins(found: Sequence[Artifact]) -> list[Origin]:
    """Return a line per artifact, sorted by kind in the order of the pipeline; of the thousands of blocks of tracks,
    one line per generator. `found`: artifacts with all their inputs (with_inputs)."""
    lines = [_origin(artifact) for artifact in found if artifact.manifest.kind != "tracks"]
    lines += _tracks([artifact for artifact in found if artifact.manifest.kind == "tracks"])
    return sorted(lines, key=lambda line: (_rank(line.kind), line.what, line.uri))


def _origin(artifact: Artifact) -> Origin:
    manifest = artifact.manifest
    facts = artifact.facts_as(READ[manifest.kind]) if manifest.kind in READ else None
    return Origin(manifest.kind, _what(artifact), artifact.uri, artifact.sha256, manifest.config, facts)


def screening(lines: Sequence[Origin]) -> Screening | None:
    """Return the results of screening; None if the faces were not screened."""
    facts = next((line.facts for line in lines if isinstance(line.facts, ScreeningFacts)), None)
    if facts is None:
        return None
    shards = _shards(lines)
    return Screening(
        tuple(rows(facts)),
        facts.method,
        facts.others,
        used=shards is not None and shards.alpha_ranges is not None,
        left_out=shards.screened_out_tracks if shards is not None else 0,
        lightness=tuple(lightness(facts)),
    )


def _shards(lines: Sequence[Origin]) -> ShardsFacts | None:
    return next((line.facts for line in lines if isinstance(line.facts, ShardsFacts)), None)


def _tracks(blocks: Sequence[Artifact]) -> Iterator[Origin]:
    """Each block is named, with its sha256, by the manifest of the shards."""
    generators = {name: each for each in blocks for name in each.manifest.config.get("generators", ())}
    for name, example in generators.items():
        mine = [each for each in blocks if name in each.manifest.config.get("generators", ())]
        held = sum(_held(each, name) for each in mine)
        what = f"{name}: {held:,} tracks, in blocks that the shards name"
        yield Origin("tracks", what, f"{example.root}/tracks", "", example.manifest.config, None)


def _held(tracks: Artifact, generator: str) -> int:
    """Return the number of tracks of a generator. An artifact of schema 2 is a whole part, with several generators."""
    if "generator" in tracks.facts:
        return tracks.facts_as(TracksFacts).tracks
    return sum(tracks.facts_as(PartFacts).tracks_by_attribute.get(generator, {}).values())


def _rank(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _dataset(features: Artifact) -> str | None:
    """The data set whose faces were encoded."""
    reference = features.manifest.inputs.get("faces")
    return None if reference is None else features.input("faces").facts.get("dataset")


def _what(artifact: Artifact) -> str:
    facts, config = artifact.facts, artifact.manifest.config
    parts: list[object]
    if artifact.manifest.kind == "transfer":
        parts = [facts.get("task"), facts.get("method"), facts.get("mode"), f"seed {facts.get('seed', 0)}"]
    elif artifact.manifest.kind in ("faces", "dataset"):
        parts = [facts.get("dataset") or facts.get("layout"), "rehearsal" if facts.get("rehearsal") else None]
    elif artifact.manifest.kind == "features":
        seed = config.get("network_seed")  # of random weights
        parts = [facts.get("method"), _dataset(artifact), None if seed is None else f"seed {seed}"]
    elif artifact.manifest.kind == "protocol":
        drawn = artifact.facts_as(ProtocolFacts)
        pairs = f"{counted(drawn.pairs, 'test pair')} of {counted(drawn.subjects, 'subject')}"
        parts = [drawn.task, counted(drawn.folds, "fold"), pairs, f"digest {drawn.protocol_sha256[:12]}"]
    elif artifact.manifest.kind == "screening":
        parts = [f"{len(facts.get('attributes', ()))} attributes", facts.get("method")]
    elif artifact.manifest.kind == "backbone":
        parts = [config.get("backbone"), config.get("learning"), f"seed {config.get('seed', 0)}"]
    else:
        parts = []
    if facts.get("weight_file"):
        parts.append(f"{facts['weight_file']} ({facts.get('layout')})")
    return ", ".join(str(part) for part in parts if part)
