"""The results of the face check, which synthesize stores in the facts of each block.

In: the facts of artifacts of kind `tracks`. Out: one result per identity, also if it is swept along several attributes.
"""

from __future__ import annotations

from collections.abc import Iterable

from comface.artifacts.facts import LookedAt, TracksFacts
from comface.faces.lightness import Counts, counted


def looked_at(tracks: Iterable[TracksFacts]) -> dict[str, LookedAt]:
    """Name of the identity -> result of its face check."""
    return {look.identity: look for each in tracks for look in each.looked_at}


def faces_by_lightness(tracks: Iterable[TracksFacts]) -> dict[str, Counts]:
    """Generator -> counts of faces by skin lightness. Generators without a face check are absent."""
    by_generator: dict[str, list[TracksFacts]] = {}
    for each in tracks:
        by_generator.setdefault(each.generator, []).append(each)
    looks = {name: looked_at(each).values() for name, each in sorted(by_generator.items())}
    return {name: counted((look.lightness, look.face) for look in each) for name, each in looks.items() if each}
