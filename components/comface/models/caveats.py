"""Why a comparison of two photos cannot be trusted: what was measured on the pair, and the rules that read it.

In: two prepared photos (photo.py). Out: Caveats. A reason has a code, which programs read, and a sentence. A pair
with a reason that refuses gets no interval, and the verdict "cannot tell".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comface.faces import identity
from comface.models.photo import Prepared

UNCHECKED = (
    "it was not checked whether both photos show the same person; run `comface fetch` to get the network for this"
)
FAR = 0.99
"""A photo that is farther than this share of the photos that the model has seen is said to be unlike them. It is
refused if it is farther than all of them."""


@dataclass(frozen=True)
class Reason:
    """`code`: one word for programs, listed in docs/trust.md. `sentence`: without capital letter and full stop."""

    code: str
    sentence: str

    def record(self) -> dict[str, str]:
        return {"code": self.code, "sentence": self.sentence}


@dataclass(frozen=True)
class Caveats:
    """Caveats of a pair of photos, independent of the task. `refused`: no interval and no verdict is given."""

    reasons: tuple[Reason, ...] = ()
    refused: bool = False


NONE = Caveats()


def caveats_of(before: Prepared, after: Prepared) -> Caveats:
    """Check whether both photos can be used and show the same person."""
    reasons = [
        Reason(rule.code, rule.sentence.replace("{photo}", f"the photo {photo.role}"))
        for photo in (before, after)
        for rule in photo.broken
    ]
    refused = bool(reasons)
    for photo in (before, after):
        if photo.farther_than is not None and photo.farther_than >= FAR:
            reasons.append(
                Reason("unlike_training", f"the photo {photo.role} is unlike the photos that the model has seen")
            )
            refused = refused or photo.farther_than >= 1
    if before.descriptor_D is None or after.descriptor_D is None:
        return Caveats((*reasons, Reason("identity_unchecked", UNCHECKED)), refused)
    apart = float(np.linalg.norm(before.descriptor_D - after.descriptor_D))
    if apart > identity.THRESHOLD:
        sentence = (
            f"the photos seem to show different people (distance {apart:.2f}, threshold {identity.THRESHOLD:.2f})"
        )
        reasons.append(Reason("different_people", sentence))
    return Caveats(tuple(reasons), refused or apart > identity.THRESHOLD)
