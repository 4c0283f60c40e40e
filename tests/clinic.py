"""A small clinic: two data sets of people, everything that is made of them, and two registered models."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from protocols import make_protocol

from comface.artifacts.manifest import Artifact, Draft
from comface.models.registry import Registry
from comface.store import Store

R = {"test": 1}
PERSON, OTHER = "patient-017", "patient-018"
FACE = bytes(range(200, 250))
"""Bytes of the person's face, which no one else has."""
TASK = {
    "acc": None, "corr": 0.5, "mae": 1.0, "dataset": "edema-a", "mode": "linear", "protocol_sha256": "0" * 64,
    "rehearsal": True, "unit": "kg", "subjects": 2, "pairs": 2, "coverage": 0.9, "interval": None,
}  # fmt: skip
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Clinic:
    store: Store
    faces: Artifact
    other: Artifact
    """Faces of a data set without the person."""
    transfer: Artifact
    evaluation: Artifact
    models: tuple[Artifact, ...]


def array(*rows: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([np.frombuffer(row, np.uint8) for row in rows]))
    return buffer.getvalue()


def faces_of(store: Store, dataset: str, people: list[str], source: str = "s3://elsewhere/set") -> Artifact:
    draft = Draft(store, "faces", {"dataset": dataset}, {}, R)
    draft.write("faces-00000.npy", array(*(FACE if each == PERSON else bytes(50) for each in people)))
    draft.write_json("photos.json", [{"subject": each, "labels": {"weight": 60.0}} for each in people])
    return draft.publish({"dataset": dataset, "source": source, "subjects": len(people)})


def build_clinic(store: Store) -> Clinic:
    backbone = Draft(store, "backbone", {}, {}, R)
    backbone.write("model.safetensors", b"backbone")
    trained = backbone.publish({})
    faces, other = faces_of(store, "edema-a", [PERSON, OTHER]), faces_of(store, "fgnet", [OTHER])
    transfers = []
    for each, person, seen in ((faces, PERSON, FACE), (other, "patient-019", bytes(50))):
        features = Draft(store, "features", {"method": "comface"}, {"faces": each, "backbone": trained}, R)
        features.write("features-00000.npy", array(seen))
        protocol = make_protocol(store, each.facts["dataset"], [person, OTHER], [1.0, 2.0], {"faces": each})
        inputs = {"faces": each, "features": features.publish({}), "protocol": protocol}
        transfer = Draft(store, "transfer", {"task": each.facts["dataset"]}, inputs, R)
        transfer.write_json("predictions.json", {"fold": [0, 0], "predicted": [0.5, 1.5]})
        transfer.write("head.safetensors", b"head")
        transfers.append(transfer.publish({}))
    models, registry = [], Registry(store, "comface")
    for number, made_of in enumerate(([transfers[1]], transfers)):
        named = {f"transfer-{i}": each for i, each in enumerate(made_of)}
        evaluation = Draft(store, "evaluation", {"number": number}, named, R)
        evaluation.write("report.html", b"<p>figures")
        evaluated = evaluation.publish({})
        decision = Draft(store, "decision", {}, {"evaluation": evaluated}, R).publish({})
        model = Draft(store, "model", {"number": number}, {**named, "backbone": trained}, R)
        model.write("config.json", b"{}")
        models.append(model.publish({"name": "comface", "tasks": {"edema-a": TASK}, "metrics": []}))
        registry.register(models[-1], NOW, decision)
    return Clinic(store, faces, other, transfers[0], evaluated, tuple(models))


def copied(source: Store, target: Store) -> None:
    for key in list(source.keys("")):
        target.write(key, source.read(key))
