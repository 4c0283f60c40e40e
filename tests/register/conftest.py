"""Chains of artifacts (chains.py), registered models and photos."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chains import REVISIONS, Chain, build_chain, make_transfer
from numpy.typing import NDArray
from PIL import Image

from comface.artifacts.manifest import Draft
from comface.register.config import RegisterConfig
from comface.register.step import RegisterResult, register
from comface.store import FileStore, Store

SURE_FACES = (15, 16, 19, 22)
"""Seeds of dcgan whose faces the detector is sure of; the first two pass for one person."""


@pytest.fixture
def make_chain(tmp_path: Path) -> Callable[..., Chain]:
    """`make_chain(smile=.6, age=.5, seed=0)`: ComFace's correlations; random features reach .1 on both."""

    def make(store: Store | None = None, smile: float = 0.6, age: float = 0.5, seed: int = 0, **more: Any) -> Chain:
        return build_chain(store or FileStore(tmp_path / "store"), smile, age, seed, **more)

    return make


@pytest.fixture
def with_tasks() -> Callable[..., Chain]:
    """`with_tasks(chain, (name, facts) …)`: the chain with further transfers of ComFace."""

    def add(chain: Chain, *tasks: tuple[str, dict[str, Any]]) -> Chain:
        more = [make_transfer(chain.store, chain.backbone, name, "comface", 0.4, **facts) for name, facts in tasks]
        transfers = [*chain.transfers, *more]
        inputs = {f"transfer-{i:03d}": artifact for i, artifact in enumerate(transfers)} | {"backbone": chain.backbone}
        evaluation = Draft(chain.store, "evaluation", {"more": len(more)}, inputs, REVISIONS).publish({})
        return Chain(chain.store, chain.backbone, evaluation, transfers)

    return add


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> tuple[RegisterResult, Chain]:
    """One registered model for all tests that only read it."""
    folder = tmp_path_factory.mktemp("registered")
    chain = build_chain(FileStore(folder / "store"), 0.6, 0.5, 0)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return register(chain.store, RegisterConfig(), chain.evaluation, chain.backbone, chain.heads, now, folder), chain


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photos with one, no, two and a too small face, and files that are none."""
    import cv2

    from comface.generators.registry import load_generator

    folder = tmp_path_factory.mktemp("photos")
    generator = load_generator("dcgan")
    x_NCHW = generator.render(generator.latents(SURE_FACES))
    face_NSS3 = ((x_NCHW.permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).byte().numpy()
    large = [cv2.resize(face, (256, 256), interpolation=cv2.INTER_CUBIC) for face in face_NSS3]

    def large_of(generator: Any, smiling: float) -> NDArray[np.uint8]:
        w = generator.latents(SURE_FACES[:1]) + smiling * generator.direction("smile")
        face = ((generator.render(w).permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).byte().numpy()[0]
        return cv2.resize(face, (256, 256), interpolation=cv2.INTER_CUBIC)

    grey = np.full((256, 256, 3), 128, np.uint8)
    images = {"one": large[0], "other": large[1], "none": grey, "two": np.hstack([large[0], large[2]])}
    images["stranger"], images["smiling"] = large[2], large_of(generator, smiling=2.0)
    images["tiny"] = face_NSS3[0][::3, ::3]
    paths = {name: folder / f"{name}.png" for name in images}
    for name, image in images.items():
        Image.fromarray(image).save(paths[name])
    paths["text"] = folder / "text.jpg"
    paths["text"].write_text("no image")
    Image.fromarray(large[0]).save(folder / "cut.jpg")
    paths["cut"] = folder / "cut.jpg"
    paths["cut"].write_bytes(paths["cut"].read_bytes()[:2000])
    paths["missing"] = folder / "missing.jpg"
    paths["folder"] = folder
    paths["long"] = folder / ("n" * 5000)
    paths["fifo"] = folder / "fifo.jpg"
    os.mkfifo(paths["fifo"])
    return paths
