"""What a `model` artifact holds beside the backbone: preprocessing, heads with their intervals, the facts of the card.

In: artifacts of earlier steps. Out: plain values. Objects of a `model`:

    model.safetensors         the backbone's file, as pre-training published it (keys backbone.*, head.*)
    heads/TASK.safetensors    one per task, as transfer published it: mean, scale, weight, bias, antisymmetric
    heads.json                per task: unit, rehearsal, interval_half_width, coverage and what was measured
    preprocessing.json        how a face becomes the network's input
    config.json, card.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comface.errors import DataError
from comface.manifest import Artifact
from comface.register.card import CardFacts
from comface.register.gate import CHALLENGER, Metric, metric_of
from comface.register.interval import half_width

FRAMING = {"size_px": 64, "eye_distance_px": 19.2, "eyes_centre_px": [32.0, 30.1]}
"""Of every aligned face, at 64 px; other sizes scale."""


def metrics_of(evaluation: Artifact) -> list[Metric]:
    """What was measured: the facts of the `transfer` artifacts that the evaluation was made from."""
    inputs = evaluation.inputs().values()
    return [metric_of(artifact.facts) for artifact in inputs if artifact.manifest.kind == "transfer"]


def usable_heads(transfers: Sequence[Artifact], backbone: Artifact) -> dict[str, Artifact]:
    """ComFace's linear heads by task, sorted. Raises DataError when one was fitted on features of another backbone, a
    task comes twice, or there is none."""
    found: dict[str, Artifact] = {}
    for artifact in transfers:
        facts = artifact.facts
        if (facts.get("method"), facts.get("mode")) != (CHALLENGER, "linear"):
            continue
        if facts["task"] in found:
            raise DataError(f"Two heads were given for the task '{facts['task']}'; pass one of them.")
        features = artifact.input("features") if "features" in artifact.manifest.inputs else None
        origin = features.manifest.inputs.get("backbone") if features else None
        if origin is None or origin.sha256 != backbone.sha256:
            raise DataError(
                f"The head of '{facts['task']}' at {artifact.uri} belongs to another backbone; fit it again."
            )
        found[facts["task"]] = artifact
    if not found:
        raise DataError("No linear head of ComFace was given to register; run transfer with comface and linear first.")
    return dict(sorted(found.items()))


def heads_record(heads: Mapping[str, Artifact], coverage: float) -> dict[str, dict[str, Any]]:
    record = {}
    for task, artifact in heads.items():
        metric, facts = metric_of(artifact.facts), artifact.facts
        record[task] = {
            "unit": metric.unit,
            "dataset": metric.dataset,
            "rehearsal": metric.rehearsal,
            "corr": metric.corr,
            "mae": metric.mae,
            "acc": metric.acc,
            "subjects": facts.get("subjects"),
            "pairs": facts.get("pairs"),
            "coverage": coverage,
            "interval_half_width": half_width(artifact.read_json("predictions.json"), coverage),
        }
    return record


def preprocessing(heads: Mapping[str, Artifact], backbone: Artifact) -> dict[str, Any]:
    """As the heads' features were made: the face aligned at `aligned_px` (the largest, should data sets differ),
    its view brought to `size_px`, normalised."""
    first = next(iter(heads.values()))
    features = first.input("features")
    described = dict(features.facts.get("preprocessing") or {})
    size_px = int(described.get("size_px") or backbone.manifest.config["image_size_px"])
    sources = [head.input("faces").manifest.config for head in heads.values()]
    return {
        "framing": FRAMING,
        "aligned_px": max(int(source.get("face_size_px") or size_px) for source in sources),
        "view_share": described.get("view_share", 1.0),
        "size_px": size_px,
        "channels": "RGB",
        "mean": described.get("mean", [0.5] * 3),
        "std": described.get("std", [0.5] * 3),
        "mirrored": True,
    }


def provenance(folder: Path) -> list[dict[str, Any]]:
    """Licence, training data and hash of every fetched file, from the JSON beside it."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        try:
            row = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # the fetched file is then as good as absent: everything else says so
        if isinstance(row, dict) and "licence" in row:
            rows.append(
                {key: row.get(key) for key in ("file", "sha256", "licence", "trained_on", "citation", "package")}
            )
    return rows


def card_facts(
    name: str,
    backbone: Artifact,
    record: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, Artifact],
    provenance_rows: Sequence[Mapping[str, Any]],
    coverage: float,
) -> CardFacts:
    shards = backbone.input("shards").facts if "shards" in backbone.manifest.inputs else {}
    splits = [shards[split] for split in ("train", "validation") if split in shards]

    def total(what: str) -> int | None:
        return sum(split[what] for split in splits) if splits and all(what in split for split in splits) else None

    return CardFacts(
        name=name,
        backbone=backbone.manifest.config["backbone"],
        image_size_px=int(backbone.manifest.config["image_size_px"]),
        generators=shards.get("generators", []),
        tracks=total("tracks"),
        images=total("images"),
        identities=total("identities"),
        provenance=provenance_rows,
        metrics=[metric_of(artifact.facts) for artifact in inputs.values() if artifact.manifest.kind == "transfer"],
        intervals={task: entry["interval_half_width"] for task, entry in record.items()},
        coverage=coverage,
        inputs={name: artifact.sha256 for name, artifact in inputs.items()},
    )
