"""What a part made, counted from its chunks, and its contact sheet.

In: the chunks of a part, in order, made or adopted. Out: the facts of its manifest and sheet.jpg. Both are functions
of the chunks alone, so that a resumed part says the same as one made at a stretch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from comface.artifacts.facts import Dropped, TracksFacts, by_attribute
from comface.faces.lightness import counted
from comface.faces.photos import decode_photo
from comface.faces.sheet import Row, alpha_captions, contact_sheet, jpeg_bytes, spread
from comface.generators.registry import generator as registered
from comface.synthesize.chunk import Chunk
from comface.tracks.composition import Identity
from comface.tracks.config import SynthesizeConfig

SHEET_ROWS, SHEET_COLUMNS = 12, 9

Kind = tuple[str, str]
"""(generator, attribute)"""


class Tally:
    def __init__(self, config: SynthesizeConfig, part: int, planned: Iterable[Identity]) -> None:
        self.config, self.part = config, part
        self._planned: Counter[Kind] = Counter()
        self._identities_planned = 0
        for identity in planned:
            self._identities_planned += 1
            self._planned.update((identity.generator, attribute) for attribute in identity.attributes)
        self._kept: Counter[Kind] = Counter()
        self._identities = 0
        self._looked_at: dict[str, list[tuple[float, bool]]] = {}
        self._columns = spread(len(config.alphas), SHEET_COLUMNS)
        self._rows: list[Row] = []
        kinds = list(self._planned)
        shown = [kinds[i] for i in spread(len(kinds), SHEET_ROWS)]
        self._quota: Counter[Kind] = Counter({kind: -(-SHEET_ROWS // len(shown)) for kind in shown})

    def add(self, chunk: Chunk) -> None:
        self._identities += len({indexed.track.identity for indexed in chunk.index})
        for seen in chunk.looked_at:
            self._looked_at.setdefault(seen.generator, []).append((seen.lightness, seen.face))
        for i, indexed in enumerate(chunk.index):
            kind = (indexed.track.generator, indexed.track.attribute)
            self._kept[kind] += 1
            if self._quota[kind] > 0 and len(self._rows) < SHEET_ROWS:
                self._quota[kind] -= 1
                caption = (indexed.track.attribute, indexed.track.identity)
                self._rows.append(
                    Row(caption, [decode_photo(chunk.image(i, a), "An image of the tracks") for a in self._columns])
                )

    def facts(self) -> TracksFacts:
        generators = sorted({generator for generator, _ in self._planned})
        tracks = self._kept.total()
        return TracksFacts(
            part=self.part,
            parts=self.config.parts,
            tracks=tracks,
            images=tracks * len(self.config.alphas),
            identities=self._identities,
            tracks_by_attribute=by_attribute(self._kept),
            dropped=Dropped(
                identities=self._identities_planned - self._identities,
                tracks=self._planned.total() - tracks,
                tracks_by_attribute=by_attribute(self._planned - self._kept),
            ),
            faces_by_lightness={name: counted(self._looked_at[name]) for name in sorted(self._looked_at)},
            alphas=self.config.alphas,
            image_size_px=self.config.image_size_px,
            generators=tuple(generators),
            embedded=all(registered(name).embedded for name in generators),
            rehearsal=any(registered(name).drawn for name in generators),
        )

    def sheet(self) -> bytes:
        alphas = alpha_captions([self.config.alphas[i] for i in self._columns])
        title = f"Part {self.part} of {self.config.parts}: {self._kept.total():,} tracks; columns: alpha"
        return jpeg_bytes(contact_sheet(self._rows, alphas, title))
