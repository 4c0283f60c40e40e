"""In which generated identities a face was found: what synthesize wrote down of those that it looked at.

In: the facts of artifacts of kind `tracks`. Out: a look per identity, however many attributes it is swept along.
"""

from __future__ import annotations

from collections.abc import Iterable

from comface.artifacts.facts import LookedAt, TracksFacts
from comface.faces.lightness import Counts, counted


def looked_at(tracks: Iterable[TracksFacts]) -> dict[str, LookedAt]:
    """By the name of the identity."""
    return {look.identity: look for each in tracks for look in each.looked_at}


def faces_by_lightness(tracks: Iterable[TracksFacts]) -> dict[str, Counts]:
    """By generator."""
    by_generator: dict[str, list[TracksFacts]] = {}
    for each in tracks:
        by_generator.setdefault(each.generator, []).append(each)
    looks = {name: looked_at(each).values() for name, each in sorted(by_generator.items())}
    return {name: counted((look.lightness, look.face) for look in each) for name, each in looks.items() if each}
