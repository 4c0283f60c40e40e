"""The section `screening`: what an attribute must show on a sample of tracks, and what follows where it does not."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from comface.config.names import Place
from comface.config.section import Section, Seed
from comface.methods.registry import MethodName, method
from comface.tracks.config import MOST_ALPHAS


class ScreeningConfig(Section):
    """What an attribute must show on a sample of tracks, and what follows where it does not (docs/screening.md)."""

    action: Literal["skip", "report", "restrict", "refuse"] = Field(
        default="report",
        description="report: measure and show; restrict: shard without what is dropped, pre-train only in the range of "
        "alpha that holds; refuse: the same, but stop where an attribute is dropped; skip: do not measure",
    )
    tracks: int = Field(default=40, ge=3, le=10_000, description="tracks measured per generator and attribute")
    alphas: int = Field(
        default=11, ge=3, le=MOST_ALPHAS, description="alphas measured along a track, both ends and 0 among them"
    )
    method: MethodName = Field(default="imagenet", description="backbone by whose features identity is told")
    backbone: Place = Field(
        default="", description="for the method 'comface': NAME, NAME@vN, NAME@champion, URI or path"
    )
    others: int = Field(default=20, ge=1, le=1000, description="other identities that an edited face is compared with")
    min_face: float = Field(default=0.7, ge=0, le=1, description="least share of tracks in which a face is found")
    min_identity: float = Field(
        default=0.8, ge=0, le=1, description="least share in which the own unedited face is nearest among the others"
    )
    min_monotone: float = Field(
        default=0.5, ge=0, le=1, description="least mean rank correlation of alpha and the own score"
    )
    min_effect_sd: float = Field(
        default=0.3, ge=0, le=100, description="least own effect, in SD between people per 5 alpha"
    )
    max_entangled: float = Field(
        default=1.0, ge=0.01, le=1000, description="how much more than its own score another may move"
    )
    min_range: float = Field(default=2.0, ge=0.01, le=40, description="narrowest range of alpha that is worth keeping")
    seed: Seed = Field(default=0, description="decides which tracks are measured")

    @model_validator(mode="after")
    def _backbone_is_used(self) -> ScreeningConfig:
        instrument = method(self.method)
        if instrument.reads_backbone != bool(self.backbone):
            raise ValueError("the method 'comface' needs screening.backbone, and no other uses it")
        if instrument.file:
            raise ValueError(f"screening cannot read the weights of '{self.method}'; choose another method")
        return self
