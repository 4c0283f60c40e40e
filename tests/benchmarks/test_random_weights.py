"""Random weights for rehearsals: in the true layouts, listed, and never in the place of a real file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import random_weights

from comface.artifacts.manifest import file_sha256
from comface.methods import METHODS, load_method
from comface.methods.encoder import Sources, encode
from comface.weights.fetched import ALL, IMAGENET


def test_a_file_of_random_weights_is_loaded_by_its_method_and_listed(tmp_path: Path) -> None:
    assert random_weights().main([str(tmp_path), "--methods", "barlowtwins"]) == 0
    (path,) = tmp_path.glob("*.pth")
    assert path.name in METHODS["barlowtwins"].files
    assert json.loads((tmp_path / "random-weights.json").read_text()) == [file_sha256(path)]
    faces = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    features = encode(load_method("barlowtwins", Sources(weights=path)), faces)
    assert features.shape == (2, 2048)
    assert 0.01 < features.std() < 100


def test_a_file_that_is_there_is_kept_and_not_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "swav_800ep_pretrain.pth.tar").write_bytes(b"real")
    random_weights().main([str(tmp_path), "--methods", "swav"])
    assert "is there, and not random; kept" in capsys.readouterr().out
    assert not (tmp_path / "random-weights.json").exists()


def test_every_method_without_weights_of_its_own_gets_a_file_under_a_published_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random_weights(), "available", lambda: ALL)
    written = {each.method: each.file for each in random_weights().chosen(None, False)}
    assert set(written) == {name for name, entry in METHODS.all().items() if entry.needs_file}
    monkeypatch.setattr(random_weights(), "available", lambda: tuple(set(ALL) - {IMAGENET}))
    written = {each.method: each.file for each in random_weights().chosen(None, False)}
    assert "imagenet" in written
    for name, file in written.items():
        assert file in METHODS[name].files
