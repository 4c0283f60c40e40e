"""Configuration: one frozen model per step, whose defaults are the paper's (section 4.1).

A field's description is its help text and its documentation. Every number has a lowest and a highest value, and every
text a longest one, so that no value hangs a step or fills a memory by itself (a whole run's needs: resolve/sizes.py).
Profiles are YAML files that override defaults; `--set pretrain.epochs=4` overrides a profile. A step receives its
section as one canonical JSON string, so that caching is exact per step.
"""

from __future__ import annotations

import copy
import functools
import importlib.resources
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from comface.credentials import override_values, refuse_credentials
from comface.errors import ConfigurationError, gathered
from comface.manifest import canonical_json
from comface.names import Attribute, Label, ModelName, Name, NameIfAny, Place, Resource, Word, quoted
from comface.reading import merge, parse, read_override
from comface.store import place_uri

__all__ = ["RunConfig", "parse", "profiles", "resolve"]

NOT_BUILT = ("vggface2", "simclr", "mocov2", "swav", "barlowtwins", "bulat", "farl", "pcl", "stablerep")
"""Methods of the paper's tables that this version does not have (docs/reproduction.md)."""


def _built(method: Any) -> Any:
    if method in NOT_BUILT:
        raise ValueError(f"the method '{method}' is not built yet; choose from scratch, pixels, imagenet, comface")
    return method


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"'{twice[0]}' is named twice; name it once")
    return values


