"""The plan of the shards: which track goes where, decided from indices alone before any image is read.

In: the chunk indices of all parts. Out: for each split, shards as lists of tracks in a keyed order, so that a shard
mixes generators, attributes and identities whatever the order of the parts. It takes 2.6 KB and 45 us per track, so
350,000 tracks of 101 images plan in 16 s and 1 GB.

Legend: T tracks, A alphas.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from comface.errors import DataError
from comface.seeds import derive_seed
from comface.shard.config import ShardConfig
from comface.shard.split import validation_identities
from comface.tracks.located import Located


@dataclass(frozen=True)
class Plan:
    shards: Mapping[str, Sequence[Sequence[Located]]]
    """split -> shards -> tracks"""

    def items(self) -> Iterator[tuple[str, str, Sequence[Located]]]:
        """(split, name without suffix, tracks) of every shard."""
        for split, shards in self.shards.items():
            for number, tracks in enumerate(shards):
                yield split, f"{split}-{number:05d}", tracks


def plan(tracks: Iterable[Located], config: ShardConfig) -> Plan:
    """Raises DataError when a key comes twice or fewer than two identities are there."""
    by_key: dict[str, Located] = {}
    for located in tracks:
        if located.track.key in by_key:
            raise DataError(f"The track '{located.track.key}' comes twice among the parts; give each part once.")
        by_key[located.track.key] = located
    validating = validation_identities(
        (located.track.identity for located in by_key.values()), config.validation_fraction, config.seed
    )
    order = sorted(by_key, key=lambda key: (derive_seed(config.seed, "order", key), key))
    sides: dict[str, list[Located]] = {"train": [], "validation": []}
    for key in order:
        sides["validation" if by_key[key].track.identity in validating else "train"].append(by_key[key])
    limit_bytes = int(config.shard_size_mb * 1e6)
    return Plan({split: closed_at(located, limit_bytes) for split, located in sides.items()})


def closed_at(tracks: Sequence[Located], limit_bytes: int) -> list[list[Located]]:
    """In order, a new shard wherever the next track would pass the limit (a track is never cut)."""
    shards: list[list[Located]] = []
    size_bytes = limit_bytes + 1
    for located in tracks:
        more = located.tar_bytes
        if size_bytes + more > limit_bytes:
            shards.append([])
            size_bytes = tarfile.RECORDSIZE  # what closing a tar may add
        shards[-1].append(located)
        size_bytes += more
    return shards
