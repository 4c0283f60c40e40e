"""Applies the verdicts of screening: which attributes are kept, and which of their alphas pre-training may use.

In: an artifact of kind `screening`. Out: a Screened. An attribute that was not screened is kept unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from comface.artifacts.facts import AttributeFacts, ScreeningFacts
from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.tracks.tar import Track


@dataclass(frozen=True)
class Screened:
    verdicts: Mapping[tuple[str, str], AttributeFacts]
    """(generator, attribute) → verdict."""

    @classmethod
    def read(cls, screening: Artifact) -> Screened:
        found = screening.facts_as(ScreeningFacts).attributes
        return cls({(each.generator, each.attribute): each for each in found})

    def check(self) -> None:
        """Raises DataError if an attribute is dropped."""
        for (generator, attribute), figures in self.verdicts.items():
            if not figures.kept:
                raise DataError(
                    f"The attribute '{attribute}' of '{generator}' did not pass screening ({figures.reason}); remove "
                    "it from synthesize.composition, fit its direction again, or set screening.action=restrict."
                )

    def keeps(self, track: Track) -> bool:
        figures = self.verdicts.get((track.generator, track.attribute))
        return figures is None or figures.kept

    def ranges(self) -> dict[str, dict[str, list[float]]]:
        """Return generator → attribute → [lowest, highest alpha] of the kept attributes."""
        ranges: dict[str, dict[str, list[float]]] = {}
        for (generator, attribute), figures in self.verdicts.items():
            if figures.kept:
                ranges.setdefault(generator, {})[attribute] = [figures.low, figures.high]
        return ranges
