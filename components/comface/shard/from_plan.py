"""The entry point of the shard component.

In: a plan and the URIs of all parts. Out: the artifact's key, and a summary as Markdown. Unless screening.action is
"skip", the tracks are screened first. Screening runs in this component, so it needs no extra pod and ends before
pre-training starts.
"""

from __future__ import annotations

from comface.artifacts.facts import ScreeningFacts, ShardsFacts
from comface.artifacts.manifest import Artifact
from comface.artifacts.plans import Plan, hand_on, handed
from comface.execution import execute
from comface.execution.pages import write_text
from comface.screening.config import ScreeningConfig
from comface.shard.config import ShardConfig
from comface.store import Store


class ShardPlan(Plan):
    shard: ShardConfig
    screening: ScreeningConfig
    reuse: bool = False
    """Whether the run uses a backbone that exists, so that there are no tracks."""


def shard_tracks(plan: str, tracks: list[str], summary_path: str) -> str:
    """Return the key of the `shards` artifact; empty if the run needs none."""

    def work(store: Store, planned: ShardPlan) -> str:
        from comface.screening.table import markdown_table
        from comface.shard.step import shard
        from comface.tracks.located import check_parts

        if planned.reuse:
            write_text(summary_path, "No faces were generated: the run uses a backbone that exists.\n")
            return ""
        parts = handed(store, planned.run, tracks, "part")
        screening = planned.screening
        screened: Artifact | None = None
        if screening.action != "skip":
            from comface.screening.step import screen_tracks

            check_parts(parts)
            screened = screen_tracks(store, screening, parts)
        shards = shard(store, planned.shard, parts, screened, screening.action)
        facts = shards.facts_as(ShardsFacts)
        rows = [
            f"| {name} | {split.identities} | {split.tracks} | {split.images} | {len(split.shards)} |"
            for name, split in (("train", facts.train), ("validation", facts.validation))
        ]
        head = ["| split | identities | tracks | images | shards |", "|---|---|---|---|---|"]
        verdicts = ["", *markdown_table(screened.facts_as(ScreeningFacts))] if screened is not None else []
        write_text(summary_path, "\n".join([*head, *rows, *verdicts, ""]))
        return hand_on(store, planned.run, shards)

    return execute("shard", plan, ShardPlan, work)
