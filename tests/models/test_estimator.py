"""What is evaluated is what is shipped: a registered model estimates what transfer predicts, in both modes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from comface.artifacts.arrays import array_bytes
from comface.artifacts.manifest import Artifact, Draft
from comface.methods import load_method
from comface.methods.encoder import Sources, encode
from comface.models.estimator import Estimator, load_estimator, symmetric
from comface.networks.head import Head
from comface.pretrain.config import PretrainConfig
from comface.pretrain.network import ComFace
from comface.register.config import RegisterConfig
from comface.register.step import make_model
from comface.store import FileStore, Store
from comface.tasks.config import Task
from comface.tasks.conformal import Errors
from comface.tasks.predictions import read_predictions
from comface.transfer.align import read_faces
from comface.transfer.config import TransferConfig
from comface.transfer.features import read_features
from comface.transfer.finetune import Batches, Training, finetune_all, predict
from comface.transfer.pairs import Pairs, draw_pairs
from comface.transfer.protocol import draw_protocol, read_fold
from comface.transfer.ridge import Form, Samples, fit_validated
from comface.transfer.rows import read_mirrored
from comface.transfer.step import Item, transfer

SUBJECTS, PHOTOS, ALIGNED_PX = 6, 4, 40
TASK = Task(dataset="noise", label="smile", unit="points")
REVISIONS = {"test": 1}


CONFIG = TransferConfig(pairs_per_subject=6, folds=2, epochs=1, batch_pairs=8, backbone_rate=(1e-4,), head_rate=(1e-3,))


def noise(store: Store) -> Artifact:
    """Faces of noise whose brightness is the label; larger than the network's input, so that they are resized."""
    rng = np.random.default_rng(0)
    rows, images = [], []
    for person in range(SUBJECTS):
        for _ in range(PHOTOS):
            smile = float(rng.uniform(0, 5))
            image = rng.integers(0, 150 + int(20 * smile), (ALIGNED_PX, ALIGNED_PX, 3), np.uint8)
            digest = hashlib.sha256(image.tobytes()).hexdigest()
            rows.append({"subject": f"s{person}", "labels": {"smile": smile}, "phase": "", "sha256": digest})
            images.append(image)
    draft = Draft(store, "faces", {"face_size_px": ALIGNED_PX}, {}, REVISIONS)
    draft.write("faces.npy", array_bytes(np.stack(images)))
    draft.write_json("photos.json", rows)
    return draft.publish({"dataset": "noise"})


def untrained(store: Store) -> Artifact:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = ComFace("narrow", None, 16).state_dict()
    config = PretrainConfig(backbone="narrow", image_size_px=32, view_share=0.8).model_dump(mode="json")
    draft = Draft(store, "backbone", config, {}, REVISIONS)
    kept = {k: v.contiguous() for k, v in state.items() if k.startswith(("backbone.", "head."))}
    draft.write("model.safetensors", safetensors.torch.save(kept))
    return draft.publish({})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact, Artifact]:
    store = FileStore(tmp_path_factory.mktemp("store"))
    return store, noise(store), untrained(store)


def transferred(world: tuple[Store, Artifact, Artifact], mode: str, antisymmetric: bool) -> Artifact:
    store, faces, backbone = world
    item = Item("t", TASK, "comface", mode + ("+antisymmetric" if antisymmetric else ""))
    protocol = draw_protocol(store, CONFIG, "t", TASK, faces)
    return transfer(store, CONFIG, item, {"protocol": protocol, "backbone": backbone})


def registered(world: tuple[Store, Artifact, Artifact], result: Artifact, folder: Path) -> Estimator:
    store, _, backbone = world
    return load_estimator(make_model(store, RegisterConfig(), backbone, {"t": result}, [result], folder))


def pairs_of(faces: Artifact) -> Pairs:
    return draw_pairs(faces.read_json("photos.json"), "smile", 6, 0.0, 0, "t")


def estimated(estimator: Estimator, faces_NSS3: np.ndarray, pairs: Pairs) -> np.ndarray:
    """The change of every pair, of the faces alone, without their mirror images."""
    alone = replace(estimator, preprocessing=estimator.preprocessing.model_copy(update={"mirrored": False}))
    sides = zip(pairs.x_P, pairs.y_P, strict=True)
    return np.array([alone.changes(faces_NSS3[x], faces_NSS3[y])["t"] for x, y in sides])


