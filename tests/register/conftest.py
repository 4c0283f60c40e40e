"""A small but whole chain of real artifacts: tracks → shards → backbone, faces → features → transfer → evaluation."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch

from comface.config import PretrainConfig, RegisterConfig
from comface.manifest import Artifact, Draft
from comface.pretrain.network import ComFace
from comface.register.step import RegisterResult, register
from comface.store import FileStore, Store
from comface.transfer.heads import Head

STEP = "comface.seeds"
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


def save_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def make_backbone(store: Store, seed: int) -> Artifact:
    import torch

    tracks = Draft(store, "tracks", {}, {}, STEP).publish({})
    shards = Draft(store, "shards", {}, {"tracks-00000": tracks}, STEP).publish(
        {
            "train": {"tracks": 90, "images": 990, "identities": 90},
            "validation": {"tracks": 10, "images": 110, "identities": 10},
            "generators": ["dcgan", "procedural"],
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = ComFace("narrow", None, 16).state_dict()
    config = PretrainConfig(backbone="narrow", image_size_px=64, seed=seed).model_dump(mode="json")
    draft = Draft(store, "backbone", config, {"shards": shards}, STEP)
    kept = {k: v.contiguous() for k, v in state.items() if k.startswith(("backbone.", "head."))}
    draft.write("model.safetensors", safetensors.torch.save(kept))
    return draft.publish({})


def make_transfer(
    store: Store, backbone: Artifact, task: str, method: str, corr: float, mode: str = "linear", **facts: object
) -> Artifact:
    rng = np.random.default_rng(len(task))
    faces = Draft(store, "faces", {"task": task, "face_size_px": 96}, {}, STEP)
    faces.write("faces.npy", save_array(np.zeros((1, 96, 96, 3), np.uint8)))
    published_faces = faces.publish({})
    inputs = {"faces": published_faces} | ({"backbone": backbone} if method == "comface" else {})
    size = {"size_px": 64, "channels": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3}
    features = Draft(store, "features", {"method": method}, inputs, STEP).publish({"preprocessing": size})
    draft = Draft(
        store,
        "transfer",
        {"task": task, "method": method, "mode": mode, "corr": corr, **facts},
        {"faces": published_faces, "features": features},
        STEP,
    )
    change_P = rng.normal(size=SUBJECTS * PAIRS)
    noise_P = rng.normal(size=change_P.size) * 0.5
    draft.write_json(
        "predictions.json",
        {
            "subject": [f"s{i // PAIRS:03d}" for i in range(change_P.size)],
            "fold": [0] * change_P.size,
            "change": change_P.tolist(),
            "predicted": (change_P + noise_P).tolist(),
        },
    )
    if mode == "linear":
        head = Head(rng.normal(size=1440), rng.uniform(0.5, 2, 1440), rng.normal(size=1440) * 0.1, 0.25, task == "age")
        draft.write("head.safetensors", safetensors.numpy.save(head.tensors()))
    return draft.publish(
        {
            "task": task,
            "method": method,
            "mode": mode,
            "unit": "years" if task == "age" else "points",
            "metrics": {"corr": corr, "mae": 0.4},
            "subjects": SUBJECTS,
            "pairs": change_P.size,
            "dataset": "fgnet" if task == "age" else "cohort",
            "rehearsal": task == "age",
            **facts,
        }
    )


def build_chain(store: Store, smile: float, age: float, seed: int) -> Chain:
    backbone = make_backbone(store, seed)
    transfers = [
        make_transfer(store, backbone, "smile", "comface", smile, seed=seed),
        make_transfer(store, backbone, "age", "comface", age, seed=seed),
        make_transfer(store, backbone, "smile", "scratch", 0.1),
        make_transfer(store, backbone, "age", "scratch", 0.1),
    ]
    inputs = {f"transfer-{i:03d}": artifact for i, artifact in enumerate(transfers)} | {"backbone": backbone}
    evaluation = Draft(store, "evaluation", {}, inputs, STEP).publish({})
    return Chain(store, backbone, evaluation, transfers)


@pytest.fixture
def make_chain(tmp_path: Path) -> Callable[..., Chain]:
    """`make_chain(smile=.6, age=.5, seed=0)`: ComFace's correlations; random features reach .1 on both."""

    def make(store: Store | None = None, smile: float = 0.6, age: float = 0.5, seed: int = 0) -> Chain:
        return build_chain(store or FileStore(tmp_path / "store"), smile, age, seed)

    return make


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> tuple[RegisterResult, Chain]:
    """One registered model for all tests that only read it."""
    folder = tmp_path_factory.mktemp("registered")
    chain = build_chain(FileStore(folder / "store"), 0.6, 0.5, 0)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return register(chain.store, RegisterConfig(), chain.evaluation, chain.backbone, chain.heads, now, folder), chain
