"""The first stage: trains a backbone f on the photos of many patients by WeightSupMoCo (loss.py).

In: an encoder, faces, labelled photos. Out: the same encoder, its network trained, and the mean loss of every epoch.
The skeleton is MoCo v2's: a query encoder f and projection g; a key encoder of the same form, whose weights follow by
momentum and get no gradient; a queue of the last keys. Two random views of each photo are its query and its key.

The weights, the order of photos and all views are functions of the seed. Our choices where the publication is silent:
the queue starts empty, so that every key in it has a label and a weight; Adam with a cosine schedule, as elsewhere
here, instead of MoCo's SGD; views are crops, mirrored, with another brightness and contrast, because colour jitter and
blur hide swelling; BatchNorm is not shuffled (there is one device).

Legend: N photos of a step, C = 3 channels, S side length of a view, Z width of the projection, D feature width.
"""

from __future__ import annotations

import copy
import logging
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, normalize

from comface.errors import DataError
from comface.methods.encoder import Encoder
from comface.methods.patients.config import PatientsConfig
from comface.methods.patients.loss import Keys, weight_sup_moco
from comface.methods.patients.photos import Faces, Photos
from comface.runtime.progress import shown
from comface.seeds import derive_seed, numpy_rng

logger = logging.getLogger(__name__)


def pretrain(
    encoder: Encoder, faces: Faces, photos: Photos, config: PatientsConfig, seed: int, device: str
) -> list[float]:
    """Train `encoder.network` in place. Return the mean loss of every epoch. Raises DataError if training diverges."""
    label_N = torch.from_numpy(photos.phase_N)
    weight_N = torch.from_numpy(photos.weight_N if config.weight == "absolute" else photos.above_mean()).float()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "patients", "projection"))
        hidden = nn.Linear(encoder.width, encoder.width)
        projection = nn.Sequential(hidden, nn.ReLU(), nn.Linear(encoder.width, config.projection_width))
    query = nn.Sequential(encoder.network, projection).to(device)
    key = copy.deepcopy(query).requires_grad_(False)
    queue = Keys(
        torch.empty(0, config.projection_width, device=device), label_N[:0].to(device), weight_N[:0].to(device)
    )

    optimizer = torch.optim.Adam(query.parameters(), lr=config.rate)
    size = min(config.batch_photos, len(photos))
    steps = len(photos) // size  # the photos that do not fill a batch are left out of this epoch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.pretrain_epochs * steps)

    losses = []
    query.train()
    key.train()
    for epoch in shown(range(config.pretrain_epochs), "pre-training on patients", unit="epoch"):
        rng = numpy_rng(seed, "patients", "epoch", epoch)
        total = 0.0
        for chosen_N in np.split(rng.permutation(len(photos))[: steps * size], steps):
            x_NCSS = encoder.preprocessing(faces[photos.row_N[chosen_N]])
            q_NZ = normalize(query(views(x_NCSS, config, rng).to(device)), dim=1)
            with torch.no_grad():
                z_NZ = normalize(key(views(x_NCSS, config, rng).to(device)), dim=1)
            own = Keys(z_NZ, label_N[chosen_N].to(device), weight_N[chosen_N].to(device))

            loss = weight_sup_moco(q_NZ, own, queue, config.temperature, config.sigma_kg)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()

            follow(key, query, config.momentum)
            queue = Keys(*(torch.cat([new, old])[: config.queue] for new, old in zip(own, queue, strict=True)))
            total += float(loss.detach())
        losses.append(total / steps)
        if not math.isfinite(losses[-1]):
            raise DataError("Pre-training on patients diverged; lower transfer.patients.rate.")
    logger.info(f"pre-training on patients: loss {losses[0]:.3g} in the first epoch, {losses[-1]:.3g} in the last")
    return losses


@torch.no_grad()
def follow(key: nn.Module, query: nn.Module, momentum: float) -> None:
    """Move the weights of the key encoder towards those of the query encoder."""
    for slow, fast in zip(key.parameters(), query.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)


def views(x_NCSS: Tensor, config: PatientsConfig, rng: np.random.Generator) -> Tensor:
    """Return a random view of every image: cropped, mirrored or not, with another contrast and brightness."""
    count = len(x_NCSS)

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, count)).float()

    side_N = uniform(config.crop_min_area, 1.0).sqrt()
    mirror_N = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    zero_N = torch.zeros(count)
    row_x_N3 = torch.stack([side_N * mirror_N, zero_N, (1 - side_N) * uniform(-1, 1)], dim=1)
    row_y_N3 = torch.stack([zero_N, side_N, (1 - side_N) * uniform(-1, 1)], dim=1)
    grid = affine_grid(torch.stack([row_x_N3, row_y_N3], dim=1), list(x_NCSS.shape), align_corners=False)
    x_NCSS = grid_sample(x_NCSS, grid, padding_mode="reflection", align_corners=False)
    contrast_N, shift_N = uniform(1 - config.jitter, 1 + config.jitter), uniform(-config.jitter, config.jitter)
    return x_NCSS * contrast_N[:, None, None, None] + shift_N[:, None, None, None]
