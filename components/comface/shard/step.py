"""Shard: the tracks of all parts, split 90/10 by identity and shuffled, in tar files with an index
(docs/architecture.md).

In: ShardConfig and all parts; optionally a screening, which can drop tracks and narrow the range of alpha. Out: an
artifact of kind `shards`: train-00000.tar, train-00000.index.json, …, validation-00000.tar, …; for each split the index
of all its shards as arrays (tracks/shard_index.py); and sheet-0.jpg, …, a contact sheet per generator in the order of
the facts' `generators`. There are two passes.
The first assigns tracks to shards from the indices alone (plan.py). The second reads the tracks of each shard by
ranges, checks the crc32 of every image and writes the shard. One shard is in memory at a time. A killed run keeps its
finished shards.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from comface.artifacts.facts import SPLITS, ShardsFacts, SplitFacts, TracksFacts, by_attribute
from comface.artifacts.manifest import Artifact, Draft
from comface.generators.registry import generator as registered
from comface.runtime.progress import shown
from comface.shard.config import ShardConfig
from comface.shard.plan import Plan, plan
from comface.shard.screened import Screened
from comface.store import Store
from comface.tracks.contact_sheet import sheet_of
from comface.tracks.located import INDEX, Located, check_parts, located_tracks, track_jpegs, tracks_of_parts
from comface.tracks.looks import faces_by_lightness, looked_at
from comface.tracks.shard_index import image_bytes, images_name, table_bytes, table_name
from comface.tracks.tar import TrackTar

REVISION = 3
"""Raised if the same tracks give other bytes."""
READERS = 8
"""Parallel range reads: a track is one request of about 1.2 MB, and the store's latency dominates its time."""


def shard(
    store: Store,
    config: ShardConfig,
    parts: Sequence[Artifact],
    screening: Artifact | None = None,
    action: str = "report",
) -> Artifact:
    """Make the shards of these parts, or return them if they are published. Their address depends on the tracks, not on
    the number or order of the parts. With `action` "restrict" or "refuse", tracks that `screening` drops are left out;
    with "report", `screening` is only listed among the inputs.

    Raises DataError if the parts do not form one data set, a key occurs twice or an image is damaged; with "refuse",
    also if an attribute did not pass screening."""
    check_parts(parts)
    tracks = tracks_of_parts(parts)
    screened = Screened.read(screening) if screening is not None and action in ("restrict", "refuse") else None
    if screened is not None and action == "refuse":
        screened.check()
    inputs = {f"tracks-{i:05d}": artifact for i, artifact in enumerate(tracks)}
    made_from = config.model_dump(mode="json") | ({"screened": True} if screened is not None else {})
    inputs |= {"screening": screening} if screening else {}
    draft = Draft(store, "shards", made_from, inputs, {"shard": REVISION})
    published = draft.published()
    if published is not None:
        return published
    everything = list(located_tracks(tracks))
    kept = everything if screened is None else [item for item in everything if screened.keeps(item.track)]
    planned = plan(kept, config)
    items = list(planned.items())
    with ThreadPoolExecutor(READERS) as readers:
        for _, name, located in shown(items, "packing", unit="shard"):
            if not _adopted(draft, name, located):
                _write(draft, name, located, tracks, readers)
    for split in SPLITS:
        draft.write(table_name(split), table_bytes(planned.shards[split]))
        draft.write(images_name(split), image_bytes(planned.shards[split]))
    facts = facts_of(planned, tracks).record()
    for number, generator in enumerate(facts["generators"]):
        own = [each for each in tracks if each.facts_as(TracksFacts).generator == generator]
        held = sum(each.facts_as(TracksFacts).tracks for each in own)
        draft.write(f"sheet-{number}.jpg", sheet_of(own, f"{generator}: {held:,} tracks; columns: alpha"))
    if screened is not None:
        facts |= {"alpha_ranges": screened.ranges(), "screened_out_tracks": len(everything) - len(kept)}
    return draft.publish(facts)


def facts_of(planned: Plan, tracks: Sequence[Artifact]) -> ShardsFacts:
    """The facts of the manifest: the contents of the shards and the properties that readers rely on."""
    held = [each.facts_as(TracksFacts) for each in tracks]
    alphas, generators = held[0].alphas, sorted({each.generator for each in held})
    splits = {}
    for split in SPLITS:
        located = [track for shard_tracks in planned.shards[split] for track in shard_tracks]
        splits[split] = SplitFacts(
            shards=tuple(f"{name}.tar" for side, name, _ in planned.items() if side == split),
            tracks=len(located),
            images=len(located) * len(alphas),
            identities=len({item.track.identity for item in located}),
            tracks_by_attribute=by_attribute(Counter((item.track.generator, item.track.attribute) for item in located)),
        )
    return ShardsFacts(
        train=splits["train"],
        validation=splits["validation"],
        image_size_px=held[0].image_size_px,
        alphas=alphas,
        generators=tuple(generators),
        dropped_identities=sum(not look.face for look in looked_at(held).values()),
        faces_by_lightness=faces_by_lightness(held),
        embedded=all(registered(name).embedded for name in generators),
        rehearsal=any(registered(name).drawn for name in generators),
    )


def _adopted(draft: Draft, name: str, located: Sequence[Located]) -> bool:
    """Adopt the shard if an interrupted run has written it completely, with these images. Return whether it did."""

    def whole(listing: bytes, data: bytes) -> bool | None:
        try:
            index = INDEX.validate_json(listing)
        except ValidationError:
            return None
        if [indexed.track.key for indexed in index] != [item.track.key for item in located]:
            return None
        return (
            all(
                zlib.crc32(data[member.offset : member.offset + member.size_bytes]) == int(crc32)
                for indexed, item in zip(index, located, strict=True)
                for member, crc32 in zip(indexed.images, item.crc32_A, strict=True)
            )
            or None
        )

    return bool(draft.adopt((f"{name}.index.json", f"{name}.tar"), whole))


def _write(
    draft: Draft, name: str, located: Sequence[Located], tracks: Sequence[Artifact], readers: ThreadPoolExecutor
) -> None:
    tar = TrackTar()
    jpegs = readers.map(lambda item: track_jpegs(tracks[item.block], item), located)
    for item, images in zip(located, jpegs, strict=True):
        tar.add(item.track, images)
    draft.write(f"{name}.tar", tar.close())
    draft.write(f"{name}.index.json", INDEX.dump_json(tar.index))
