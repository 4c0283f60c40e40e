"""The section `shard`: the split and the size of shards."""

from __future__ import annotations

from pydantic import Field

from comface.config.section import Section, Seed


class ShardConfig(Section):
    validation_fraction: float = Field(default=0.1, ge=0.001, lt=0.5, description="share of identities for validation")
    shard_size_mb: float = Field(default=96.0, ge=0.001, le=10_000, description="maximum size of a shard in MB")
    seed: Seed = Field(default=0, description="seed of the validation split and of the order of tracks")
