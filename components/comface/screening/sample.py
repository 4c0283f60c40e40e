"""The tracks to screen and their images: rendered for screening, or read as synthesize stored them.

In: a composition, or `tracks` artifacts. Out: for each generator and attribute, the tracks in a pseudo-random order;
the images of any track. The order depends on the seed and the keys only, so rendered and stored tracks give the same
sample.

Legend: A requested alphas, H = W side length.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from comface.artifacts.facts import TracksFacts
from comface.artifacts.manifest import Artifact
from comface.directions.edits import swept
from comface.faces.lightness import Counts, counted, skin_lightness
from comface.generators import FaceGenerator, edit
from comface.generators.registry import generator as registered
from comface.seeds import derive_seed
from comface.tracks.composition import Identity, identities, totals, tracks_of
from comface.tracks.config import SynthesizeConfig
from comface.tracks.located import Located, located_tracks, track_jpegs
from comface.tracks.looks import faces_by_lightness
from comface.tracks.screen import Finder, finder_for
from comface.tracks.sources import Load, Source
from comface.tracks.sweep import render_track, unedited_face
from comface.tracks.tar import Track

if TYPE_CHECKING:
    import torch

Kind = tuple[str, str]
"""(generator, attribute)"""
Pixels = NDArray[np.uint8]
LOOKED_AT = 400
"""Identities of a generator that are rendered to compare the detection rates of dark and light faces: 10 ms each."""


class Sample(Protocol):
    alphas: tuple[float, ...]
    kinds: tuple[Kind, ...]

    def tracks(self, kind: Kind) -> Iterator[Track]:
        """The tracks of a generator and attribute, in their pseudo-random order."""
        ...

    def images(self, track: Track, at: Sequence[int]) -> Pixels | None:
        """The track's images (A,H,W,3) at the alphas with the indices `at`; None if synthesize would drop the track."""
        ...

    def parameters(self, track: Track, at: Sequence[int]) -> Mapping[str, NDArray[np.float64]]:
        """The renderer's true parameters, each of shape (A,); empty if the generator has none."""
        ...

    def faces_by_lightness(self) -> dict[str, Counts]:
        """Generator -> counts of unedited images, and of those with a face, by skin lightness. Generators without a
        face check are absent."""
        ...


class RenderedSample:
    """Tracks as synthesize would make them, rendered on request."""

    def __init__(
        self, config: SynthesizeConfig, sources: Mapping[str, Source], seed: int, find: Finder | None = None
    ) -> None:
        self.config, self.sources, self.find, self.alphas = config, sources, find, config.alphas
        ordered: dict[Kind, list[tuple[int, Identity]]] = {}
        for identity in identities(config, range(totals(config).identities)):
            for attribute in identity.attributes:
                place = _place(seed, f"{identity.name}-{attribute}")
                ordered.setdefault((identity.generator, attribute), []).append((place, identity))
        self._ordered = {kind: sorted(ordered[kind]) for kind in sorted(ordered)}
        self.kinds = tuple(self._ordered)

    def tracks(self, kind: Kind) -> Iterator[Track]:
        for _, identity in self._ordered[kind]:
            yield from (track for track in tracks_of(identity, self.alphas) if track.attribute == kind[1])

    def images(self, track: Track, at: Sequence[int]) -> Pixels | None:
        source, config = self.sources[track.generator], self.config
        find = self._finder(track.generator)
        if find is not None and not find(self._unedited(track.generator, track.seed)):
            return None
        return render_track(source.generator, self._edited(track, at), config.image_size_px)

    def parameters(self, track: Track, at: Sequence[int]) -> Mapping[str, NDArray[np.float64]]:
        return _parameters(self.sources[track.generator].generator, lambda: self._edited(track, at))

    def faces_by_lightness(self) -> dict[str, Counts]:
        looked_at: dict[str, list[tuple[float, bool]]] = {}
        for name in sorted({kind[0] for kind in self.kinds}):
            if (find := self._finder(name)) is not None:
                seeds = {i.seed: None for kind in self.kinds if kind[0] == name for _, i in self._ordered[kind]}
                images = (self._unedited(name, seed) for seed in itertools.islice(seeds, LOOKED_AT))
                looked_at[name] = [(skin_lightness(image), find(image)) for image in images]
        return {name: counted(each) for name, each in looked_at.items()}

    def _finder(self, generator: str) -> Finder | None:
        return (self.find or finder_for(generator)) if self.config.screen_faces else None

    def _unedited(self, generator: str, seed: int) -> Pixels:
        return unedited_face(self.sources[generator].generator, seed, self.config.truncation_psi)

    def _edited(self, track: Track, at: Sequence[int]) -> torch.Tensor:
        source, alphas = self.sources[track.generator], [self.alphas[i] for i in at]
        change = source.edits[track.attribute]
        return swept(source.generator, [track.seed], change, alphas, self.config.truncation_psi)[0]


class StoredSample:
    """Tracks of `tracks` artifacts, read by ranges and checked by crc32, as in shard."""

    def __init__(self, tracks: Sequence[Artifact], seed: int, load: Load) -> None:
        self.stored, self.alphas = tracks, tracks[0].facts_as(TracksFacts).alphas
        by_kind: dict[Kind, list[Located]] = {}
        self._located: dict[str, Located] = {}
        for located in located_tracks(tracks):
            by_kind.setdefault((located.track.generator, located.track.attribute), []).append(located)
            self._located[located.track.key] = located
        self._ordered = {
            kind: sorted(by_kind[kind], key=lambda located: _place(seed, located.track.key)) for kind in sorted(by_kind)
        }
        self.kinds = tuple(self._ordered)
        told = {name for name, _ in self.kinds if registered(name).drawn}
        self._generators: dict[str, FaceGenerator] = {name: load(name, None, "cpu") for name in sorted(told)}

    def tracks(self, kind: Kind) -> Iterator[Track]:
        return (located.track for located in self._ordered[kind])

    def images(self, track: Track, at: Sequence[int]) -> Pixels | None:
        located = self._located[track.key]
        jpegs = track_jpegs(self.stored[located.block], located)
        return np.stack([simplejpeg.decode_jpeg(jpegs[i], colorspace="RGB") for i in at])

    def parameters(self, track: Track, at: Sequence[int]) -> Mapping[str, NDArray[np.float64]]:
        generator = self._generators.get(track.generator)
        if generator is None:
            return {}
        direction_1D, alphas = generator.direction(track.attribute), [self.alphas[i] for i in at]
        return _parameters(generator, lambda: edit(generator.latents([track.seed]), direction_1D, alphas)[0])

    def faces_by_lightness(self) -> dict[str, Counts]:
        return faces_by_lightness(each.facts_as(TracksFacts) for each in self.stored)


def sampled_identities(sample: Sample, generator: str, seed: int) -> Iterable[Track]:
    """One track of each identity of a generator, in a pseudo-random order that depends on seed and identities."""
    first: dict[str, Track] = {}
    for kind in sample.kinds:
        if kind[0] == generator:
            for track in sample.tracks(kind):
                first.setdefault(track.identity, track)
    return sorted(first.values(), key=lambda track: derive_seed(seed, "screening-gallery", track.identity))


def _place(seed: int, key: str) -> int:
    return derive_seed(seed, "screening", key)


def _parameters(generator: FaceGenerator, edited: Callable[[], torch.Tensor]) -> Mapping[str, NDArray[np.float64]]:
    truth = getattr(generator, "truth", None)
    if truth is None:
        return {}
    return {name: value_A.double().cpu().numpy() for name, value_A in truth(edited()).items()}