Generator = Literal["procedural", "dcgan", "stylegan", "stylegan2", "stylegan3"]
StyleGan = Literal["stylegan", "stylegan2", "stylegan3"]
Method = Annotated[Literal["scratch", "pixels", "imagenet", "comface"], BeforeValidator(_built)]
Mode = Literal["linear", "finetune"]
Backbone = Literal["narrow", "resnet18", "resnet50", "resnet101", "vit_b_16"]
Once = AfterValidator(_each_once)
StorePlace = Annotated[Place, AfterValidator(place_uri)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Small = Annotated[int, Field(ge=1, le=10_000)]
MOST_ALPHAS = 1_000
"""Members of a track are numbered with three digits."""
MOST_TRACKS = 10_000_000
"""Thirty times the paper's; plans and indices of all tracks are held in memory."""

CELEBA = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""The 40 attributes of CelebA (Liu et al., ICCV 2015); with age, smile and weight they are the paper's 43."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's yes, on and true would be the number 1."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation not in (bool, bool | None):
            raise ValueError("true and false are no value of this field")
        return value

    def canonical(self) -> str:
        return canonical_json(self.model_dump(mode="json", by_alias=True))


class Share(Section):
    """One part of the composition: identities of one generator, each swept along some attributes."""

    generator: Generator = Field(description="name of the generator (docs/generators.md)")
    identities: int = Field(ge=1, le=9_999_999, description="how many identities this generator contributes")
    attributes: tuple[Attribute, ...] = Field(min_length=1, max_length=200, description="attributes swept, by name")
    attributes_per_identity: int = Field(
        default=1, ge=1, le=200, description="how many of them each identity is swept along (identities take turns)"
    )

    @model_validator(mode="after")
    def _enough_attributes(self) -> Share:
        if self.attributes_per_identity > len(self.attributes):
            raise ValueError(f"asks for {self.attributes_per_identity} of {len(self.attributes)} attributes")
        return self


Row = Annotated[int, Field(ge=0, le=63)]
Shift = Annotated[float, Field(ge=-360, le=360)]


class DirectionUse(Section):
    """What is changed of how the catalogue uses a direction (docs/generators.md); unset fields leave it so."""

    file: Place | None = Field(default=None, min_length=1, description="name of its file in the weights location")
    space: Literal["Z", "W", "W+"] | None = Field(default=None, description="the latents that it is added to")
    layers: tuple[Row, Row] | None = Field(default=None, description="first and last row of W+ that is edited")
    truncate: Literal["before", "after"] | None = Field(
        default=None, description="whether the edit comes before or after truncation"
    )
    unit_norm: bool | None = Field(default=None, description="bring it to norm 1 before use")
    condition: tuple[Attribute, ...] | None = Field(
        default=None,
        max_length=200,
        description="attributes of the same generator that it is made orthogonal to (then of norm 1)",
    )


class SynthesizeConfig(Section):
    composition: tuple[Share, ...] = Field(
        default=(
            Share(generator="stylegan", identities=50_000, attributes=("age", "smile", "weight"),
                  attributes_per_identity=3),
            Share(generator="stylegan3", identities=200_000, attributes=CELEBA),
        ),
        min_length=1,
        max_length=100,
        description="tracks per generator and attribute; the default is 350,000 tracks = 35.35 M images",
    )  # fmt: skip
    alpha_max: float = Field(default=5.0, ge=0.01, le=20, description="alphas run from -alpha_max to +alpha_max")
    alpha_step: float = Field(default=0.1, ge=0.001, le=20, description="distance of neighbouring alphas")
    image_size_px: int = Field(default=256, ge=32, le=1024, description="stored side length in pixels")
    jpeg_quality: int = Field(default=90, ge=50, le=100, description="JPEG quality of stored images")
    truncation_psi: float = Field(default=0.7, ge=0.01, le=1, description="truncation of the StyleGANs")
    directions: dict[StyleGan, dict[Attribute, DirectionUse]] = Field(
        default={},
        description="changes of the catalogue: StyleGAN → attribute → file, space, layers, truncate (before, after), "
        "unit_norm, condition",
    )
    pseudo_aligned: bool = Field(
        default=False, description="StyleGAN3: w does not turn or shift the picture (for weights of unaligned faces)"
    )
    input_transform: tuple[Shift, Shift, Shift] = Field(
        default=(0.0, 0.0, 0.0),
        description="StyleGAN3: rotation (degrees) and translation x, y of every picture, as NVIDIA's tools take them",
    )
    parts: int = Field(default=512, ge=1, le=4096, description="parts made side by side; each is resumable")
    screen_faces: bool = Field(default=True, description="drop identities in which no face is found")
    seed: Seed = Field(default=0, description="identities are drawn from it, one by one")

    @property
    def alphas(self) -> tuple[float, ...]:
        count = round(2 * self.alpha_max / self.alpha_step) + 1
        return tuple(round(-self.alpha_max + i * self.alpha_step, 6) for i in range(count))

    @model_validator(mode="after")
    def _steps_fit(self) -> SynthesizeConfig:
        steps = 2 * self.alpha_max / self.alpha_step
        if abs(steps - round(steps)) > 1e-6 or round(steps) < 2:
            raise ValueError("alpha_step must divide 2 * alpha_max into at least two steps")
        tracks = sum(share.identities * share.attributes_per_identity for share in self.composition)
        if tracks > MOST_TRACKS:
            raise ValueError(f"the composition has {tracks:,} tracks, more than {MOST_TRACKS:,}; lower its identities")
        if round(steps) >= MOST_ALPHAS:
            raise ValueError(
                f"alpha_step {self.alpha_step:g} gives {round(steps) + 1:,} images a track, more than {MOST_ALPHAS:,}; "
                f"raise it to {2 * self.alpha_max / (MOST_ALPHAS - 1):.2g} or more"
            )
        return self


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
    method: Method = Field(default="imagenet", description="backbone by whose features identity is told")
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
        if (self.method == "comface") != bool(self.backbone):
            raise ValueError("the method 'comface' needs screening.backbone, and no other uses it")
        return self


class ShardConfig(Section):
    validation_fraction: float = Field(
        default=0.1, ge=0.001, lt=0.5, description="share of identities kept for validation"
    )
    shard_size_mb: float = Field(default=96.0, ge=0.001, le=10_000, description="size at which a shard is closed")
    seed: Seed = Field(default=0, description="decides which identities validate")


class Augmentation(Section):
    """Flip, colour jitter, grayscale and random crop, drawn independently per view (section 3.2; the paper names no
    strengths)."""

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
    hue: float = Field(default=0.1, ge=0, le=0.5, description="turns of the colour circle")
    grayscale: float = Field(default=0.2, ge=0, le=1, description="probability of grayscale")
    rotation_deg: float = Field(default=0.0, ge=0, le=45, description="largest rotation; not in the paper")
    side_light: float = Field(
        default=0.0, ge=0, le=1, description="strength of a random light gradient and gamma; not in the paper"
    )


class JobConfig(Section):
    """The job that pre-training becomes on a cluster (docs/launcher.md). What the task itself asks for goes first."""

    kind: Literal["pytorchjob", "trainjob"] = Field(
        default="pytorchjob", description="kubeflow.org/v1 (training operator) or trainer.kubeflow.org/v1alpha1"
    )
    runtime: Resource = Field(default="torch-distributed", description="TrainJob: its ClusterTrainingRuntime")
    image: Resource = Field(default="", description="image of its pods; empty: that of the step's own pod")
    cpus: Small = Field(default=64, description="cores requested per node")
    memory_gib: Count = Field(default=512, description="memory per node, shared memory included")
    shared_memory_gib: Count = Field(default=64, description="size of /dev/shm per node")
    scratch_gib: Count = Field(default=1000, description="local disk per node, for copies of shards")
    rdma: Resource = Field(
        default="",
        description="RDMA resource, one per node, e.g. rdma/hca_shared_devices_a; its IPC_LOCK is more than Pod "
        "Security 'restricted' and 'baseline' allow",
    )
    queue: Resource = Field(default="", description="Kueue's LocalQueue; the job starts suspended")
    gang: bool = Field(default=False, description="all or nothing by the operator's gang scheduler, not with Kueue")
    scheduler: Resource = Field(default="", description="scheduler of its pods, e.g. volcano")
    priority_class: Resource = Field(default="", description="PriorityClass of its pods")
    service_account: Resource = Field(
        default="", description="service account of its pods; empty: the namespace's default"
    )
    deadline_s: int = Field(
        default=1_209_600, ge=1, le=31_536_000, description="longest training; queued time does not count"
    )
    restarts: int = Field(default=5, ge=1, le=1000, description="restarts per node before the job is given up")
    resubmissions: int = Field(
        default=3, ge=0, le=1000, description="new jobs after one that failed by eviction or preemption"
    )
    keep_s: int = Field(
        default=86_400, ge=0, le=31_536_000, description="how long a finished PyTorchJob and its logs are kept"
    )

    @model_validator(mode="after")
    def _one_gang_scheduler(self) -> JobConfig:
        if self.queue and self.gang:
            raise ValueError("queue (Kueue) and gang (the operator's scheduler) exclude each other; choose one")
        if self.kind == "trainjob" and (self.gang or self.scheduler or self.priority_class):
            raise ValueError("gang, scheduler and priority_class of a TrainJob belong into its runtime; unset them")
        return self


class PretrainConfig(Section):
    backbone: Backbone = Field(default="resnet50", description="network f; 'narrow' is for laptops")
    image_size_px: int = Field(default=224, ge=32, le=512, description="side length of a view; of vit_b_16: 224")
    view_share: float = Field(
        default=1.0, gt=0.3, le=1, description="share of the aligned frame that a view shows, from forehead to chin"
    )
    learning: Literal["both", "inter", "intra"] = Field(default="both", description="which losses (table 7)")
    target: Literal["absolute", "signed"] = Field(default="absolute", description="|Δalpha| or Δalpha (table 7)")
    curriculum: bool = Field(default=True, description="shrink the range of changes, equation (2)")
    curriculum_ends: tuple[Small, ...] = Field(
        default=(3, 6, 9, 12),
        min_length=1,
        max_length=100,
        description="e_1 … e_t: last epoch (counted from 1) of each stage",
    )
    temperature: float = Field(default=0.1, ge=0.001, le=100, description="tau of equation (1)")
    projection_hidden: int | None = Field(
        default=None, ge=1, le=65_536, description="inner width of the projection head g; unset: that of the features"
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
        default="adam", description="optimiser (section 4.1: Adam); adamw decouples the weight decay"
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
        default=0.0, ge=0, le=100, description="weight decay of the optimiser; the paper names none"
    )
    augmentation: Augmentation = Field(
        default=Augmentation(), description="how views are changed at random (section 3.2)"
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="bf16", description="number format of the forward pass; weights stay in fp32"
    )
    loader_workers: int = Field(
        default=8,
        ge=0,
        le=256,
        description="processes per training process that decode images; 0: it decodes them itself",
    )
    checkpoint_every_s: float = Field(default=600.0, ge=0.01, le=604_800, description="seconds between checkpoints")
    nodes: int = Field(default=4, ge=1, le=1000, description="nodes of the PyTorchJob")
    gpus_per_node: int = Field(default=8, ge=0, le=64, description="GPUs per node; 0 trains on the CPU")
    job: JobConfig = Field(
        default=JobConfig(), description="the job that training becomes on a cluster (docs/launcher.md)"
    )
    seed: Seed = Field(default=0, description="decides initial weights, pairs and views")

    @model_validator(mode="after")
    def _stages_cover_epochs(self) -> PretrainConfig:
        ends = self.curriculum_ends
        if list(ends) != sorted(set(ends)) or ends[0] < 1:
            raise ValueError("curriculum_ends must increase and start at 1 or later")
        if self.curriculum and ends[-1] < self.epochs:
            raise ValueError(f"curriculum_ends stop at epoch {ends[-1]}, before the last epoch {self.epochs}")
        return self


class Task(Section):
    """A task: which data set, which label, what is measured in."""

    dataset: Name = Field(description="name of the data set in `data`")
    label: Label = Field(default="", description="which of its labels, where it has several")
    train_dataset: NameIfAny = Field(default="", description="another data set to train on (Edema-A to B)")
    unit: Word = Field(min_length=1, description="unit of the change")
    direction_accuracy: bool = Field(default=False, description="report accuracy of direction as well")
    min_change: float = Field(default=0.0, ge=0, le=1_000_000, description="pairs that change less are not drawn")


TASKS: dict[str, Task] = {
    "au6": Task(dataset="disfa", label="au6", unit="AU intensity (0-5)"),
    "au12": Task(dataset="disfa", label="au12", unit="AU intensity (0-5)"),
    "edema-a": Task(dataset="edema-a", label="weight", unit="kg", direction_accuracy=True),
    "edema-b": Task(dataset="edema-b", label="weight", unit="kg", direction_accuracy=True),
    "edema-a-to-b": Task(
        dataset="edema-b", train_dataset="edema-a", label="weight", unit="kg", direction_accuracy=True
    ),
    "age": Task(dataset="fgnet", label="age", unit="years"),
    "smile": Task(dataset="cohort", label="smile", unit="smile score (logit)", direction_accuracy=True),
    "apparent-age": Task(dataset="cohort", label="apparent-age", unit="apparent years"),
}


class DataSource(Section):
    layout: Literal["disfa", "fgnet", "edema", "pairs"] = Field(description="layout on disk (docs/data.md)")
    uri: Place = Field(default="", description="folder of the data set; empty: make the rehearsal one")
    labels: Annotated[tuple[Label, ...], Once] = Field(
        default=(),
        max_length=100,
        description="labels that must be there; of DISFA, the action units to read (empty: au6, au12)",
    )
    frames_per_subject: int | None = Field(
        default=None,
        ge=2,
        le=1_000_000,
        description="DISFA: frames per subject and label, over all intensities; unset: all",
    )
    face_size_px: int = Field(default=224, ge=32, le=512, description="side length of its aligned faces")


class RehearseConfig(Section):
    """The rehearsal data sets that stand in where no real one is given."""

    disfa_subjects: int = Field(default=27, ge=4, le=999, description="subjects of DISFA, one video each (paper: 27)")
    disfa_frames: int = Field(default=120, ge=20, le=100_000, description="frames per video (DISFA: 4,845)")
    fgnet_subjects: int = Field(default=82, ge=4, le=999, description="subjects of FG-NET (paper: 82)")
    fgnet_images: int = Field(default=12, ge=2, le=1_000, description="mean number of photos per subject")
    edema_a_patients: int = Field(default=38, ge=4, le=10_000, description="patients of Edema-A (paper: 38)")
    edema_b_patients: int = Field(default=19, ge=4, le=10_000, description="patients of Edema-B (paper: 19)")
    edema_sessions: int = Field(default=5, ge=1, le=1_000, description="mean number of dialysis sessions per patient")
    edema_frames: int = Field(default=2, ge=1, le=1_000, description="frames per datum (paper: 100)")
    cohort_subjects: int = Field(default=80, ge=4, le=10_000, description="subjects of the scored cohort")
    cohort_photos: int = Field(default=12, ge=2, le=1_000, description="photos per subject of the scored cohort")
    image_size_px: int = Field(default=160, ge=96, le=2048, description="side length of the photos")
    seed: Seed = Field(default=1000, description="other identities than those of pre-training")


class TransferConfig(Section):
    tasks: Annotated[tuple[Name, ...], Once] = Field(
        default=("au6", "au12", "edema-a", "edema-b", "edema-a-to-b", "age", "smile", "apparent-age"),
        min_length=1,
        max_length=100,
        description="tasks that are learned and evaluated, by their names in `tasks`",
    )
    methods: Annotated[tuple[Method, ...], Once] = Field(
        default=("scratch", "pixels", "imagenet", "comface"),
        min_length=1,
        description="what is built of the paper's (docs/reproduction.md), and pixels",
    )
    modes: Annotated[tuple[Mode, ...], Once] = Field(
        default=("linear", "finetune"),
        min_length=1,
        description="linear: f is frozen and a linear head is fitted to its features; finetune: f and l are trained "
        "(section 4.1)",
    )
    folds: int = Field(default=4, ge=2, le=100, description="cross-validation folds by subject")
    validation_fraction: float = Field(
        default=0.1, ge=0.001, lt=0.5, description="share of the training subjects that validate (section 4.1: 10 %)"
    )
    validation_turns: int = Field(
        default=1,
        ge=1,
        le=100,
        description="linear evaluation: groups of training subjects that validate in turn; 1: only that fraction does",
    )
    pairs_per_subject: int = Field(default=200, ge=1, le=100_000, description="random pairs drawn within a subject")
    head: Literal["fresh", "transferred"] = Field(
        default="transferred",
        description="fine-tuning starts from the pre-trained l, as the paper does (a method without one starts from a "
        "new head), or from a new head",
    )
    antisymmetric: bool = Field(
        default=False, description="estimate (d(x,y) - d(y,x)) / 2; not in the paper, gains .01-.06 correlation"
    )
    epochs: Small = Field(default=30, description="longest fine-tuning; it stops early on the validation subjects")
    batch_pairs: int = Field(default=64, ge=1, le=4096, description="pairs per step of fine-tuning")
    backbone_rate: float = Field(
        default=1e-4, ge=1e-12, le=100, description="learning rate (Adam) of the backbone f in fine-tuning"
    )
    head_rate: float = Field(
        default=1e-3, ge=1e-12, le=100, description="learning rate (Adam) of the head l in fine-tuning"
    )
    backbone: Backbone = Field(default="resnet50", description="network of the method 'scratch'")
    image_size_px: int = Field(
        default=224, ge=32, le=512, description="side length in pixels of the input of 'scratch'"
    )
    view_share: float = Field(
        default=1.0, gt=0.3, le=1, description="share of the frame that 'scratch' and 'pixels' are shown"
    )
    seed: Seed = Field(
        default=0, description="decides folds, validation subjects, pairs, fine-tuning and the weights of 'scratch'"
    )


class EvaluateConfig(Section):
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="level of the bootstrap intervals over subjects")
    bootstrap: int = Field(default=500, ge=50, le=100_000, description="bootstrap resamples of subjects")
    seed: Seed = Field(default=0, description="decides the bootstrap resamples")


