"""The entry point of the synthesize component.

In: a plan and the number of a part. Out: the artifact's URI, and an HTML page with the contact sheet.
"""

from __future__ import annotations

from comface.artifacts.facts import PartFacts
from comface.artifacts.plans import Plan, hand_on
from comface.execution import execute
from comface.execution.pages import picture_page, write_text
from comface.runtime.folders import cache_folder
from comface.store import Store
from comface.tracks.config import SynthesizeConfig
from comface.tracks.supplies import Supply, open_supplies


class SynthesizePlan(Plan):
    synthesize: SynthesizeConfig
    weights: str
    """The weights location."""
    supplies: dict[str, Supply]
    """Generator -> its files in the weights location."""


NO_PART = -1
"""The only item of the loop if the run uses a backbone that exists: the local runner cannot collect from no items."""


def synthesize_part(plan: str, part: int, sheet_path: str) -> str:
    """Return the key of the part; empty for NO_PART."""

    def work(store: Store, planned: SynthesizePlan) -> str:
        if part == NO_PART:
            write_text(sheet_path, "<p>No faces were generated: the run uses a backbone that exists.</p>")
            return ""
        import torch

        from comface.synthesize.step import synthesize

        torch.set_num_threads(1)  # parts run in parallel
        device = "cuda" if torch.cuda.is_available() else "cpu"
        files = open_supplies(planned.weights, planned.supplies, cache_folder())
        tracks = synthesize(store, planned.synthesize, part, device=device, files=files)
        facts = tracks.facts_as(PartFacts)
        dropped = facts.dropped.identities
        note = f"{facts.tracks} tracks, {facts.images} images; identities dropped because no face was found: {dropped}"
        write_text(sheet_path, picture_page(f"Synthetic faces, part {part}", tracks.read("sheet.jpg"), note))
        return hand_on(store, planned.run, tracks)

    return execute("synthesize", plan, SynthesizePlan, work, item=f"part {part}")
