"""An exported model is the whole estimator: the same changes, in a program that does not have this package."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from comface.cli import main
from comface.errors import DataError
from comface.faces.preprocessing import Preprocessing
from comface.models import export
from comface.models.export import Changes, View, described, run_exported
from comface.models.model import Model
from comface.networks.head import Head
from comface.store import FileStore

PAIRS, PX = 100, 128
ALONE = """if True:
    import sys, json, numpy, onnxruntime
    session = onnxruntime.InferenceSession("model.onnx")
    before, after = numpy.load("pairs.npy")
    numpy.save("found.npy", session.run(["changes"], {"before": before, "after": after})[0])
    assert not any(name.startswith(("comface", "torch")) for name in sys.modules)
    print(json.dumps(session.get_modelmeta().custom_metadata_map))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(FileStore(tmp_path_factory.mktemp("none")), "shipped")


def exported(folder: Path, name: str, kind: str, pairs_2PSS3: np.ndarray) -> bytes:
    (folder / "store").mkdir()
    store = (folder / "store").as_uri()
    assert main(["models", "export", "--format", kind, "--output", str(folder / name), "--store", store]) == 0
    np.save(folder / "pairs.npy", pairs_2PSS3)
    return (folder / name).read_bytes()


def random_pairs() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (2, PAIRS, PX, PX, 3), np.uint8)


def changes(model: Model, pairs_2PSS3: np.ndarray) -> np.ndarray:
    found_PT = np.array([list(model.estimator.changes(*pair).values()) for pair in zip(*pairs_2PSS3, strict=True)])
    assert found_PT.std(axis=0).min() > 0.1
    return found_PT


def check_told(model: Model, told: dict[str, str]) -> None:
    columns = json.loads(told["changes"])
    assert [each["task"] for each in columns] == list(model.estimator.heads)
    assert all(each["rehearsal"] for each in columns)
    assert (told["card"], model.artifact.sha256 in told["comface_model"]) == (model.card, True)


def test_the_onnx_file_has_the_changes_of_100_random_pairs_without_this_package_and_torch(
    model: Model, tmp_path: Path
) -> None:
    exported(tmp_path, "model.onnx", "onnx", random_pairs())
    environment = {**os.environ, "PYTHONPATH": ""}
    ran = subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), changes(model, random_pairs()), rtol=0, atol=1e-4)
    check_told(model, json.loads(ran.stdout))


def test_the_torch_file_has_the_changes_of_100_random_pairs(model: Model, tmp_path: Path) -> None:
    data = exported(tmp_path, "model.pt2", "torch", random_pairs())
    found_PT = run_exported(data, "torch", *random_pairs())
    np.testing.assert_allclose(found_PT, changes(model, random_pairs()), rtol=0, atol=1e-4)
    told = dict.fromkeys(described(model), "")
    torch.export.load(io.BytesIO(data), extra_files=told)
    check_told(model, told)


def test_a_file_that_estimates_other_changes_is_not_written(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch might make of a network; here, a head that was changed on the way."""
    doubled = replace(model.estimator, heads={**model.estimator.heads, "age": doubled_head(model)})
    monkeypatch.setattr("comface.models.export.Changes", lambda _, of=Changes: of(doubled))
    with pytest.raises(DataError, match=r"The torch file of the model at .* estimates other changes than the model"):
        export.exported(model, "torch")


def doubled_head(model: Model) -> Head:
    return replace(model.estimator.heads["age"], weight_D=2 * model.estimator.heads["age"].weight_D)


@pytest.mark.parametrize(
    ("how", "within"),
    [
        (Preprocessing(size_px=96), 0),
        (Preprocessing(size_px=48), 0),
        (Preprocessing(size_px=32, view_share=0.75, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), channels="BGR"), 0),
        (Preprocessing(size_px=61, view_share=0.8), 0),
        (Preprocessing(size_px=40, square=(-0.2, 0.1, 1.3)), 0),
        (Preprocessing(size_px=112), 1),
    ],
)
def test_the_view_in_the_file_is_that_of_the_preprocessing(how: Preprocessing, within: int) -> None:
    """In grey levels; to enlarge, OpenCV computes with fewer digits, and a value may round to its neighbour."""
    faces_NSS3 = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), np.uint8)
    found_NCHW = View(how, 96)(torch.from_numpy(faces_NSS3))
    levels = (found_NCHW - how(faces_NSS3)).abs() * 255 * torch.tensor(how.std)[:, None, None]
    assert levels.max() < within + 1e-3
    assert (levels > 0.5).float().mean() < 0.01


def test_an_output_of_another_kind_is_refused_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "export", "--format", "onnx", "--output", str(tmp_path / "model.pt2")]) == 64
    assert "does not end in .onnx; rename it" in capfd.readouterr().err
