"""Synthesize: one part of the composition, as tracks of JPEGs (section 3.1; 101 images per track by default).

In: SynthesizeConfig, the number of the part, weight files. Out: an artifact of kind `tracks`: chunk-00000.tar with
chunk-00000.index.json and chunk-00000.screened.json (in which identities a face was found), …, sheet.jpg. Chunks are
stored as they are finished; a part that was killed keeps them, resumes, and ends with the same bytes. Rendering
(device), encoding and storing (threads) overlap; what is held in memory is two chunks, whatever the size of the part.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from comface.artifacts.manifest import Artifact, Draft
from comface.directions.edits import swept
from comface.faces import REVISION as FACES
from comface.faces.detection import finder_files
from comface.faces.lightness import skin_lightness
from comface.generators import load_generator
from comface.generators.registry import generator as registered
from comface.runtime.monitoring import Monitor, open_monitor
from comface.runtime.progress import counted, duration, shown
from comface.store import Store
from comface.synthesize.chunk import Chunk, LookedAt, adopt_chunk, make_chunk
from comface.synthesize.tally import Tally
from comface.tracks.composition import Identity, check_names, chunks, identities, part_identities, tracks, tracks_of
from comface.tracks.config import SynthesizeConfig
from comface.tracks.screen import Finder, finder_for
from comface.tracks.sources import Load, Source, open_sources
from comface.tracks.supplies import Files
from comface.tracks.sweep import encode, render_track, unedited_face
from comface.tracks.tar import Track

logger = logging.getLogger(__name__)

T = TypeVar("T")
REVISION = 1
"""Raised when a generator's tracks come out otherwise, by this package or by tracks/."""
ENCODERS = 2
"""Threads that encode: at 256 px one of them keeps pace with 7,000 images/s."""
WAITING_TRACKS = 8
"""Rendered tracks that may wait for an encoder (20 MB each at 101 images of 256 px)."""


@dataclass
class Seconds:
    """What a part spent where. Told on the log, never in the manifest, which is bit-reproducible."""

    render: float = 0.0
    screen: float = 0.0
    wait: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def tell(self, tracks: int, images: int) -> None:
        total = time.monotonic() - self.started
        logger.info(
            f"{counted(tracks, 'track')}, {counted(images, 'image')} in {duration(total)} (rendering "
            f"{duration(self.render)}, screening {duration(self.screen)}, waiting for encoder and store "
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
    """Make, or find made, one part. `files`: what the weights location holds for the StyleGANs. `load` opens
    generators; `find` replaces the finder of faces used for screening.

    Raises ConfigurationError for a part, generator or attribute that is not there, before anything is rendered."""
    check_names(config)
    whole = part_identities(config, part)
    pieces = chunks(config, part)
    names = [next(identities(config, piece)).generator for piece in pieces]
    sources = open_sources(config, names, weights or {}, device, load, files)
    made_from = {
        "synthesize": config.model_dump(mode="json"),
        "part": part,
        "generators": {name: dict(source.fingerprint) for name, source in sources.items()},
        "files_sha256": finder_files() if config.screen_faces and any(finder_for(name) for name in sources) else {},
    }
    revisions = {"synthesize": REVISION, "faces": FACES} | {name: registered(name).revision for name in sources}
    draft = Draft(store, "tracks", made_from, {}, revisions)
    published = draft.published()
    if published is not None:
        return published
    tally, seconds = Tally(config, part, identities(config, whole)), Seconds()
    work = _Work(config, draft, sources, find, seconds, tally).run(pieces)
    for _ in shown(work, "rendering", total=len(whole), unit="identity"):
        pass
    draft.write("sheet.jpg", tally.sheet())
    facts = tally.facts()
    seconds.tell(facts.tracks, facts.images)
    return draft.publish(facts.record())


@dataclass
class _Work:
    config: SynthesizeConfig
    draft: Draft
    sources: Mapping[str, Source]
    find: Finder | None
    seconds: Seconds
    tally: Tally
    monitor: Monitor = field(default_factory=open_monitor)

    def run(self, pieces: list[range]) -> Iterator[Identity]:
        """Makes or adopts every chunk, yielding each identity when it is rendered or found unneeded."""
        with ThreadPoolExecutor(ENCODERS) as encoders, ThreadPoolExecutor(1) as storer:
            storing: deque[Future[Chunk]] = deque()
            for number, piece in enumerate(pieces):
                name = f"chunk-{number:05d}"
                chunk = adopt_chunk(self.draft, name, list(tracks(self.config, piece)))
                if chunk is not None:
                    self._settle(storing, 0)
                    self.tally.add(chunk)
                    yield from identities(self.config, piece)
                    continue
                rendered: list[tuple[Track, Future[list[bytes]]]] = []
                looked_at: list[LookedAt] = []
                for identity in identities(self.config, piece):
                    if self._shows_face(identity, looked_at):
                        self._render(identity, encoders, rendered)
                    yield identity
                storing.append(storer.submit(make_chunk, self.draft, name, rendered, looked_at))
                self._settle(storing, 1)
            self._settle(storing, 0)

    def _shows_face(self, identity: Identity, looked_at: list[LookedAt]) -> bool:
        """Where the configuration asks for a look and the generator does not draw a face every time."""
        find = (self.find or finder_for(identity.generator)) if self.config.screen_faces else None
        if find is None:
            return True
        started = time.monotonic()
        generator = self.sources[identity.generator].generator
        image_HW3 = unedited_face(generator, identity.seed, self.config.truncation_psi)
        seen = LookedAt(
            generator=identity.generator, identity=identity.name, lightness=round(skin_lightness(image_HW3), 1),
            face=find(image_HW3),
        )  # fmt: skip
        looked_at.append(seen)
        self.seconds.screen += time.monotonic() - started
        return seen.face

    def _render(
        self, identity: Identity, encoders: ThreadPoolExecutor, rendered: list[tuple[Track, Future[list[bytes]]]]
    ) -> None:
        source, config = self.sources[identity.generator], self.config
        for track in tracks_of(identity, config.alphas):
            started = time.monotonic()
            change = source.edits[track.attribute]
            edited = swept(source.generator, [identity.seed], change, config.alphas, config.truncation_psi)[0]
            images_AHW3 = render_track(source.generator, edited, config.image_size_px)
            self.seconds.render += time.monotonic() - started
            rendered.append((track, encoders.submit(encode, images_AHW3, config.jpeg_quality)))
            self.monitor.add("comface_synthesize_tracks_total")
            self.monitor.add("comface_synthesize_images_total", len(config.alphas))
            if len(rendered) > WAITING_TRACKS:
                self._wait(rendered[-1 - WAITING_TRACKS][1].result)

    def _settle(self, storing: deque[Future[Chunk]], most: int) -> None:
        """Waits until at most `most` chunks are being stored, and counts the others."""
        while len(storing) > most:
            self.tally.add(self._wait(storing.popleft().result))

    def _wait(self, result: Callable[[], T]) -> T:
        started = time.monotonic()
        value = result()
        self.seconds.wait += time.monotonic() - started
        return value


def preflight(
    config: SynthesizeConfig,
    weights: Mapping[str, Path] | None = None,
    load: Load = load_generator,
    files: Mapping[str, Files] | None = None,
) -> None:
    """What a run checks before anything expensive: every generator loads, every attribute has its direction, every
    part exists. Raises ConfigurationError or DataError, one sentence."""
    check_names(config)
    part_identities(config, config.parts - 1)
    open_sources(config, (share.generator for share in config.composition), weights or {}, "cpu", load, files)
