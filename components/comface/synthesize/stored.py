"""Blocks as artifacts: their address, their content, and the tracks that other compositions have stored.

An artifact of kind `tracks` is a block: tracks.tar, and tracks.index.json with the crc32 of every image, so that shard
can read ranges. Its facts list the identities whose unedited image was checked for a face.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from comface.artifacts.facts import LookedAt, TracksFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.faces import REVISION as FACES
from comface.faces.detection import finder_files
from comface.generators.registry import generator as registered
from comface.store import Store
from comface.tracks import REVISION as TRACKS
from comface.tracks.blocks import Block
from comface.tracks.config import SynthesizeConfig
from comface.tracks.located import INDEX, INDEX_NAME, TAR_NAME, located_tracks, track_jpegs
from comface.tracks.looks import looked_at
from comface.tracks.sources import Source
from comface.tracks.tar import Track, TrackTar

Jpegs = list[bytes]
Published = Callable[[Block], Artifact | None]


def draft_block(store: Store, config: SynthesizeConfig, block: Block, source: Source, screened: bool) -> Draft:
    """The draft of a block. `screened`: its identities are checked for a face. The address contains only the settings
    that the generator uses."""
    entry, made = registered(block.generator), source.made_from(block.attribute)
    numbers = block.numbers
    made_from: dict[str, Any] = {
        "generators": {block.generator: made},
        "attribute": block.attribute,
        "identities": {"seed": block.root_seed, "first": numbers.start, "step": numbers.step, "count": len(numbers)},
        "alphas": {"max": config.alpha_max, "step": config.alpha_step},
        "image_size_px": config.image_size_px,
        "jpeg_quality": config.jpeg_quality,
        "screened": screened,
    }
    if hasattr(source.generator, "truncate"):
        made_from["truncation_psi"] = config.truncation_psi
    if entry.poses:
        made_from["pose"] = [config.pseudo_aligned, *config.input_transform]
    revisions = {"tracks": TRACKS, block.generator: entry.revision}
    if screened:
        made_from["files_sha256"] = finder_files()
        revisions["faces"] = FACES
    return Draft(store, "tracks", made_from, {}, revisions)


def publish_block(
    draft: Draft,
    config: SynthesizeConfig,
    block: Block,
    made: Sequence[tuple[Track, Future[Jpegs]]],
    looks: Sequence[LookedAt],
) -> Artifact:
    """Wait for the images, then store and publish them."""
    tar = TrackTar()
    for track, jpegs in made:
        tar.add(track, jpegs.result())
    draft.write(TAR_NAME, tar.close())
    draft.write(INDEX_NAME, INDEX.dump_json(tar.index))
    facts = TracksFacts(
        generator=block.generator,
        attribute=block.attribute,
        identities=block.count,
        tracks=len(made),
        looked_at=tuple(looks),
        alphas=config.alphas,
        image_size_px=config.image_size_px,
    )
    return draft.publish(facts.record())


@dataclass
class There:
    """The stored tracks of a block that is not stored as a whole."""

    numbers: set[int] = field(default_factory=set)
    """Numbers of the identities whose track is not rendered again."""
    tracks: dict[str, partial[Jpegs]] = field(default_factory=dict)
    """Name of an identity -> function that reads its images. Identities without a face are absent."""
    looks: dict[str, LookedAt] = field(default_factory=dict)

    def add(self, block: Block, made: Artifact) -> None:
        self.numbers.update(block.numbers)
        self.looks |= looked_at([made.facts_as(TracksFacts)])
        for item in located_tracks([made]):
            self.tracks[item.track.identity] = partial(track_jpegs, made, item)


def there(block: Block, published: Published) -> There:
    """Find the stored tracks of a block. `published(block)`: the artifact of a block, or None. A wider block contains
    all tracks of this one. Without a wider block, the search continues with the narrower blocks that a shorter row has
    left, from left to right."""
    found = There()
    for wider in block.wider():
        if (made := published(wider)) is not None:
            found.add(wider, made)
            return found
    for narrower, made in _narrower(block, published):
        found.add(narrower, made)
    return found


def _narrower(block: Block, published: Published) -> Iterator[tuple[Block, Artifact]]:
    while block.count > 1:
        left, right = block.halves()
        if (made := published(left)) is not None:
            yield left, made
            block = right
        else:
            block = left
