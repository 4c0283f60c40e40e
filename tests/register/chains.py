"""A small but whole chain of real artifacts: tracks → shards → backbone, faces → features → transfer → evaluation."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
import safetensors.torch
from numpy.typing import NDArray
from protocols import make_protocol
from whole_facts import shards_facts, tracks_facts

from comface.artifacts.manifest import Artifact, Draft
from comface.networks.head import Head
from comface.pretrain.config import PretrainConfig
from comface.pretrain.network import ComFace
from comface.store import Store
from comface.weights.fetched import LANDMARKS

REVISIONS = {"test": 1}
SUBJECTS, PAIRS = 30, 8


@dataclass(frozen=True)
class Chain:
    store: Store
    backbone: Artifact
    evaluation: Artifact
    transfers: list[Artifact]

    @property
    def heads(self) -> list[Artifact]:
        return [artifact for artifact in self.transfers if artifact.facts["method"] == "comface"]


def wide(photos: int) -> NDArray[np.float32]:
    """Features so different from one another that no photo is unlike them."""
    return np.random.default_rng(2).normal(scale=100, size=(photos, 1440)).astype(np.float32)


def save_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def make_backbone(store: Store, seed: int) -> Artifact:
    import torch

    made_by = {"dcgan": {"weights_sha256": "ab" * 32}, "procedural": {"weights_sha256": ""}}
    tracks = Draft(store, "tracks", {"generators": made_by}, {}, REVISIONS).publish(tracks_facts())
    shards = Draft(store, "shards", {}, {"tracks-00000": tracks}, REVISIONS).publish(shards_facts())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = ComFace("narrow", None, 16).state_dict()
    config = PretrainConfig(backbone="narrow", image_size_px=64, seed=seed).model_dump(mode="json")
    draft = Draft(store, "backbone", config, {"shards": shards}, REVISIONS)
    kept = {k: v.contiguous() for k, v in state.items() if k.startswith(("backbone.", "head."))}
    draft.write("model.safetensors", safetensors.torch.save(kept))
    return draft.publish({})


def correlated(change_P: np.ndarray, corr: float, rng: np.random.Generator) -> np.ndarray:
    """Estimates whose correlation with the change is `corr`, and whose error grows as it falls."""
    a_P = (change_P - change_P.mean()) / change_P.std()
    noise_P = rng.normal(size=len(a_P))
    noise_P -= noise_P.mean() + a_P * (noise_P @ a_P) / len(a_P)
    return corr * a_P + np.sqrt(1 - corr**2) * noise_P / noise_P.std()


def make_transfer(
    store: Store,
    backbone: Artifact,
    task: str,
    method: str,
    corr: float,
    mode: str = "linear",
    subjects: int = SUBJECTS,
    test_set: str = "",
    **facts: object,
) -> Artifact:
    """`test_set`: another name, another test set."""
    rng = np.random.default_rng(len(task))
    config = {"task": task, "face_size_px": 96, "files_sha256": {LANDMARKS: "cd" * 32}}
    faces = Draft(store, "faces", config, {}, REVISIONS)
    faces.write("faces.npy", save_array(np.zeros((1, 96, 96, 3), np.uint8)))
    light_N = np.random.default_rng(1).normal(60, 10, subjects * PAIRS + 1)
    faces.write_json("photos.json", [{"conditions": {"light": round(float(light), 3)}} for light in light_N])
    dataset = "fgnet" if task == "age" else "cohort"
    published_faces = faces.publish({"dataset": dataset, "rehearsal": task == "age"})
    inputs = {"faces": published_faces} | ({"backbone": backbone} if method.startswith("comface") else {})
    address = {"task": task, "method": method, "mode": mode, "corr": corr, "set": test_set, **facts}
    if mode == "linear":
        size = {"size_px": 64, "channels": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3}
        made = Draft(store, "features", {"method": method}, inputs, REVISIONS)
        if method == "comface":
            made.write("features-00000.npy", save_array(wide(len(light_N))))
        features = made.publish({"preprocessing": size})
        inputs = {"faces": published_faces, "features": features}
    change_P = rng.normal(size=subjects * PAIRS)
    named = [f"s{i // PAIRS:03d}" for i in range(change_P.size)]
    mark = hashlib.sha256(f"{task}/{test_set}/{subjects}".encode()).hexdigest()[0]
    protocol = make_protocol(store, task, named, change_P, {"faces": published_faces}, mark=mark)
    draft = Draft(store, "transfer", address, {"protocol": protocol, **inputs}, REVISIONS)
    predicted_P = correlated(change_P, corr, rng)
    draft.write_json("predictions.json", {"fold": [0] * change_P.size, "predicted": predicted_P.tolist()})
    if method == "comface":
        head = Head(rng.normal(size=1440), rng.uniform(0.5, 2, 1440), rng.normal(size=1440) * 0.1, 0.25, task == "age")
        draft.write("head.safetensors", safetensors.numpy.save(head.tensors()))
        if mode == "finetune":
            draft.write("backbone.safetensors", finetuned_backbone(backbone))
    return draft.publish(
        {
            "task": task,
            "method": method,
            "mode": mode,
            "unit": "years" if task == "age" else "points",
            "protocol_sha256": protocol.facts["protocol_sha256"],
            "subjects": subjects,
            "pairs": change_P.size,
            "dataset": dataset,
            "rehearsal": task == "age",
            **facts,
        }
    )


def finetuned_backbone(backbone: Artifact) -> bytes:
    """The backbone with other numbers, as transfer keeps it: matrices in half precision."""
    state = safetensors.torch.load(backbone.read("model.safetensors"))
    kept = {k: v for k, v in state.items() if k.startswith("backbone.")}
    return safetensors.torch.save({k: (v * 1.25).half() if v.dim() > 1 else v for k, v in kept.items()})


def build_chain(
    store: Store, smile: float, age: float, seed: int, finetuned: dict[str, float] | None = None, test_set: str = ""
) -> Chain:
    backbone = make_backbone(store, seed)
    transfers = [
        make_transfer(store, backbone, "smile", "comface", smile, seed=seed, test_set=test_set),
        make_transfer(store, backbone, "age", "comface", age, seed=seed, test_set=test_set),
        make_transfer(store, backbone, "smile", "scratch", 0.1, test_set=test_set),
        make_transfer(store, backbone, "age", "scratch", 0.1, test_set=test_set),
        *(
            make_transfer(store, backbone, task, method, value, "finetune", test_set=test_set, seed=seed)
            for task, corr in (finetuned or {}).items()
            for method, value in (("comface", corr), ("scratch", 0.05))
        ),
    ]
    inputs = {f"transfer-{i:03d}": artifact for i, artifact in enumerate(transfers)} | {"backbone": backbone}
    evaluation = Draft(store, "evaluation", {}, inputs, REVISIONS).publish({})
    return Chain(store, backbone, evaluation, transfers)
