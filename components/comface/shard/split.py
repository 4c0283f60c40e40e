"""Selects the validation identities by a hash of identity and seed, with an exact count (90/10 by identity, section
4.1).

The split depends on the set of identities and the seed only, not on the parts, the order or the number of tracks.
"""

from __future__ import annotations

from collections.abc import Iterable

from comface.errors import DataError
from comface.seeds import derive_seed


def validation_identities(identities: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """Return the round(fraction * N) identities (at least one, not all) with the smallest hashes. Raises DataError if
    there are fewer than two identities."""
    distinct = set(identities)
    if len(distinct) < 2:
        raise DataError(
            f"A split by identity needs at least two identities, but the tracks have {len(distinct)}; synthesize more."
        )
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    ranked = sorted(distinct, key=lambda identity: (derive_seed(seed, "split", identity), identity))
    return frozenset(ranked[:count])
