"""Synthesize: one part of the composition, as tracks of JPEGs (section 3.1; 101 images per track by default).

In: SynthesizeConfig, the number of the part, weight files. Out: an artifact of kind `part` whose inputs are its blocks,
each an artifact of kind `tracks` (tracks/blocks.py). A stored block is reused, even if another composition stored it;
a partially stored block is completed. A killed part keeps its finished blocks. Rendering (device), face detection,
encoding and storing (threads) overlap: a GPU gets the next track before the last one is complete. Two blocks are in
memory, however large the part is.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from comface.artifacts.facts import LookedAt, PartFacts, TracksFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.directions.edits import swept
from comface.faces.lightness import skin_lightness
from comface.generators import FaceGenerator
from comface.generators.registry import load_generator
from comface.runtime.monitoring import Monitor, open_monitor
from comface.runtime.progress import counted, duration, shown
from comface.store import Store
from comface.synthesize.part import publish_part
from comface.synthesize.stored import Jpegs, There, draft_block, publish_block, there
from comface.tracks.blocks import Block, part_blocks
from comface.tracks.composition import Identity, check_names, tracks_of
from comface.tracks.config import SynthesizeConfig
from comface.tracks.looks import looked_at
from comface.tracks.screen import Finder, finder_for
from comface.tracks.sources import Load, Source, open_sources
from comface.tracks.supplies import Files
from comface.tracks.sweep import Pixels, encode, start_faces, start_track
from comface.tracks.tar import Track

logger = logging.getLogger(__name__)

T = TypeVar("T")
ENCODERS = 2
"""Encoder threads: at 256 px, one thread encodes 7,000 images/s."""
WAITING_TRACKS = 8
"""Maximum number of tracks that a GPU has not completed or that wait for an encoder (20 MB each at 101 images of 256
px)."""
FACES_AT_ONCE = 16
"""Unedited faces that a GPU renders together for the face check. A CPU renders each alone, so that its bits do not
depend on the block."""


@dataclass
class Spent:
    """The number of tracks rendered for a part, and the time in seconds. The log reports them; the manifest does not
    contain them, because it is bit-reproducible."""

    tracks: int = 0
    render: float = 0.0
    """On a GPU: until its work is queued."""
    wait: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def tell(self, tracks: int, images: int) -> None:
        total = time.monotonic() - self.started
        logger.info(
            f"{counted(tracks, 'track')}, {counted(images, 'image')} ({counted(self.tracks, 'track')} rendered now) in "
            f"{duration(total)} (rendering {duration(self.render)}, waiting for face checks, encoder and store "
            f"{duration(self.wait)})"
        )


def synthesize(
    store: Store,
    config: SynthesizeConfig,
    part: int,
    weights: Mapping[str, Path] | None = None,
    device: str = "cpu",
    load: Load = load_generator,
    find: Finder | None = None,
    files: Mapping[str, Files] | None = None,
) -> Artifact:
    """Make one part, or return it if it is published. `files`: the StyleGANs' files from the weights location. `load`
    opens generators; `find` replaces the face check.

    Raises ConfigurationError before rendering if the part, a generator or an attribute does not exist."""
    check_names(config)
    wanted = part_blocks(config, part)
    sources = open_sources(config, (block.generator for block in wanted), weights or {}, device, load, files)
    work = _Work(store, config, sources, find)
    total = sum(block.count for block in wanted)
    for _ in shown(work.run(wanted), "rendering or reusing", total=total, unit="track"):
        pass
    made, spent = publish_part(store, config, part, wanted, work.made), work.spent
    facts = made.facts_as(PartFacts)
    spent.tell(facts.tracks, facts.images)
    return made


@dataclass
class _Work:
    store: Store
    config: SynthesizeConfig
    sources: Mapping[str, Source]
    find: Finder | None
    spent: Spent = field(default_factory=Spent)
    made: list[Artifact] = field(default_factory=list)
    """The artifacts of the blocks, in order."""
    looks: dict[str, Future[LookedAt]] = field(default_factory=dict)
    """The face checks of the current block's identities, by name."""
    numbers: range = range(0)
    monitor: Monitor = field(default_factory=open_monitor)

    def run(self, blocks: Sequence[Block]) -> Iterator[int]:
        """Make or find every block. Yield once per track: rendered, found in the store, or dropped without a face."""
        with (
            ThreadPoolExecutor(ENCODERS) as encoders,
            ThreadPoolExecutor(1) as screener,
            ThreadPoolExecutor(1) as storer,
        ):
            storing: deque[Future[Artifact]] = deque()
            for block in blocks:
                draft = self._draft(block)
                if (done := draft.published()) is not None:
                    self._settle(storing, 0)
                    self.made.append(done)
                    yield from block.numbers
                    continue
                stored = self._there(block)
                self._screen(block, stored, screener)
                tracks: list[tuple[Track, Future[Jpegs]]] = []
                for identity in block.identities():
                    self._take(block, identity, stored, encoders, tracks)
                    yield identity.number
                looks = [self.looks[i.name].result() for i in block.identities() if i.name in self.looks]
                storing.append(storer.submit(publish_block, draft, self.config, block, tracks, looks))
                self._settle(storing, 1)
            self._settle(storing, 0)

    def _take(
        self,
        block: Block,
        identity: Identity,
        stored: There,
        encoders: ThreadPoolExecutor,
        tracks: list[tuple[Track, Future[Jpegs]]],
    ) -> None:
        """Read or render one track, unless no face is found in its identity's image."""
        (track,) = tracks_of(identity, self.config.alphas)
        if identity.number in stored.numbers:
            if identity.name in stored.tracks:
                tracks.append((track, encoders.submit(stored.tracks[identity.name])))
        elif identity.name not in self.looks or self._wait(self.looks[identity.name].result).face:
            tracks.append((track, encoders.submit(_encoded, self._rendered(track), self.config.jpeg_quality)))
        if len(tracks) > WAITING_TRACKS:
            self._wait(tracks[-1 - WAITING_TRACKS][1].result)

    def _there(self, block: Block) -> There:
        """Return the stored tracks of the block. Collect the face checks of its identities from these tracks and from
        the blocks of other attributes."""
        if block.numbers != self.numbers:
            self.numbers, self.looks = block.numbers, {}
        stored = there(block, lambda other: self._draft(other).published())
        self._known({i.name: stored.looks[i.name] for i in block.identities() if i.name in stored.looks})
        if self._finder(block.generator) is not None:
            for attribute in block.beside:
                beside = self._draft(block.along(attribute)).published() if len(self.looks) < block.count else None
                self._known(looked_at([beside.facts_as(TracksFacts)] if beside else []))
        return stored

    def _known(self, looks: Mapping[str, LookedAt]) -> None:
        for name, look in looks.items():
            self.looks[name] = Future()
            self.looks[name].set_result(look)

    def _screen(self, block: Block, stored: There, screener: ThreadPoolExecutor) -> None:
        """Start the face checks of the identities whose tracks will be rendered, unless they are known."""
        if (find := self._finder(block.generator)) is None:
            return
        generator = self.sources[block.generator].generator
        unknown = [i for i in block.identities() if i.name not in self.looks and i.number not in stored.numbers]
        at_once = FACES_AT_ONCE if _on_gpu(generator) else 1
        for first in range(0, len(unknown), at_once):
            some = unknown[first : first + at_once]
            started = time.monotonic()
            faces = start_faces(generator, [i.seed for i in some], self.config.truncation_psi)
            self.spent.render += time.monotonic() - started
            for place, identity in enumerate(some):
                self.looks[identity.name] = screener.submit(_look, identity.name, faces, place, find)

    def _draft(self, block: Block) -> Draft:
        screened = self._finder(block.generator) is not None
        return draft_block(self.store, self.config, block, self.sources[block.generator], screened)

    def _finder(self, generator: str) -> Finder | None:
        """The face check; None if the configuration switches it off or the generator always draws a face."""
        return (self.find or finder_for(generator)) if self.config.screen_faces else None

    def _rendered(self, track: Track) -> Pixels:
        started, config, source = time.monotonic(), self.config, self.sources[track.generator]
        change = source.edits[track.attribute]
        edited = swept(source.generator, [track.seed], change, config.alphas, config.truncation_psi)[0]
        pixels = start_track(source.generator, edited, config.image_size_px)
        self.spent.render += time.monotonic() - started
        self.spent.tracks += 1
        self.monitor.add("comface_synthesize_tracks_total")
        self.monitor.add("comface_synthesize_images_total", len(config.alphas))
        return pixels

    def _settle(self, storing: deque[Future[Artifact]], most: int) -> None:
        """Wait until at most `most` blocks are being stored."""
        while len(storing) > most:
            self.made.append(self._wait(storing.popleft().result))

    def _wait(self, result: Callable[[], T]) -> T:
        started = time.monotonic()
        value = result()
        self.spent.wait += time.monotonic() - started
        return value


def _look(name: str, faces: Pixels, place: int, find: Finder) -> LookedAt:
    image_HW3: np.ndarray = faces()[place]
    return LookedAt(identity=name, lightness=round(skin_lightness(image_HW3), 1), face=find(image_HW3))


def _encoded(pixels: Pixels, quality: int) -> Jpegs:
    return encode(pixels(), quality)


def _on_gpu(generator: FaceGenerator) -> bool:
    device = getattr(generator, "device", None)
    return getattr(device, "type", "cpu") == "cuda"


def preflight(
    config: SynthesizeConfig,
    weights: Mapping[str, Path] | None = None,
    load: Load = load_generator,
    files: Mapping[str, Files] | None = None,
) -> None:
    """Check before any expensive step that every generator loads, every attribute has a direction and the parts exist.
    Raises ConfigurationError or DataError with one sentence."""
    check_names(config)
    part_blocks(config, 0)
    open_sources(config, (share.generator for share in config.composition), weights or {}, "cpu", load, files)
