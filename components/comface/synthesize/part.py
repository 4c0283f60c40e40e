"""A part: a reference to each of its blocks, their counts and a contact sheet.

In: the blocks of a part and their artifacts. Out: an artifact of kind `part` with the blocks as inputs. It contains
sheet.jpg. Its facts depend on the blocks only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from comface.artifacts.facts import Dropped, PartFacts, TracksFacts, by_attribute
from comface.artifacts.manifest import Artifact, Draft
from comface.generators.registry import generator as registered
from comface.store import Store
from comface.tracks.blocks import Block, part_count
from comface.tracks.config import SynthesizeConfig
from comface.tracks.contact_sheet import sheet_of
from comface.tracks.looks import faces_by_lightness, looked_at

REVISION = 1
"""Raise it when the same blocks give other facts or another contact sheet."""
Kind = tuple[str, str]
"""(generator, attribute)"""


def publish_part(
    store: Store, config: SynthesizeConfig, part: int, blocks: Sequence[Block], tracks: Sequence[Artifact]
) -> Artifact:
    """Publish the part, or return it if it is published. `tracks`: the artifacts of the blocks."""
    inputs = {f"tracks-{number:05d}": each for number, each in enumerate(tracks)}
    # The precision is left out: where it decides bytes, the blocks have it in their address.
    made_from = {"synthesize": config.model_dump(mode="json", exclude={"precision"}), "part": part}
    draft = Draft(store, "part", made_from, inputs, {"synthesize": REVISION})
    if (done := draft.published()) is not None:
        return done
    facts = _facts(config, part, blocks, [each.facts_as(TracksFacts) for each in tracks])
    title = f"Part {part} of {facts.parts}: {facts.tracks:,} tracks; columns: alpha"
    draft.write("sheet.jpg", sheet_of(tracks, title))
    return draft.publish(facts.record())


def _facts(config: SynthesizeConfig, part: int, blocks: Sequence[Block], tracks: Sequence[TracksFacts]) -> PartFacts:
    planned, kept = Counter[Kind](), Counter[Kind]()
    for block, made in zip(blocks, tracks, strict=True):
        planned[block.generator, block.attribute] += block.count
        kept[block.generator, block.attribute] += made.tracks
    identities = {(block.generator, number) for block in blocks for number in block.numbers}
    dropped = sum(not look.face for look in looked_at(tracks).values())
    generators = sorted({generator for generator, _ in planned})
    return PartFacts(
        part=part,
        parts=part_count(config),
        tracks=kept.total(),
        images=kept.total() * len(config.alphas),
        identities=len(identities) - dropped,
        tracks_by_attribute=by_attribute(kept),
        dropped=Dropped(
            identities=dropped,
            tracks=planned.total() - kept.total(),
            tracks_by_attribute=by_attribute(planned - kept),
        ),
        faces_by_lightness=faces_by_lightness(tracks),
        alphas=config.alphas,
        image_size_px=config.image_size_px,
        generators=tuple(generators),
        embedded=all(registered(name).embedded for name in generators),
        rehearsal=any(registered(name).drawn for name in generators),
    )
