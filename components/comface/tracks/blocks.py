"""Blocks: in which pieces tracks are made and stored, so that a changed composition renders only what is new.

A block is up to MOST tracks of one generator along one attribute. What it is addressed by (Block.made_from) names
neither the composition nor the parts: another number of parts, further shares, identities or attributes leave the
blocks that are there as they are. In: SynthesizeConfig. Out: its blocks, in order, and which of them make a part.

The identities of a block are places START to START + COUNT of a row: those of a share that are swept along the same
attributes, in order. COUNT is a power of two and divides START, and a row is cut from the left into the largest such
blocks. So a row that grows keeps all blocks but the last few, each of which becomes part of a larger one: what was
stored of that is found in at most log2(MOST) places (narrower, wider), and copied instead of rendered.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

from comface.errors import ConfigurationError
from comface.tracks.composition import Identity, placed_shares, totals
from comface.tracks.config import SynthesizeConfig

MOST = 64
"""Tracks that are stored in one piece and made again after a kill: about 80 MB at 101 images of 256 px."""


@dataclass(frozen=True)
class Block:
    generator: str
    attribute: str
    row: range
    """Numbers of the identities that are swept along this attribute (it may end later in a larger composition)."""
    start: int
    count: int
    root_seed: int
    beside: tuple[str, ...] = ()
    """The other attributes that the same identities are swept along."""

    @property
    def numbers(self) -> range:
        first = self.row.start + self.row.step * self.start
        return range(first, first + self.row.step * self.count, self.row.step)

    def identities(self) -> Iterator[Identity]:
        for number in self.numbers:
            yield Identity(self.generator, number, (self.attribute,), self.root_seed)

    def halves(self) -> tuple[Block, Block]:
        half = self.count // 2
        return replace(self, count=half), replace(self, start=self.start + half, count=half)

    def wider(self) -> Iterator[Block]:
        """The larger blocks that hold this one."""
        count = 2 * self.count
        while count <= MOST:
            yield replace(self, start=self.start // count * count, count=count)
            count *= 2

    def along(self, attribute: str) -> Block:
        """The same identities along another attribute."""
        return replace(self, attribute=attribute)


def blocks(config: SynthesizeConfig) -> list[Block]:
    """All blocks of the composition. Those of the same identities follow each other."""
    found = []
    for placed in placed_shares(config):
        turns = placed.turns()
        rows = [
            range(placed.first_number + turn, placed.first_number + placed.share.identities, len(turns))
            for turn in range(len(turns))
        ]
        pieces = sorted((start, turn, count) for turn, row in enumerate(rows) for start, count in cut(len(row)))
        for start, turn, count in pieces:
            found += [
                Block(placed.share.generator, name, rows[turn], start, count, config.seed, tuple(others))
                for name in turns[turn]
                for others in [[other for other in turns[turn] if other != name]]
            ]
    return found


def cut(length: int) -> Iterator[tuple[int, int]]:
    """(start, count) of the blocks of a row: 150 is 64 + 64 + 16 + 4 + 2."""
    start, count = 0, MOST
    while start < length:
        while start + count > length:
            count //= 2
        yield start, count
        start += count


def part_count(config: SynthesizeConfig) -> int:
    """How many parts are made: what the configuration asks for, or one per block where there are fewer."""
    return min(config.parts, len(blocks(config)))


def part_blocks(config: SynthesizeConfig, part: int) -> list[Block]:
    """The blocks of one part: contiguous, at least one, and as near as these allow to an equal number of tracks.
    Raises ConfigurationError when there is no such part."""
    identities, every = totals(config).identities, blocks(config)
    if config.parts > identities:
        raise ConfigurationError(
            f"synthesize.parts asks for {config.parts} parts of {identities} identities; lower it to {identities} or "
            "less."
        )
    count = min(config.parts, len(every))
    if not 0 <= part < count:
        raise ConfigurationError(f"There is no part {part}: the composition makes parts 0 to {count - 1}.")
    before = [0, *itertools.accumulate(block.count for block in every)]
    cuts = [0]
    for number in range(1, count + 1):
        ideal = bisect_left(before, number * before[-1] / count)
        cuts.append(min(max(ideal, cuts[-1] + 1), len(every) - (count - number)))
    return every[cuts[part] : cuts[part + 1]]
