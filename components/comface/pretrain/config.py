"""The section `pretrain`: network, losses, curriculum, augmentation and optimisation (sections 3.2, 3.3 and 4.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from comface.config.names import Place
from comface.config.section import Section, Seed, Small
from comface.launch.config import Placement
from comface.networks import PATCH_PX, WITHOUT_BATCHNORM, Backbone

LEAST_PX = 32
"""Least side length of a view."""
Pixels = Annotated[int, Field(ge=LEAST_PX, le=512)]


class Augmentation(Section):
    """Flip, colour jitter, grayscale and random crop, drawn independently per view (section 3.2). The paper does not
    give the strengths."""

    crop_min_area: float = Field(default=0.6, ge=0.01, le=1, description="smallest crop, as a share of the area")
    crop_max_area: float = Field(default=1.0, ge=0.01, le=1, description="largest crop, as a share of the area")
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
    shared: Literal["none", "crop", "colour", "all"] = Field(
        default="none",
        description="random changes that the view of y takes over from the first view of x: none, crop (crop, flip, "
        "rotation), colour (colours, grayscale, light) or all; what is shared does not hide the change from pixel "
        "differences",
    )

    @model_validator(mode="after")
    def _crops_have_a_range(self) -> Augmentation:
        if self.crop_min_area > self.crop_max_area:
            raise ValueError("crop_min_area must not exceed crop_max_area")
        return self


class PretrainConfig(Placement):
    reuse: Place = Field(
        default="",
        description="use the backbone of this model instead of training one: NAME, NAME@v3, a URI of a model or "
        "backbone, or at-hand (the champion, else the newest model, else the one that ships with the package)",
    )
    backbone: Backbone = Field(default="resnet50", description="network f; 'narrow' is for laptops")
    image_size_px: Pixels = Field(
        default=224, description="side length of a view in pixels; vit_b_16 needs a multiple of 16"
    )
    resolution: tuple[tuple[Small, Pixels], ...] = Field(
        default=(),
        max_length=20,
        description="smaller views in early epochs, [[last epoch, pixels], …], e.g. [[6, 128], [9, 160]]; the epochs "
        "after them have image_size_px. Not for vit_b_16; not in the paper",
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
    curriculum_form: Literal["stages", "linear"] = Field(
        default="stages",
        description="stages: S_max / t in stage t (equation 2); linear: from S_max in the first epoch to the S of the "
        "last stage in epoch e_t, a little less in each epoch (not in the paper)",
    )
    partner: Literal["images", "changes", "largest"] = Field(
        default="images",
        description="how y is drawn for an x, within S: images, each image of the track with the same probability; "
        "changes, each |Δalpha| with the same probability; largest, the largest |Δalpha| (S itself, if the track has "
        "it)",
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
    warm_up: float | None = Field(
        default=None,
        ge=0,
        le=0.5,
        description="share of all steps during which the learning rate rises from 0; unset: 0.05 with cosine, "
        "otherwise 0 (the paper mentions none)",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=100, description="weight decay of the optimizer; not given in the paper"
    )
    augmentation: Augmentation = Field(default=Augmentation(), description="random changes of views (section 3.2)")
    precision: Literal["fp32", "bf16"] = Field(
        default="bf16", description="number format of the forward pass; weights stay in fp32"
    )
    batchnorm: Literal["local", "global"] = Field(
        default="local",
        description="statistics of BatchNorm: of the share of one process, or of the whole batch (docs/resuming.md)",
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="number of parts in which a process passes its share of a batch through the network, for fewer "
        "GPUs with the same batch: equation (1) is over the whole batch, BatchNorm over a part (docs/pretraining.md)",
    )
    cuda_graph: bool = Field(
        default=True,
        description="on a GPU: record the kernels of the backbone once and replay them, so that the CPU launches one "
        "graph instead of a thousand kernels",
    )
    loader_workers: int = Field(
        default=8,
        ge=0,
        le=256,
        description="loader processes per training process; 0: the training process decodes images itself",
    )
    decode: Literal["cpu", "gpu"] = Field(
        default="cpu",
        description="where JPEGs are decoded; gpu: nvJPEG on the training's GPU, whose pixels differ slightly",
    )
    data_timeout_s: float = Field(
        default=300.0,
        ge=0.1,
        le=86_400,
        description="longest wait for a batch in seconds; then training saves a checkpoint and exits with 75. An s3:// "
        "store that does not answer is tried for 180 s",
    )
    cache_gib: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="disk per node for copies of shards from an s3:// store in GiB; images of other shards are read by "
        "range requests; 0: all of them; unset: what is free on the scratch disk",
    )
    profile_steps: int = Field(
        default=0,
        ge=0,
        le=100,
        description="number of steps, from the 11th on, that PyTorch's profiler records (docs/watching.md)",
    )
    checkpoint_every_s: float = Field(default=600.0, ge=0.01, le=604_800, description="seconds between checkpoints")
    keep_checkpoints: Small = Field(
        default=2,
        description="newest checkpoints that are kept until the training ends, besides the one with the best held-out "
        "correlation",
    )
    seed: Seed = Field(default=0, description="seed of initial weights, pairs and views")

    @model_validator(mode="after")
    def _statistics_of_the_whole_batch_need_it_at_once(self) -> PretrainConfig:
        if self.batchnorm == "global" and self.accumulate > 1:
            raise ValueError(
                f"batchnorm: global needs the whole batch at once, but accumulate is {self.accumulate}; use batchnorm: "
                "local, or accumulate: 1"
            )
        return self

    @model_validator(mode="after")
    def _stages_cover_epochs(self) -> PretrainConfig:
        ends = self.curriculum_ends
        if list(ends) != sorted(set(ends)) or ends[0] < 1:
            raise ValueError("curriculum_ends must increase and start at 1 or later")
        if self.curriculum and ends[-1] < self.epochs:
            raise ValueError(f"curriculum_ends stop at epoch {ends[-1]}, before the last epoch {self.epochs}")
        return self

    @model_validator(mode="after")
    def _resolution_rises_to_the_full_size(self) -> PretrainConfig:
        ends = [end for end, _ in self.resolution]
        if ends != sorted(set(ends)):
            raise ValueError("the epochs of resolution must increase")
        if ends and ends[-1] >= self.epochs:
            raise ValueError(
                f"resolution ends at epoch {ends[-1]} of {self.epochs}; at least the last epoch must have "
                "image_size_px, with which the backbone is used"
            )
        if any(size_px > self.image_size_px for _, size_px in self.resolution):
            raise ValueError(f"resolution must not exceed image_size_px ({self.image_size_px})")
        if self.resolution and self.backbone in PATCH_PX:
            raise ValueError(
                f"resolution does not work with {self.backbone}, which has a position embedding for each patch of one "
                "size; remove it, or choose another backbone"
            )
        return self

    @model_validator(mode="after")
    def _cores_of_a_machine_do_not_decide_the_result(self) -> PretrainConfig:
        local = self.batchnorm == "local" and self.backbone not in WITHOUT_BATCHNORM
        if self.processes is None and self.nodes == 1 and not self.gpus_per_node and local:
            raise ValueError(
                f"processes null (one per core) would train another {self.backbone} on a machine with other cores, "
                "because each process normalises its share of a batch; set batchnorm: global, or a number of processes"
            )
        return self

    def size_px(self, epoch: int) -> int:
        """The side length of a view in `epoch` (counted from 1): of `resolution`, then image_size_px."""
        return next((size_px for end, size_px in self.resolution if epoch <= end), self.image_size_px)
