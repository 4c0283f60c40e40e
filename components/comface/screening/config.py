"""The section `screening`: the requirements for attributes, and what happens to attributes that fail."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from comface.config.names import Place
from comface.config.section import Section, Seed
from comface.methods.registry import MethodName, method
from comface.tracks.config import MOST_ALPHAS


class ScreeningConfig(Section):
    """Requirements for an attribute on a sample of tracks, and what happens if it fails (docs/screening.md)."""

    action: Literal["skip", "report", "restrict", "refuse"] = Field(
        default="report",
        description="report: measure and show; restrict: shard without dropped attributes, and pre-train only within "
        "the range of each attribute; refuse: like restrict, but stop if an attribute is dropped; skip: do not measure",
    )
    tracks: int = Field(default=40, ge=3, le=10_000, description="tracks measured per generator and attribute")
    alphas: int = Field(
        default=11, ge=3, le=MOST_ALPHAS, description="alphas measured along a track, including both ends and 0"
    )
    method: MethodName = Field(default="imagenet", description="method whose features measure identity")
    backbone: Place = Field(
        default="", description="backbone of the method 'comface': NAME, NAME@vN, NAME@champion, URI or path"
    )
    others: int = Field(
        default=20, ge=1, le=1000, description="number of other identities that an edited face is compared with"
    )
    min_face: float = Field(default=0.7, ge=0, le=1, description="smallest share of tracks with a detected face")
    min_identity: float = Field(
        default=0.8, ge=0, le=1, description="smallest share of edited faces whose own unedited face is the nearest"
    )
    min_monotone: float = Field(
        default=0.5, ge=0, le=1, description="smallest mean rank correlation of alpha and the own score"
    )
    min_effect_sd: float = Field(
        default=0.3, ge=0, le=100, description="smallest own effect, in standard deviations between people per 5 alpha"
    )
    max_entangled: float = Field(
        default=1.0, ge=0.01, le=1000, description="largest effect on another score, as a multiple of the own effect"
    )
    min_range: float = Field(default=2.0, ge=0.01, le=40, description="narrowest accepted range of alpha")
    seed: Seed = Field(default=0, description="seed of the selection of tracks")

    @model_validator(mode="after")
    def _backbone_is_used(self) -> ScreeningConfig:
        instrument = method(self.method)
        if instrument.reads_backbone != bool(self.backbone):
            raise ValueError("the method 'comface' needs screening.backbone, and no other uses it")
        if instrument.needs_file:
            raise ValueError(f"screening cannot read the weights of '{self.method}'; choose another method")
        return self
