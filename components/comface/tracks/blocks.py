"""Blocks: the units in which tracks are rendered and stored. A changed composition renders only its new tracks.

In: SynthesizeConfig. Out: its blocks, in order, and the blocks of each part.

A block contains up to MOST tracks of one generator along one attribute. Its address (synthesize/stored.py) contains
neither the composition nor the parts. So existing blocks remain valid if the number of parts changes, or if shares,
identities or attributes are added.

A row is the identities of a share that are swept along the same attributes, in order. A block contains the places START
to START + COUNT of a row. COUNT is a power of two and divides START. A row is cut from the left into the largest such
blocks. If a row grows, all blocks except the last few are unchanged, and each of these becomes part of a larger block.
Its stored tracks are found in at most log2(MOST) places (narrower and wider blocks) and copied instead of rendered.
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
"""Maximum number of tracks in a block: about 80 MB at 101 images of 256 px. A killed part renders its unfinished blocks
again."""


@dataclass(frozen=True)
class Block:
    generator: str
    attribute: str
    row: range
    """Numbers of the identities that are swept along this attribute. In a larger composition, the row may be longer."""
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
        """Yield the larger blocks that contain this one."""
        count = 2 * self.count
        while count <= MOST:
            yield replace(self, start=self.start // count * count, count=count)
            count *= 2

    def along(self, attribute: str) -> Block:
        """The block of the same identities along another attribute."""
        return replace(self, attribute=attribute)


def blocks(config: SynthesizeConfig) -> list[Block]:
    """All blocks of the composition. Blocks of the same identities are adjacent."""
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
    """Yield (start, count) of each block of a row: a row of 150 gives 64 + 64 + 16 + 4 + 2."""
    start, count = 0, MOST
    while start < length:
        while start + count > length:
            count //= 2
        yield start, count
        start += count


def part_count(config: SynthesizeConfig) -> int:
    """The number of parts: as configured, or one per block if there are fewer blocks."""
    return min(config.parts, len(blocks(config)))


def part_blocks(config: SynthesizeConfig, part: int) -> list[Block]:
    """The blocks of one part: contiguous, at least one. The numbers of tracks per part are as equal as blocks allow.
    Raises ConfigurationError if the part does not exist, or if there are more parts than identities."""
    identities, every = totals(config).identities, blocks(config)
    if config.parts > identities:
        raise ConfigurationError(
            f"synthesize.parts is {config.parts}, but the composition has only {identities} identities; lower it to "
            f"{identities} or less."
        )
    count = min(config.parts, len(every))
    if not 0 <= part < count:
        raise ConfigurationError(f"There is no part {part}; the composition has parts 0 to {count - 1}.")
    before = [0, *itertools.accumulate(block.count for block in every)]
    cuts = [0]
    for number in range(1, count + 1):
        ideal = bisect_left(before, number * before[-1] / count)
        cuts.append(min(max(ideal, cuts[-1] + 1), len(every) - (count - number)))
    return every[cuts[part] : cuts[part + 1]]
