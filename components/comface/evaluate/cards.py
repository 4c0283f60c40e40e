"""Data-set cards: what a data set holds, what was dropped and why, and whether the counts agree with one another.

In: the `faces` artifacts behind the results (facts and photos.json). Out: one card per data set: counts and histograms,
never a name, a label of one person or a picture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact
from comface.evaluate.plots import Chart, histogram
from comface.runtime.progress import counted

MOST_BARS = 24
Counts = tuple[tuple[str, int], ...]
"""(value or range of values, number of photos)."""


@dataclass(frozen=True)
class Card:
    dataset: str
    layout: str
    rehearsal: bool
    people: int
    photos: int
    """That were read."""
    faces: int
    """That are used."""
    photos_per_person: str
    charts: tuple[Chart, ...]
    """A histogram per label."""
    dropped: Counts
    """(reason, number of photos)."""
    landmarks: str
    """Where the faces come from: the data set's own landmarks or the detector."""
    remarks: tuple[str, ...]
    doubts: tuple[str, ...]
    """Counts that do not agree."""


def cards(artifacts: Iterable[Artifact]) -> list[Card]:
    found = [_card(each) for each in artifacts if each.manifest.kind == "faces"]
    return sorted(found, key=lambda card: card.dataset)


def _card(faces: Artifact) -> Card:
    facts = faces.facts_as(FacesFacts)
    rows: list[dict[str, Any]] = faces.read_json("photos.json") if "photos.json" in faces.manifest.objects else []
    each = Counter(row["subject"] for row in rows)
    dropped = [*facts.missed.items(), *facts.left_out.items()]
    return Card(
        facts.dataset,
        facts.layout,
        facts.rehearsal,
        facts.subjects,
        facts.photos,
        facts.found,
        _range(sorted(each.values())),
        tuple(histogram(facts.dataset, _counts(values), label) for label, values in _labels(rows).items()),
        tuple(sorted(dropped, key=lambda pair: (-pair[1], pair[0]))),
        _landmarks(facts),
        facts.remarks,
        _doubts(facts, rows),
    )


def _range(counts: Sequence[int]) -> str:
    if not counts:
        return ""
    if counts[0] == counts[-1]:
        return f"{counts[0]:,}"
    return f"{counts[0]:,} to {counts[-1]:,}, median {median(counts):g}"


def _labels(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        for label, value in row.get("labels", {}).items():
            if isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(label, []).append(float(value))
    return dict(sorted(found.items()))


def _counts(values: Sequence[float]) -> Counts:
    """How often each whole number occurs, or where there are too many, each of a dozen ranges."""
    low, high = min(values), max(values)
    if all(value == round(value) for value in values) and high - low < MOST_BARS:
        times = Counter(round(value) for value in values)
        return tuple((str(value), times[value]) for value in range(round(low), round(high) + 1))
    bars = 12
    width = (high - low) / bars or 1.0
    times = Counter(min(int((value - low) / width), bars - 1) for value in values)
    return tuple((f"{low + number * width:.3g}", times[number]) for number in range(bars))


def _landmarks(facts: FacesFacts) -> str:
    own, found = facts.with_own_landmarks, facts.found - facts.with_own_landmarks
    parts = [f"{counted(own, 'face')} by the data set's own landmarks"] if own else []
    parts += [f"{counted(found, 'face')} by the face detector"] if found or not own else []
    return ", ".join(parts)


def _doubts(facts: FacesFacts, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Cross-checks: every photo is a face or is dropped, landmarks belong to faces, the rows are the faces."""
    found = []
    if facts.found + sum(facts.missed.values()) != facts.photos:
        found.append(
            f"{facts.photos:,} photos were read, but {facts.found:,} faces and {sum(facts.missed.values()):,} photos "
            "without a usable face are counted"
        )
    if facts.with_own_landmarks > facts.found:
        found.append(f"{facts.with_own_landmarks:,} faces have own landmarks, but only {facts.found:,} are used")
    if rows and len(rows) != facts.found:
        found.append(f"{facts.found:,} faces are counted, but {len(rows):,} are listed")
    people = len({row["subject"] for row in rows})
    if rows and people != facts.subjects:
        found.append(f"{facts.subjects:,} people are counted, but photos of {people:,} are listed")
    return tuple(found)
