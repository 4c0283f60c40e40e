"""The backbone before it is made: its address, which needs no tensor, so that a launcher knows it too."""

from __future__ import annotations

from comface.config import PretrainConfig
from comface.manifest import Artifact, Draft
from comface.store import Store

STEP = "comface.pretrain.step"
RUNTIME_FIELDS = {"nodes", "gpus_per_node", "job", "loader_workers", "checkpoint_every_s"}
"""Fields that say where to train, not what: they are no part of the artifact's address."""


def draft_backbone(store: Store, config: PretrainConfig, shards: Artifact) -> Draft:
    made_from = config.model_dump(mode="json", exclude=RUNTIME_FIELDS)
    return Draft(store, "backbone", made_from, {"shards": shards}, STEP)
