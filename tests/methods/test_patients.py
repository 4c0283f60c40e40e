"""The patient-specific method: its loss against a slow loop, its training, and the second stage on one patient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from comface.faces.preprocessing import Preprocessing
from comface.methods.encoder import Encoder
from comface.methods.patients.adapt import adapted, pooled_heads, weights_of
from comface.methods.patients.config import PatientsConfig
from comface.methods.patients.loss import Keys, weight_sup_moco
from comface.methods.patients.moco import follow, pretrain, views
from comface.methods.patients.photos import Photos

TEMPERATURE = 0.2


def batch(seed: int, count: int = 5, queued: int = 7) -> tuple[Tensor, Keys, Keys]:
    generator = torch.Generator().manual_seed(seed)

    def keys(number: int) -> Keys:
        z = normalize(torch.randn(number, 6, generator=generator, dtype=torch.float64), dim=1)
        label = torch.randint(0, 2, (number,), generator=generator)
        return Keys(z, label, 60 + 5 * torch.randn(number, generator=generator, dtype=torch.float64))

    return normalize(torch.randn(count, 6, generator=generator, dtype=torch.float64), dim=1), keys(count), keys(queued)


def slow(q: Tensor, own: Keys, queue: Keys, sigma: float) -> float:
    """The equation of loss.py, one term after another."""
    losses = []
    for i in range(len(q)):
        keys = [own.z_KZ[i], *queue.z_KZ]
        similarity = [math.exp(float(q[i] @ key) / TEMPERATURE) for key in keys]
        near = {0: 1.0}
        for j in range(len(queue.z_KZ)):
            if int(queue.label_K[j]) == int(own.label_K[i]):
                apart = float(own.weight_K[i] - queue.weight_K[j])
                near[j + 1] = math.exp(-(apart**2) / (2 * sigma**2))
        terms = [s / sum(near.values()) * math.log(similarity[p] / sum(similarity)) for p, s in near.items()]
        losses.append(-sum(terms))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("sigma", [0.5, 3.0, math.inf])
def test_the_loss_equals_its_equation_term_by_term(sigma: float) -> None:
    for seed in range(3):
        q, own, queue = batch(seed)
        assert float(weight_sup_moco(q, own, queue, TEMPERATURE, sigma)) == pytest.approx(
            slow(q, own, queue, sigma), 1e-9
        )


def test_with_an_infinite_sigma_it_is_supmoco_the_mean_over_all_positives() -> None:
    q, own, queue = batch(3)
    losses = []
    for i in range(len(q)):
        logit = torch.cat([(q[i] @ own.z_KZ[i])[None], queue.z_KZ @ q[i]]) / TEMPERATURE
        positive = torch.cat([torch.ones(1, dtype=torch.bool), queue.label_K == own.label_K[i]])
        losses.append(-float(logit.log_softmax(0)[positive].mean()))
    assert float(weight_sup_moco(q, own, queue, TEMPERATURE, math.inf)) == pytest.approx(np.mean(losses), 1e-9)


def test_with_distinct_labels_or_a_sigma_near_zero_it_is_the_infonce_loss_of_moco() -> None:
    q, own, queue = batch(4)
    logit = torch.cat([(q * own.z_KZ).sum(1, keepdim=True), q @ queue.z_KZ.T], 1) / TEMPERATURE
    infonce = float(cross_entropy(logit, torch.zeros(len(q), dtype=torch.long)))
    distinct = own._replace(label_K=torch.arange(len(q)) + 10)
    assert float(weight_sup_moco(q, distinct, queue, TEMPERATURE, 3.0)) == pytest.approx(infonce, 1e-9)
    assert float(weight_sup_moco(q, own, queue, TEMPERATURE, 1e-6)) == pytest.approx(infonce, 1e-9)


def test_a_positive_counts_more_the_nearer_its_weight_is() -> None:
    q, own, queue = batch(5, count=1, queued=2)
    queue = queue._replace(label_K=own.label_K.repeat(2), weight_K=own.weight_K + torch.tensor([0.1, 4.0]))
    q.requires_grad_()
    pulls = []
    for weight in (queue.weight_K, queue.weight_K.flip(0)):
        loss = weight_sup_moco(q, own, queue._replace(weight_K=weight), TEMPERATURE, 1.0)
        (gradient,) = torch.autograd.grad(loss, q)
        pulls.append(-float(gradient[0] @ queue.z_KZ[0]))
    assert pulls[0] > pulls[1], "the first key attracts more where its weight is the nearer one"


SIDE = 16


class Swelling:
    """Faces of patients whose cheeks (the middle) are lighter with more weight; each patient has another background."""

    def __init__(self, patients: int, days: int = 4, frames: int = 2) -> None:
        rng = np.random.default_rng(0)
        rows = [(p, d, phase, rng.uniform(1, 4)) for p in range(patients) for d in range(days) for phase in (0, 1)]
        rows = [row for row in rows for _ in range(frames)]
        dry = rng.normal(60, 8, patients)
        water = np.array([water if phase == 0 else 0.3 for _, _, phase, water in rows])
        tone = rng.uniform(60, 160, (patients, 3))
        faces = np.stack([np.broadcast_to(tone[p], (SIDE, SIDE, 3)) for p, *_ in rows]).astype(np.float64)
        faces += rng.normal(0, 4, faces.shape)
        faces[:, 5:11, 5:11] += 20 * water[:, None, None, None]
        self.faces_NSSC: NDArray[np.uint8] = faces.clip(0, 255).astype(np.uint8)
        patient, day, phase = (np.array(column) for column in list(zip(*rows, strict=True))[:3])
        names = np.array([f"p{p:02d}" for p in patient])
        self.photos = Photos(np.arange(len(rows)), names, day, phase, dry[patient] + water)


def encoder(seed: int = 0) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return Encoder(32, Preprocessing(size_px=SIDE), nn.Sequential(*layers))


SMALL = PatientsConfig(
    pretrain_epochs=6, batch_photos=16, rate=3e-3, momentum=0.9, queue=64, projection_width=8, adapt_epochs=40,
    backbone_rate=1e-3, head_rate=1e-2,
)  # fmt: skip


def test_pre_training_is_a_function_of_its_seed_and_its_loss_falls() -> None:
    data = Swelling(6)
    runs = []
    for seed in (0, 0, 1):
        network = encoder()
        losses = pretrain(network, data.faces_NSSC, data.photos, SMALL, seed, "cpu")
        runs.append((losses, next(network.network.parameters()).detach().clone()))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]
    assert np.mean(runs[0][0][-2:]) < runs[0][0][1], "the queue is full from the second epoch on"


def test_the_key_encoder_follows_by_momentum_and_its_batchnorm_is_its_own() -> None:
    query, key = encoder(0).network, encoder(1).network
    wanted = [0.9 * k + 0.1 * q for k, q in zip(key.parameters(), query.parameters(), strict=True)]
    follow(key, query, 0.9)
    for found, right in zip(key.parameters(), wanted, strict=True):
        assert torch.allclose(found, right)


def test_a_view_without_crop_and_jitter_is_the_image_or_its_mirror_image() -> None:
    x = torch.randn(8, 3, SIDE, SIDE)
    seen = views(x, SMALL.model_copy(update={"crop_min_area": 1.0, "jitter": 0.0}), np.random.default_rng(0))
    same = torch.tensor([torch.allclose(a, b, atol=1e-4) for a, b in zip(seen, x, strict=True)])
    mirrored = torch.tensor([torch.allclose(a, b.flip(2), atol=1e-4) for a, b in zip(seen, x, strict=True)])
    assert (same ^ mirrored).all()
    assert {True, False} == set(same.tolist())


@pytest.mark.parametrize("head", ["fresh", "pooled"])
def test_the_second_stage_learns_one_patients_weight_from_a_few_of_the_days(head: str) -> None:
    data, network = Swelling(6), encoder()
    config = SMALL.model_copy(update={"head": head, "weight": "relative"})
    many = data.photos.of([f"p{p:02d}" for p in range(5)])
    before = {name: value.clone() for name, value in network.network.state_dict().items()}
    h_ND = network.network.eval()(network.preprocessing(data.faces_NSSC[many.row_N])).detach().numpy()
    start = pooled_heads(h_ND, many, config)[4]
    own = data.photos.of(["p05"])
    *_, tuned = adapted(network, start, data.faces_NSSC, own.days(0, 2), config, ("p05",), 0, "cpu")
    rest = own.days(2, 4)
    estimate = weights_of(tuned, network, data.faces_NSSC, rest.row_N, 4, "cpu")
    assert np.corrcoef(estimate, rest.weight_N)[0, 1] > 0.9
    assert all(torch.equal(before[name], value) for name, value in network.network.state_dict().items()), (
        "the encoder is copied for each patient, and BatchNorm keeps its statistics"
    )


def test_without_a_day_the_pooled_head_ranks_the_weights_of_an_unseen_patient() -> None:
    data, network = Swelling(8), encoder()
    many, own = data.photos.of([f"p{p:02d}" for p in range(7)]), data.photos.of(["p07"])
    features = network.network.eval()(network.preprocessing(data.faces_NSSC)).detach().numpy()
    heads = pooled_heads(features[many.row_N], many, SMALL.model_copy(update={"weight": "relative"}))
    estimate = heads[2](features[own.row_N])
    assert np.corrcoef(estimate, own.weight_N)[0, 1] > 0.9