@pytest.mark.parametrize("antisymmetric", [True, False])
def test_the_model_of_a_linear_head_estimates_what_transfer_predicts(world, tmp_path: Path, antisymmetric) -> None:
    result, faces = transferred(world, "linear", antisymmetric), world[1]
    head, pairs = Head.read(safetensors.numpy.load(result.read("head.safetensors"))), pairs_of(faces)
    h_ND = read_features(result.input("features"))
    there_P = Samples(h_ND, pairs.x_P, pairs.y_P, pairs.change_P).predicted(head)
    back_P = Samples(h_ND, pairs.y_P, pairs.x_P, -pairs.change_P).predicted(head)
    found_P = estimated(registered(world, result, tmp_path), read_faces(faces)[:], pairs)
    assert found_P.std() > 0.5
    if antisymmetric:
        np.testing.assert_array_equal(there_P, -back_P)
    np.testing.assert_allclose(found_P, (there_P - back_P) / 2, rtol=0, atol=1e-5)  # one photo at a time: rounding


def test_intervals_describe_what_compare_estimates(world) -> None:
    """`used` is what the model would estimate for a fold's test pairs, were its head fitted to the other subjects."""
    result, (_, faces, backbone) = transferred(world, "linear", False), world
    read, made = read_predictions(result), result.input("features")
    views = [read_features(made)[:], read_mirrored(made)[:]]
    mirrored_NSS3 = np.ascontiguousarray(read_faces(faces)[:][:, :, ::-1])
    np.testing.assert_allclose(views[1], encode(load_method("comface", Sources(backbone)), mirrored_NSS3), atol=1e-5)
    for number in range(CONFIG.folds):
        fold = read_fold(result.input("protocol"), number)
        sides = ((each.x_P, each.y_P, each.change_P) for each in (fold.train, fold.validation))
        train, validation = (Samples(views[0], *side, views[1]) for side in sides)
        head, _ = fit_validated(train, validation, Form(antisymmetric=True))
        expected_P = np.mean([symmetric(head, h_ND[fold.test_x_P], h_ND[fold.test_y_P]) for h_ND in views], axis=0)
        np.testing.assert_allclose(read.used_P[read.fold_P == number], expected_P, rtol=1e-4, atol=1e-5)
    assert np.abs(read.used_P - read.predicted_P).max() > 0.01
    errors = Errors.of_photos(read, faces.read_json("photos.json"))
    np.testing.assert_array_equal(errors.error_P, np.abs(read.used_P - read.change_P))


@pytest.mark.parametrize("antisymmetric", [True, False])
def test_the_model_of_a_fine_tuned_network_estimates_what_transfer_predicts(
    world, tmp_path: Path, antisymmetric
) -> None:
    """The trained network is that of the artifact, its matrices in half precision as the artifact keeps them."""
    result, (_, faces, backbone) = transferred(world, "finetune", antisymmetric), world
    pairs, faces_NSS3 = pairs_of(faces), read_faces(faces)[:]
    encoder = load_method("comface", Sources(backbone))
    there, back = (
        Batches(encoder.preprocessing, faces_NSS3, sides, "cpu")
        for sides in ((pairs.x_P, pairs.y_P), (pairs.y_P, pairs.x_P))
    )
    training = Training(
        result.facts["final_epochs"], 8, 1e-4, 1e-3, fresh=False, antisymmetric=antisymmetric, seed=0,
        words=("t", "comface", "all"),
    )  # fmt: skip
    tuned = finetune_all(encoder, there, pairs.change_P, training)
    kept, head = tuned.tensors()
    assert safetensors.numpy.save(head) == result.read("head.safetensors")
    tuned.network.backbone.load_state_dict({k.removeprefix("backbone."): v.float() for k, v in kept.items()})
    there_P, back_P = (predict(tuned.network, data, training) for data in (there, back))
    found_P = estimated(registered(world, result, tmp_path), faces_NSS3, pairs)
    assert found_P.std() > 0.1
    np.testing.assert_allclose(found_P, (there_P - back_P) / 2, rtol=1e-5, atol=1e-4)
