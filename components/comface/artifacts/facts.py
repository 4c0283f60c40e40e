"""What an artifact says of itself: the field `facts` of its manifest, one model per kind that other steps read.

In: what a step knows when it publishes (`record`). Out: the model, from a manifest (`Artifact.facts_as`). Fields that
no step reads are allowed beside. `model` has its own module (models/format.py), since people install models of others.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SPLITS = ("train", "validation")
ByAttribute = dict[str, dict[str, int]]
"""Generator -> attribute -> number of tracks."""
ByLightness = dict[str, dict[str, list[int]]]
"""Generator -> counts of faces by skin lightness (faces/lightness.py)."""


class Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def record(self) -> dict[str, Any]:
        """For Draft.publish: what was given, without defaults."""
        return self.model_dump(mode="json", exclude_unset=True)


class Dropped(Facts):
    """Without a face that is surely one."""

    identities: int
    tracks: int
    tracks_by_attribute: ByAttribute


class TracksFacts(Facts):
    part: int
    parts: int
    tracks: int
    images: int
    identities: int
    tracks_by_attribute: ByAttribute
    dropped: Dropped
    faces_by_lightness: ByLightness
    alphas: tuple[float, ...]
    image_size_px: int
    generators: tuple[str, ...]
    embedded: bool
    """All generators come with the package."""
    rehearsal: bool
    """A generator draws its faces; it has not learned them."""


class AttributeFacts(Facts):
    """What screening found about one attribute of one generator."""

    generator: str
    attribute: str
    kept: bool
    low: float
    high: float
    """The range of alpha that holds."""
    reason: str
    """Why the range ends, or the attribute was dropped."""
    tracks: int
    face_found_unedited: float
    face_found_least: float
    identity_least: float
    """Shares within the range."""
    measured_by: str
    rank_correlation: float | None
    own_sd_per_5_alpha: float | None
    also_moves: dict[str, float]
    moves_sd_per_5_alpha: dict[str, float | None]


class ScreeningFacts(Facts):
    attributes: tuple[AttributeFacts, ...]
    method: str
    """By whose features identity was told."""
    others: int
    faces_by_lightness: ByLightness
    rehearsal: bool


class SplitFacts(Facts):
    shards: tuple[str, ...]
    tracks: int
    images: int
    identities: int
    tracks_by_attribute: ByAttribute


class ShardsFacts(Facts):
    train: SplitFacts
    validation: SplitFacts
    image_size_px: int
    alphas: tuple[float, ...]
    generators: tuple[str, ...]
    dropped_identities: int
    embedded: bool
    rehearsal: bool
    alpha_ranges: dict[str, dict[str, tuple[float, float]]] | None = None
    """Generator -> attribute -> lowest and highest alpha; None: nothing was left out for a screening."""
    screened_out_tracks: int = 0


class FacesFacts(Facts):
    dataset: str
    layout: str = ""
    rehearsal: bool = False
    source: str = ""
    photos: int = 1
    found: int = 0
    missed: dict[str, int] = {}
    """Reason -> photos without a face that can be used."""
    left_out: dict[str, int] = {}
    """Reason -> photos that were not looked at."""
    remarks: tuple[str, ...] = ()
    with_own_landmarks: int = 0
    subjects: int = 0


class TransferFacts(Facts):
    model_config = ConfigDict(allow_inf_nan=False)
    task: str
    method: str
    mode: str
    unit: str = ""
    dataset: str | None = ""
    rehearsal: bool | None = False
    direction_accuracy: bool = False
    subjects: int
    pairs: int
    test_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    metrics: dict[str, float | None]


class EvaluationFacts(Facts):
    verdict: str
    metrics: dict[str, float | None]
    """TASK/MODE/METRIC -> ComFace's figure."""
    rehearsal: tuple[str, ...]
    """Tasks on rehearsal data."""
