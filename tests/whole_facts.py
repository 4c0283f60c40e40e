"""Facts of artifacts as their steps record them, for tests in which an artifact merely has to be there."""

from __future__ import annotations

from typing import Any

from comface.artifacts.facts import ShardsFacts, SplitFacts, TracksFacts


def tracks_facts() -> dict[str, Any]:
    """100 tracks of dcgan, 11 images each."""
    return TracksFacts(
        generator="dcgan",
        attribute="smile",
        identities=100,
        tracks=100,
        looked_at=(),
        alphas=tuple(float(alpha) for alpha in range(-5, 6)),
        image_size_px=64,
    ).record()


def shards_facts(**changed: Any) -> dict[str, Any]:
    """Those tracks, a tenth of them for validation."""

    def split(name: str, tracks: int) -> SplitFacts:
        by_attribute = {"dcgan": {"smile": tracks}}
        return SplitFacts(
            shards=(f"{name}-00000.tar",),
            tracks=tracks,
            images=11 * tracks,
            identities=tracks,
            tracks_by_attribute=by_attribute,
        )

    facts = ShardsFacts(
        train=split("train", 90),
        validation=split("validation", 10),
        image_size_px=64,
        alphas=tuple(float(alpha) for alpha in range(-5, 6)),
        generators=("dcgan", "procedural"),
        dropped_identities=0,
        embedded=True,
        rehearsal=True,
    )
    return facts.record() | changed
