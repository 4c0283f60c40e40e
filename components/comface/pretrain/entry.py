"""Pretrain as a component calls it: a plan and shards in, an artifact's URI, a picture and metrics out."""

from __future__ import annotations

from typing import Any

from comface.config import PretrainConfig, parse
from comface.execution import cache_folder, execute
from comface.manifest import open_artifact
from comface.pictures import picture_page, write_text
from comface.store import Store


def pretrain_backbone(plan: str, shards: str, curve_path: str) -> tuple[str, dict[str, float]]:
    """(URI of the backbone, figures for the UI)."""

    def work(store: Store, values: dict[str, Any]) -> tuple[str, dict[str, float]]:
        from comface.pretrain.step import pretrain

        config = parse(PretrainConfig, values["pretrain"])
        backbone = pretrain(store, config, open_artifact(shards, "shards"), cache_folder())
        validation = backbone.facts["validation"]
        note = f"{config.backbone}, {backbone.facts['steps']} steps of {config.pairs_per_step} pairs"
        write_text(curve_path, picture_page("Pre-training", backbone.read("curve.png"), note))
        return backbone.uri, {f"held_out_{k}": v for k, v in validation.items() if v is not None}

    return execute("pretrain", plan, work, shares_cores=False)
