"""Shard as a component calls it: a plan and the URIs of all parts in, an artifact's URI and a summary out."""

from __future__ import annotations

from typing import Any

from comface.config import ShardConfig, parse
from comface.execution import execute
from comface.manifest import open_artifact
from comface.pictures import write_text
from comface.store import Store


def shard_tracks(plan: str, tracks: list[str], summary_path: str) -> str:
    def work(store: Store, values: dict[str, Any]) -> str:
        from comface.shard.step import shard

        shards = shard(store, parse(ShardConfig, values["shard"]), [open_artifact(uri, "tracks") for uri in tracks])
        rows = [
            f"| {split} | {facts['identities']} | {facts['tracks']} | {facts['images']} | {len(facts['shards'])} |"
            for split, facts in ((name, shards.facts[name]) for name in ("train", "validation"))
        ]
        head = ["| split | identities | tracks | images | shards |", "|---|---|---|---|---|"]
        write_text(summary_path, "\n".join([*head, *rows, ""]))
        return shards.uri

    return execute("shard", plan, work)
