"""The backbone before it is made: its address and its needs, without a tensor, so that a launcher knows them too."""

from __future__ import annotations

import os
from collections.abc import Mapping

from comface.artifacts.manifest import Artifact, Draft
from comface.pretrain.config import PretrainConfig
from comface.store import Store

REVISION = 1
"""Raised when the same shards and settings give another backbone, by this package or by networks/."""
RUNTIME_FIELDS = {"nodes", "gpus_per_node", "job", "loader_workers", "checkpoint_every_s"}
"""Fields that say where to train, not what: they are no part of the artifact's address."""
WITHOUT_BATCHNORM = ("vit_b_16",)
PREFETCH = 2
"""Batches that each loader process makes ahead."""


def draft_backbone(
    store: Store, config: PretrainConfig, shards: Artifact, environment: Mapping[str, str] = os.environ
) -> Draft:
    """Pairs and views do not depend on the number of processes. BatchNorm does: each process normalizes by the
    statistics of its own share of a batch. So where a network has it, the number is part of the address."""
    made_from = config.model_dump(mode="json", exclude=RUNTIME_FIELDS)
    if config.backbone not in WITHOUT_BATCHNORM:
        made_from["batchnorm_over_processes"] = process_count(config, environment)
    return Draft(store, "backbone", made_from, {"shards": shards}, {"pretrain": REVISION})


def process_count(config: PretrainConfig, environment: Mapping[str, str] = os.environ) -> int:
    """How many processes train: what torchrun says (WORLD_SIZE) inside of it, else what will be started."""
    return int(environment.get("WORLD_SIZE", "0")) or config.nodes * max(1, config.gpus_per_node)


def loader_bytes(workers: int, pairs: int, image_size_px: int) -> int:
    """Shared memory that the loader workers of one training process fill with batches under way: per worker those made
    ahead and the one being made, each of `pairs` pairs of stored images (uint8, three channels) and their alphas."""
    return workers * (PREFETCH + 1) * (pairs * 2 * 3 * image_size_px**2 + 4 * 4096)
