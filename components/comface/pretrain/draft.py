"""The address and the memory needs of a backbone, computed without torch, so that the launcher can use them too."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from comface.artifacts.manifest import Artifact, Draft
from comface.config.section import Section
from comface.errors import ConfigurationError
from comface.networks import WITHOUT_BATCHNORM
from comface.pretrain.config import PretrainConfig
from comface.runtime.cores import GPU_FILE, usable_cores
from comface.store import Store

REVISION = 4
"""Raise it when a change here or in networks/ gives another backbone for the same shards and settings."""
RUNTIME_FIELDS = {
    "nodes", "gpus_per_node", "processes", "job", "loader_workers", "data_timeout_s", "cache_gib", "checkpoint_every_s",
    "keep_checkpoints", "profile_steps", "accumulate", "cuda_graph", "reuse",
}  # fmt: skip
"""Fields that do not affect the result; they are not part of the artifact's address."""
ALWAYS_ADDRESSED = {
    "backbone", "image_size_px", "view_share", "learning", "target", "curriculum", "curriculum_ends", "temperature",
    "projection_hidden", "projection_width", "intra_weight", "epochs", "pairs_per_step", "steps_per_epoch", "optimizer",
    "learning_rate", "head_rate_factor", "halve_at_epoch", "cosine", "weight_decay", "augmentation", "precision",
    "seed", "crop_min_area", "flip", "brightness", "contrast", "saturation", "hue", "grayscale", "rotation_deg",
    "side_light",
}  # fmt: skip
"""Fields of the address whatever their value. A field that was added later is left out while it has its default, so
that the backbones from before it keep their addresses. So whoever changes the default of such a field raises
REVISION."""
LEAST_SHARE = 10
"""Pairs per step for which a further process on a CPU pays."""
PREFETCH = 2
"""Number of pieces of batches that each loader process prepares in advance."""
PIECE_PAIRS = 64
"""Largest piece of a batch. Several processes share a large batch, so that fewer batches are in memory."""


def draft_backbone(
    store: Store, config: PretrainConfig, shards: Artifact, environment: Mapping[str, str] = os.environ
) -> Draft:
    """Return the draft of the `backbone` artifact. Pairs and views do not depend on the number of processes, but
    BatchNorm over the local batch does: each process normalises with the statistics of its share. In that case the
    number of processes is part of the address. A process that accumulates over k parts of its share counts as k."""
    made_from = addressed(config, RUNTIME_FIELDS)
    if config.backbone in WITHOUT_BATCHNORM:
        made_from.pop("batchnorm", None)
    elif config.batchnorm == "local":
        made_from["batchnorm_over_processes"] = process_count(config, environment) * config.accumulate
    return Draft(store, "backbone", made_from, {"shards": shards}, {"pretrain": REVISION})


def addressed(section: Section, left_out: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of `section` that decide the address, also within the sections in it."""
    values = section.model_dump(mode="json")
    made_from = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name in left_out or (name not in ALWAYS_ADDRESSED and value == field.get_default(call_default_factory=True)):
            continue
        made_from[name] = addressed(value) if isinstance(value, Section) else values[name]
    return made_from


def process_count(config: PretrainConfig, environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of training processes: WORLD_SIZE under torchrun, else the number that will be started."""
    return int(environment.get("WORLD_SIZE", "0")) or config.nodes * (config.gpus_per_node or cpu_processes(config))


def cpu_processes(config: PretrainConfig) -> int:
    """Return the number of training processes on the CPU of a node. If the configuration leaves it open: one per core
    that this process may use, with equal shares of a batch; one if a GPU is found, which the training then uses."""
    if config.nodes > 1:
        return 1
    if config.processes is not None:
        return config.processes
    most = 1 if GPU_FILE.exists() else min(usable_cores(), config.pairs_per_step // LEAST_SHARE)
    return max((count for count in range(1, most + 1) if config.pairs_per_step % count == 0), default=1)


def check_batch(pairs: int, processes: int, what: str = "pretrain.pairs_per_step", parts: int = 1) -> None:
    """Raises ConfigurationError, with the nearest numbers of pairs, if the processes cannot have equal shares of a
    batch, each of `parts` equal parts (accumulate). `what`: the field that sets the number of pairs."""
    count = processes * parts
    if pairs % count:
        below, above = pairs // count * count, -(-pairs // count) * count
        nearest = f"{below:,} or {above:,}" if below else f"{above:,}"
        each = f" with {parts:,} parts each (accumulate)" if parts > 1 else ""
        raise ConfigurationError(
            f"{what}: {pairs:,} pairs do not divide by {processes:,} processes{each}; use {nearest}."
        )


def batch_bytes(pairs: int, image_size_px: int) -> int:
    """Return the memory in bytes of a batch of `pairs` pairs: stored images (uint8, 3 channels), alphas, indices and
    sizes, each padded to 8 bytes."""
    return pairs * (2 * 3 * image_size_px**2 + 3 * 8 + 2 * 4 + 2 * 4) + 8


def pieces_of(pairs: int) -> int:
    """Return the number of pieces of a batch, each of which one loader process decodes."""
    return -(-pairs // PIECE_PAIRS)


def batches_ahead(workers: int, pairs: int) -> int:
    """Return the number of batches that are in memory at once: PREFETCH pieces for each loader process, and the batch
    in use."""
    return 1 + max(PREFETCH, -(-PREFETCH * workers // pieces_of(pairs))) if workers else 1


def loader_bytes(workers: int, pairs: int, image_size_px: int) -> int:
    """Return the memory in bytes for the training batches of one process, which have `pairs` pairs."""
    return batches_ahead(workers, pairs) * batch_bytes(pairs, image_size_px)
