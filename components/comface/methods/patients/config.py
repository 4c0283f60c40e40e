"""Settings of the patient-specific method; the section `transfer.patients`. Its publication states none of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from comface.config.section import Section, Small


class PatientsConfig(Section):
    start: Literal["imagenet", "scratch"] = Field(
        default="imagenet",
        description="weights before the first stage; imagenet: those of the method `imagenet`; scratch: random weights "
        "of `transfer.backbone`",
    )
    weight: Literal["absolute", "relative"] = Field(
        default="absolute",
        description="weight in the loss; relative: to the patient's mean, so that it does not tell patients apart",
    )
    sigma_kg: float = Field(
        default=1.0,
        gt=0,
        le=1e6,
        description="kilograms at which two weights count as different. With the standard deviation over patients "
        "(10 kg), half of the queue are equal positives, and on the rehearsal all features become equal",
    )
    temperature: float = Field(default=0.1, gt=0, le=10, description="temperature of the loss")
    queue: int = Field(default=4096, ge=1, le=1_000_000, description="keys in the queue")
    momentum: float = Field(default=0.999, ge=0, lt=1, description="momentum of the key encoder")
    projection_width: int = Field(
        default=128, ge=2, le=65_536, description="width of the projection in the first stage"
    )
    pretrain_epochs: Small = Field(default=50, description="epochs of the first stage")
    batch_photos: int = Field(default=128, ge=2, le=4096, description="photos per step of both stages")
    rate: float = Field(default=3e-4, ge=1e-12, le=100, description="learning rate (Adam, cosine) of the first stage")
    crop_min_area: float = Field(
        default=0.6, gt=0.1, le=1, description="smallest share of the area of a view in the first stage"
    )
    jitter: float = Field(
        default=0.4, ge=0, lt=1, description="largest change of brightness and contrast in the first stage"
    )
    head: Literal["fresh", "pooled"] = Field(
        default="fresh",
        description="linear head before the second stage; fresh: zero, which estimates the patient's mean; pooled: "
        "fitted to the patients of the first stage",
    )
    adapt_epochs: Small = Field(
        default=30,
        description="maximum number of epochs on one patient; the number is chosen on the validation patients",
    )
    backbone_rate: float = Field(
        default=1e-4, ge=1e-12, le=100, description="learning rate (Adam) of the backbone in the second stage"
    )
    head_rate: float = Field(
        default=1e-3, ge=1e-12, le=100, description="learning rate (Adam) of the head in the second stage"
    )
