"""The tracks of a composition: pure functions from SynthesizeConfig to identities and tracks.

The default composition (350,000 tracks = 35.35 M images; docs/reproduction.md) is 50,000 StyleGAN identities x 3
attributes and 200,000 StyleGAN3 identities x 1 of 40 attributes. The seed of identity number n of a generator is
derive_seed(seed, "identity", generator, n). So tracks can be rendered on any machine and in any order, and a larger
composition contains the identities of a smaller one. Only one identity is in memory at a time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from comface.directions.published import attribute_name
from comface.errors import ConfigurationError
from comface.seeds import derive_seed
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.tar import LONGEST_KEY, Track


class Identity(NamedTuple):
    generator: str
    number: int
    """Index among the generator's identities of all shares."""
    attributes: tuple[str, ...]
    """The attributes along which it is swept."""
    root_seed: int

    @property
    def name(self) -> str:
        """GENERATOR-NUMBER, as in dcgan-0000123. The dots and the colon of `module.of_mine:function` become hyphens,
        because webdataset splits keys at dots."""
        return f"{self.generator.replace('.', '-').replace(':', '-')}-{self.number:07d}"

    @property
    def seed(self) -> int:
        return derive_seed(self.root_seed, "identity", self.generator, self.number)


@dataclass(frozen=True)
class Totals:
    tracks: int
    images: int
    identities: int
    tracks_by_attribute: dict[str, dict[str, int]]
    """generator -> attribute -> tracks"""


@dataclass(frozen=True)
class Placed:
    """A share of the composition, with the index of its first identity among all identities (`first_identity`) and
    among those of its generator (`first_number`)."""

    share: Share
    first_identity: int
    first_number: int

    def turns(self) -> list[tuple[str, ...]]:
        """Assign the share's attributes to its identities in rotation. Identity n is swept along the attributes
        turns[n % len(turns)]."""
        names, dealt = self.share.attributes, self.share.attributes_per_identity
        count = len(names) // math.gcd(len(names), dealt)
        return [tuple(names[(n * dealt + i) % len(names)] for i in range(dealt)) for n in range(count)]


def totals(config: SynthesizeConfig) -> Totals:
    by_attribute: dict[str, Counter[str]] = {}
    for share in config.composition:
        rounds, rest = divmod(share.identities * share.attributes_per_identity, len(share.attributes))
        counter = by_attribute.setdefault(share.generator, Counter())
        counter.update({name: rounds + (i < rest) for i, name in enumerate(share.attributes)})
    tracks = sum(share.identities * share.attributes_per_identity for share in config.composition)
    identities = sum(share.identities for share in config.composition)
    return Totals(tracks, tracks * len(config.alphas), identities, {g: dict(c) for g, c in by_attribute.items()})


def identities(config: SynthesizeConfig, which: range) -> Iterator[Identity]:
    """Yield the identities `which` of the composition, in order. The indices run over all shares."""
    for placed in placed_shares(config):
        share, turns = placed.share, placed.turns()
        start = max(which.start, placed.first_identity)
        stop = min(which.stop, placed.first_identity + share.identities)
        for index in range(start, stop):
            place = index - placed.first_identity
            attributes = turns[place % len(turns)]
            yield Identity(share.generator, placed.first_number + place, attributes, config.seed)


def tracks_of(identity: Identity, alphas: tuple[float, ...]) -> list[Track]:
    """The tracks of one identity, one per attribute it is swept along."""
    return [
        Track.model_construct(
            key=f"{identity.name}-{attribute}",
            generator=identity.generator,
            identity=identity.name,
            attribute=attribute,
            seed=identity.seed,
            alphas=alphas,
        )
        for attribute in identity.attributes
    ]


def check_names(config: SynthesizeConfig) -> None:
    """Raises ConfigurationError if a share names an attribute twice (in any spelling), or if the names are too long for
    a track's key."""
    for share in config.composition:
        longest = max(share.attributes, key=len)
        if len(Identity(share.generator, 0, (), 0).name) + 1 + len(longest) > LONGEST_KEY:
            raise ConfigurationError(
                f"The names '{share.generator}' and '{longest}' are too long for a track's key, which has at most "
                f"{LONGEST_KEY} characters; shorten one of them."
            )
        known = [attribute_name(name) for name in share.attributes]
        for name in share.attributes:
            if known.count(attribute_name(name)) > 1:
                raise ConfigurationError(f"The composition names '{name}' twice for '{share.generator}'; name it once.")


def placed_shares(config: SynthesizeConfig) -> Iterator[Placed]:
    identity = 0
    numbers: Counter[str] = Counter()
    for share in config.composition:
        yield Placed(share, identity, numbers[share.generator])
        identity += share.identities
        numbers[share.generator] += share.identities
