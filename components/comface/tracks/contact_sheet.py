"""The contact sheet of stored tracks: at most ROWS tracks, spread over generators and attributes.

In: artifacts of kind `tracks`. Out: a JPEG with one row per track and one column per alpha, which depends on the tracks
and the title only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from comface.artifacts.facts import TracksFacts
from comface.artifacts.manifest import Artifact
from comface.faces.photos import decode_photo
from comface.faces.sheet import Row, alpha_captions, contact_sheet, jpeg_bytes, spread
from comface.tracks.located import Located, located_tracks, track_jpegs

ROWS, COLUMNS = 12, 9


def sheet_of(tracks: Sequence[Artifact], title: str) -> bytes:
    alphas = tracks[0].facts_as(TracksFacts).alphas
    columns = spread(len(alphas), COLUMNS)
    rows = []
    for each, item in _chosen(tracks):
        jpegs = track_jpegs(each, item)
        images = [decode_photo(jpegs[column], "An image of the tracks") for column in columns]
        rows.append(Row((item.track.attribute, item.track.identity), images))
    return jpeg_bytes(contact_sheet(rows, alpha_captions([alphas[column] for column in columns]), title))


def _chosen(tracks: Sequence[Artifact]) -> Iterator[tuple[Artifact, Located]]:
    held = sorted((each for each in tracks if each.facts_as(TracksFacts).tracks), key=_order)
    kinds = list(dict.fromkeys(_order(each)[:2] for each in held))
    shown = [kinds[place] for place in spread(len(kinds), ROWS)]
    quota = Counter(shown[row % len(shown)] for row in range(ROWS) if shown)
    for each in held:
        wanted = quota[_order(each)[:2]]
        for item in list(located_tracks([each]))[:wanted] if wanted else ():
            quota[_order(each)[:2]] -= 1
            yield each, item


def _order(tracks: Artifact) -> tuple[str, str, int]:
    facts, identities = tracks.facts_as(TracksFacts), tracks.manifest.config["identities"]
    return facts.generator, facts.attribute, identities["first"]
