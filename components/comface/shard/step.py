"""Shard: the tracks of all parts, split 90/10 by identity, mixed, in tar files with an index (docs/architecture.md).

In: ShardConfig and every `tracks` artifact; a screening, which may leave tracks out and narrow the range of alpha. Out:
an artifact of kind `shards`: train-00000.tar, train-00000.index.json, …, validation-00000.tar, …. Two passes: the
parts' indices decide everything (plan.py), then shard by shard is read by ranges, checked against the crc32 of every
image, and written; one shard is in memory at a time. Finished shards survive a kill.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from comface.artifacts.facts import SPLITS, ShardsFacts, SplitFacts, TracksFacts, by_attribute
from comface.artifacts.manifest import Artifact, Draft
from comface.runtime.progress import shown
from comface.shard.config import ShardConfig
from comface.shard.plan import Plan, plan
from comface.shard.screened import Screened
from comface.store import Store
from comface.tracks.located import INDEX, Located, check_parts, located_tracks, track_jpegs
from comface.tracks.tar import TrackTar

REVISION = 1
"""Raised when other bytes are made of the same tracks."""
READERS = 8
"""Ranges asked for at once: a track is one request of about 1.2 MB, whose price at a store is its latency."""


def shard(
    store: Store,
    config: ShardConfig,
    tracks: Sequence[Artifact],
    screening: Artifact | None = None,
    action: str = "report",
) -> Artifact:
    """Make, or find made, the shards of these parts. The order in which they are given does not matter. With `action`
    restrict or refuse, what `screening` drops is left out; with report it is only named among the inputs.

    Raises DataError for parts that do not fit together, a key that comes twice, images that are not what was
    synthesized, and, with refuse, an attribute that did not pass screening."""
    parts = sorted(tracks, key=lambda artifact: artifact.uri)
    check_parts(parts)
    screened = Screened.read(screening) if screening is not None and action in ("restrict", "refuse") else None
    if screened is not None and action == "refuse":
        screened.check()
    inputs = {f"tracks-{i:05d}": artifact for i, artifact in enumerate(parts)}
    made_from = config.model_dump(mode="json") | ({"screened": True} if screened is not None else {})
    inputs |= {"screening": screening} if screening else {}
    draft = Draft(store, "shards", made_from, inputs, {"shard": REVISION})
    published = draft.published()
    if published is not None:
        return published
    everything = list(located_tracks(parts))
    kept = everything if screened is None else [item for item in everything if screened.keeps(item.track)]
    planned = plan(kept, config)
    items = list(planned.items())
    with ThreadPoolExecutor(READERS) as readers:
        for _, name, located in shown(items, "packing", unit="shard"):
            if not _adopted(draft, name, located):
                _write(draft, name, located, parts, readers)
    facts = facts_of(planned, [part.facts_as(TracksFacts) for part in parts]).record()
    if screened is not None:
        facts |= {"alpha_ranges": screened.ranges(), "screened_out_tracks": len(everything) - len(kept)}
    return draft.publish(facts)


def facts_of(planned: Plan, parts: Sequence[TracksFacts]) -> ShardsFacts:
    """What the manifest says: the contract of `shards` and what is in it."""
    alphas = parts[0].alphas
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
        image_size_px=parts[0].image_size_px,
        alphas=alphas,
        generators=tuple(sorted({name for part in parts for name in part.generators})),
        dropped_identities=sum(part.dropped.identities for part in parts),
        embedded=all(part.embedded for part in parts),
        rehearsal=any(part.rehearsal for part in parts),
    )


def _adopted(draft: Draft, name: str, located: Sequence[Located]) -> bool:
    """Whether an interrupted run had written this shard, whole and of these images."""

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
    draft: Draft, name: str, located: Sequence[Located], parts: Sequence[Artifact], readers: ThreadPoolExecutor
) -> None:
    tar = TrackTar()
    jpegs = readers.map(lambda item: track_jpegs(parts[item.part], item), located)
    for item, images in zip(located, jpegs, strict=True):
        tar.add(item.track, images)
    draft.write(f"{name}.tar", tar.close())
    draft.write(f"{name}.index.json", INDEX.dump_json(tar.index))