class Threshold(Section):
    task: Name = Field(description="name of the task, one of `tasks`")
    mode: Mode = Field(default="linear", description="transfer mode that is judged: linear or finetune")
    min_corr: float = Field(ge=-1, le=1, description="smallest Pearson correlation that passes")


class RegisterConfig(Section):
    name: ModelName = Field(default="comface", description="model name in the registry")
    thresholds: tuple[Threshold, ...] = Field(default=(), max_length=200, description="what a challenger must reach")
    must_beat: Method | None = Field(default="scratch", description="method that ComFace must beat on every task")
    champion_tolerance: float = Field(
        default=0.05, ge=0, le=2, description="how far the mean correlation may fall below the champion's, same tasks"
    )
    interval_coverage: float = Field(default=0.9, gt=0.5, lt=1, description="coverage of compare's intervals")


class RunConfig(Section):
    """A whole run. Each step sees only its own section (and the artifacts it reads)."""

    profile: Name = Field(default="paper", description="the profile it started from")
    store: StorePlace = Field(default="s3://comface/artifacts", description="object store of bulk artifacts")
    weights: StorePlace = Field(default="s3://comface/weights", description="where generator and method weights lie")
    check_gpus: bool = Field(
        default=True,
        description="on a cluster, refuse a run whose GPUs no node has; false where nodes are added on demand",
    )
    data: dict[Name, DataSource] = Field(
        default={
            "disfa": DataSource(layout="disfa"),
            "fgnet": DataSource(layout="fgnet"),
            "edema-a": DataSource(layout="edema"),
            "edema-b": DataSource(layout="edema"),
            "cohort": DataSource(layout="pairs"),
        },
        max_length=200,
        description="data sets by name",
    )
    tasks: dict[Name, Task] = Field(default=TASKS, max_length=200, description="tasks by name")
    rehearse: RehearseConfig = Field(default=RehearseConfig(), description="the rehearsal data sets")
    synthesize: SynthesizeConfig = Field(
        default=SynthesizeConfig(), description="the tracks: generators, identities, attributes and alphas"
    )
    screening: ScreeningConfig = Field(
        default=ScreeningConfig(), description="what an attribute must show on a sample of tracks"
    )
    shard: ShardConfig = Field(default=ShardConfig(), description="the training and validation files")
    pretrain: PretrainConfig = Field(
        default=PretrainConfig(), description="the training of f, g and l (sections 3 and 4.1)"
    )
    transfer: TransferConfig = Field(
        default=TransferConfig(), description="tasks, methods and cross-validation (section 4.1)"
    )
    evaluate: EvaluateConfig = Field(default=EvaluateConfig(), description="the intervals of the report")
    register_model: RegisterConfig = Field(
        default=RegisterConfig(), alias="register", description="the gate, and the registered model"
    )

    @model_validator(mode="after")
    def _names_exist(self) -> RunConfig:
        for name in self.transfer.tasks:
            if name not in self.tasks:
                raise ValueError(f"transfer.tasks names '{name}', which `tasks` does not define")
            for dataset in (self.tasks[name].dataset, self.tasks[name].train_dataset):
                if dataset and dataset not in self.data:
                    raise ValueError(f"the task '{name}' reads the data set '{dataset}', which `data` lacks")
        for threshold in self.register_model.thresholds:
            if threshold.task not in self.tasks:
                raise ValueError(f"register.thresholds names '{threshold.task}', which `tasks` does not define")
        return self


