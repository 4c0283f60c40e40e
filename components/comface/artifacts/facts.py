"""The facts of an artifact (the field `facts` of its manifest): one model for each kind that other steps read.

In: a step's values at publication (`record`). Out: the model, from a manifest (`Artifact.facts_as`). Additional fields
that no step reads are allowed. The facts of the kind `model` are in models/format.py, because users install models from
other people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from comface.artifacts.objects import SHA256

SPLITS = ("train", "validation")
ByAttribute = dict[str, dict[str, int]]
"""Generator -> attribute -> number of tracks."""
ByLightness = dict[str, dict[str, list[int]]]
"""Generator -> counts of faces by skin lightness (faces/lightness.py)."""


def by_attribute(tracks: Mapping[tuple[str, str], int]) -> ByAttribute:
    """Nest the numbers of tracks per (generator, attribute), sorted, without zeros."""
    nested: ByAttribute = {}
    for (generator, attribute), count in sorted(tracks.items()):
        if count:
            nested.setdefault(generator, {})[attribute] = count
    return nested


class Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def record(self) -> dict[str, Any]:
        """The facts for Draft.publish: the given values, without defaults."""
        return self.model_dump(mode="json", exclude_unset=True)


class Dropped(Facts):
    """Identities and tracks that were dropped because no face was detected with high confidence."""

    identities: int
    tracks: int
    tracks_by_attribute: ByAttribute


class LookedAt(Facts):
    """An identity in whose unedited image a face was looked for."""

    identity: str
    lightness: float
    """Of its skin, L* (faces/lightness.py)."""
    face: bool


class TracksFacts(Facts):
    """Of a block of tracks."""

    generator: str
    attribute: str
    identities: int
    """That were asked for; there is no track of those without a face."""
    tracks: int
    looked_at: tuple[LookedAt, ...]
    alphas: tuple[float, ...]
    image_size_px: int


class PartFacts(Facts):
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
    """Whether all generators are part of the set-up."""
    rehearsal: bool
    """Whether a generator renders its faces from known parameters instead of learning them."""


class AttributeFacts(Facts):
    """The result of screening one attribute of one generator."""

    generator: str
    attribute: str
    kept: bool
    low: float
    high: float
    """The accepted range of alpha."""
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
    """The method whose features were compared for identity."""
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
    faces_by_lightness: ByLightness = {}
    embedded: bool
    rehearsal: bool
    alpha_ranges: dict[str, dict[str, tuple[float, float]]] | None = None
    """Generator -> attribute -> lowest and highest alpha; None: no screening was applied."""
    screened_out_tracks: int = 0


class FacesFacts(Facts):
    dataset: str
    layout: str = ""
    rehearsal: bool = False
    source: str = ""
    photos: int = 1
    found: int = 0
    missed: dict[str, int] = {}
    """Reason -> number of photos without a usable face."""
    left_out: dict[str, int] = {}
    """Reason -> number of photos that were not read."""
    remarks: tuple[str, ...] = ()
    with_own_landmarks: int = 0
    subjects: int = 0


class ProtocolFacts(Facts):
    """Of the folds and pairs of a task."""

    task: str
    dataset: str
    train_dataset: str = ""
    """Empty if it is the same."""
    folds: int
    subjects: int
    """That are tested."""
    training_subjects: int = 0
    """That train or validate, if the task has one split instead of cross-validation."""
    pairs: int
    """Rows of truth.npz: test pairs, once for each fold in which they are tested."""
    subjects_without_pairs: int = 0
    protocol_sha256: str = Field(pattern=SHA256)
    """Of the contents. Results are comparable only if it is equal."""


class TransferFacts(Facts):
    model_config = ConfigDict(allow_inf_nan=False)
    task: str
    method: str
    mode: str
    seed: int = 0
    """Of pre-training, of random weights and of fine-tuning. Folds and pairs do not depend on it."""
    unit: str = ""
    dataset: str | None = ""
    rehearsal: bool | None = False
    direction_accuracy: bool = False
    kind: Literal["change", "single"] = "change"
    """Of the task: the change between two photos, or the label of one photo."""
    classes: tuple[str, ...] = ()
    """Names of the classes that the label of single photos numbers; empty: a quantity."""
    own_split: bool = False
    """Whether the task has one split of subjects instead of cross-validation (table 5)."""
    training_subjects: int = 0
    """With its own split: how many subjects train or validate."""
    subjects: int
    pairs: int
    protocol_sha256: str = Field(pattern=SHA256)

    @property
    def registrable(self) -> bool:
        """Whether a registered model has a head for the task: `comface compare` estimates changes, and a task with its
        own split only compares methods."""
        return self.kind == "change" and not self.own_split


class EvaluationFacts(Facts):
    verdict: str
    metrics: dict[str, float | None]
    """TASK/MODE/METRIC -> ComFace's figure."""
    rehearsal: tuple[str, ...]
    """Tasks on rehearsal data."""
    titles: dict[str, str] = {}
    """Task → title, of the tasks whose configuration gives one."""
