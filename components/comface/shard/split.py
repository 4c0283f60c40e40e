"""Which identities validate: a keyed hash of identity and seed, and an exact count (90/10 by identity: section 4.1).

An identity's side depends on the set of identities and the seed alone: not on parts, order or number of its tracks.
"""

from __future__ import annotations

from collections.abc import Iterable

from comface.errors import DataError
from comface.seeds import derive_seed


def validation_identities(identities: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """The round(fraction * N) identities (at least one, not all) whose hashes are smallest."""
    distinct = set(identities)
    if len(distinct) < 2:
        raise DataError(
            f"A split by identity needs two identities at least, but the tracks hold {len(distinct)}; synthesize more."
        )
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    ranked = sorted(distinct, key=lambda identity: (derive_seed(seed, "split", identity), identity))
    return frozenset(ranked[:count])