def profiles() -> tuple[str, ...]:
    folder = importlib.resources.files("comface") / "profiles"
    return tuple(sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")))


@functools.cache
def _profile_values(profile: str) -> dict[str, Any]:
    text = (importlib.resources.files("comface") / "profiles" / f"{profile}.yaml").read_text("utf-8")
    values = RunConfig().model_dump(mode="json", include={"data", "tasks"})  # to be added to, not replaced
    merge(values, yaml.safe_load(text) or {})
    return values | {"profile": profile}


def resolve(profile: str, overrides: Iterable[str] = (), extra: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration of a run: defaults, then the profile, then `extra` (a nested mapping), then `overrides`.

    `overrides` are `dotted.field=value` with a YAML value. Raises ConfigurationError, a sentence for each problem:
    an unknown profile or field, a value out of range."""
    overrides = list(overrides)
    refuse_credentials({**override_values(overrides), **(extra or {})})
    if profile not in profiles():
        raise ConfigurationError(f"There is no profile {quoted(profile)}; choose one of {', '.join(profiles())}.")
    values: dict[str, Any] = copy.deepcopy(_profile_values(profile))
    merge(values, extra or {})
    wrong: list[ConfigurationError] = []
    for override in overrides:
        try:
            parts, nested = read_override(override)
        except ConfigurationError as error:
            wrong.append(error)
            continue
        for part in reversed(parts):
            nested = {part: nested}
        merge(values, nested)
    try:
        config: RunConfig = parse(RunConfig, values)
    except ConfigurationError as error:
        wrong.append(error)
    if wrong:
        raise gathered(wrong)
    return config
