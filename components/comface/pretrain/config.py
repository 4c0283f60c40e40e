"""The section `pretrain`: network, losses, curriculum, augmentation and optimisation (sections 3.2, 3.3 and 4.1)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from comface.config.section import Section, Seed, Small
from comface.launch.config import Placement
from comface.networks import Backbone


class Augmentation(Section):
    """Flip, colour jitter, grayscale and random crop, drawn independently per view (section 3.2). The paper does not
    give the strengths."""

    crop_min_area: float = Field(default=0.6, ge=0.01, le=1, description="smallest crop, as a share of the area")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a horizontal flip")
    brightness: float = Field(
        default=0.4,
        ge=0,
        lt=1,
        description="largest change of brightness: a factor of all colours within 1 ± this value",
    )
    contrast: float = Field(
        default=0.4,
        ge=0,
        lt=1,
        description="largest change of contrast: a factor of the distance to the mean luminance within 1 ± this value",
    )
    saturation: float = Field(
        default=0.4,
        ge=0,
        lt=1,
        description="largest change of saturation: a factor of the distance to gray within 1 ± this value",
    )
    hue: float = Field(
        default=0.1, ge=0, le=0.5, description="largest change of hue, as a fraction of the colour circle"
    )
    grayscale: float = Field(default=0.2, ge=0, le=1, description="probability of grayscale")
    rotation_deg: float = Field(default=0.0, ge=0, le=45, description="largest rotation in degrees; not in the paper")
    side_light: float = Field(
        default=0.0, ge=0, le=1, description="strength of a random light gradient and gamma; not in the paper"
    )


class PretrainConfig(Placement):
    backbone: Backbone = Field(default="resnet50", description="network f; 'narrow' is for laptops")
    image_size_px: int = Field(
        default=224, ge=32, le=512, description="side length of a view in pixels; vit_b_16 needs a multiple of 16"
    )
    view_share: float = Field(
        default=1.0,
        gt=0.3,
        le=1,
        description="share of the aligned frame that a view covers, centred between forehead and chin",
    )
    identities: int | None = Field(
        default=None,
        ge=2,
        le=100_000_000,
        description="use only this many training identities of the shards (figure 3), always the same ones; unset: all",
    )
    learning: Literal["both", "inter", "intra"] = Field(default="both", description="the losses (table 7)")
    target: Literal["absolute", "signed"] = Field(
        default="absolute", description="target of l: |Δalpha| or Δalpha (table 7)"
    )
    curriculum: bool = Field(default=True, description="reduce the range of changes stage by stage, equation (2)")
    curriculum_ends: tuple[Small, ...] = Field(
        default=(3, 6, 9, 12),
        min_length=1,
        max_length=100,
        description="e_1 … e_t: last epoch (counted from 1) of each stage",
    )
    temperature: float = Field(default=0.1, ge=0.001, le=100, description="tau of equation (1)")
    projection_hidden: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="hidden width of the projection head g; unset: the width of the features",
    )
    projection_width: int = Field(default=128, ge=1, le=65_536, description="output width of the projection head g")
    intra_weight: float = Field(default=1.0, ge=1e-6, le=1_000_000, description="weight of L_intra in the sum")
    epochs: Small = Field(
        default=12, description="passes over the training images, or of steps_per_epoch steps each (section 4.1: 12)"
    )
    pairs_per_step: int = Field(default=1024, ge=2, le=1_000_000, description="N of equation (1), over all processes")
    steps_per_epoch: int | None = Field(
        default=None, ge=1, le=10_000_000, description="unset: every training image once as x per epoch"
    )
    optimizer: Literal["adam", "adamw"] = Field(
        default="adam", description="optimizer (section 4.1: Adam); adamw decouples the weight decay"
    )
    learning_rate: float = Field(
        default=4e-4, ge=1e-12, le=1_000_000, description="initial learning rate of f and g (section 4.1: 4e-4)"
    )
    head_rate_factor: float = Field(
        default=1.0,
        ge=1e-6,
        le=1_000_000,
        description="learning rate of the change head l, as a multiple of learning_rate",
    )
    halve_at_epoch: Small | None = Field(
        default=10,
        description="epoch (counted from 1) from which the learning rate is halved (section 4.1); null: never",
    )
    cosine: bool = Field(default=False, description="cosine decay with warm-up instead of halving; not in the paper")
    weight_decay: float = Field(
        default=0.0, ge=0, le=100, description="weight decay of the optimizer; not given in the paper"
    )
    augmentation: Augmentation = Field(default=Augmentation(), description="random changes of views (section 3.2)")
    precision: Literal["fp32", "bf16"] = Field(
        default="bf16", description="number format of the forward pass; weights stay in fp32"
    )
    loader_workers: int = Field(
        default=8,
        ge=0,
        le=256,
        description="loader processes per training process; 0: the training process decodes images itself",
    )
    checkpoint_every_s: float = Field(default=600.0, ge=0.01, le=604_800, description="seconds between checkpoints")
    seed: Seed = Field(default=0, description="seed of initial weights, pairs and views")

    @model_validator(mode="after")
    def _stages_cover_epochs(self) -> PretrainConfig:
        ends = self.curriculum_ends
        if list(ends) != sorted(set(ends)) or ends[0] < 1:
            raise ValueError("curriculum_ends must increase and start at 1 or later")
        if self.curriculum and ends[-1] < self.epochs:
            raise ValueError(f"curriculum_ends stop at epoch {ends[-1]}, before the last epoch {self.epochs}")
        return self
