"""The section `synthesize`: the composition of the synthetic faces and their edits (section 4.1)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from comface.config.names import Attribute
from comface.config.section import Section, Seed
from comface.directions.config import DirectionUse
from comface.generators import Precision
from comface.generators.registry import BroughtName, GeneratorName

Shift = Annotated[float, Field(ge=-360, le=360)]
MOST_ALPHAS = 1_000
"""Maximum number of images per track; their numbers have three digits."""
MOST_TRACKS = 10_000_000
"""Maximum number of tracks, 30 times as many as in the paper. Plans and indices of all tracks must fit into memory."""
CELEBA = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""The 40 attributes of CelebA (Liu et al., ICCV 2015); with age, smile and weight they are the paper's 43."""


class Share(Section):
    """One entry of the composition: identities of one generator, each edited along some attributes."""

    generator: GeneratorName = Field(description="name of the generator (docs/generators.md)")
    identities: int = Field(ge=1, le=9_999_999, description="number of identities from this generator")
    attributes: tuple[Attribute, ...] = Field(
        min_length=1, max_length=200, description="names of the edited attributes"
    )
    attributes_per_identity: int = Field(
        default=1, ge=1, le=200, description="number of these attributes per identity (identities take turns)"
    )

    @model_validator(mode="after")
    def _enough_attributes(self) -> Share:
        if self.attributes_per_identity > len(self.attributes):
            raise ValueError(f"asks for {self.attributes_per_identity} of {len(self.attributes)} attributes")
        return self


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
    alpha_step: float = Field(default=0.1, ge=0.001, le=20, description="step between neighbouring alphas")
    image_size_px: int = Field(default=256, ge=32, le=1024, description="stored side length in pixels")
    jpeg_quality: int = Field(default=90, ge=50, le=100, description="JPEG quality of stored images")
    truncation_psi: float = Field(default=0.7, ge=0.01, le=1, description="truncation of the StyleGANs")
    directions: dict[BroughtName, dict[Attribute, DirectionUse]] = Field(
        default={},
        description="changes to the use of directions: StyleGAN → attribute → file, space, layers, truncate (before, "
        "after), unit_norm, condition",
    )
    pseudo_aligned: bool = Field(
        default=False, description="StyleGAN3: w does not rotate or shift the picture (for weights of unaligned faces)"
    )
    input_transform: tuple[Shift, Shift, Shift] = Field(
        default=(0.0, 0.0, 0.0),
        description="StyleGAN3: rotation (degrees) and translation x, y of every image, as in NVIDIA's tools",
    )
    precision: Precision = Field(
        default="fast",
        description="StyleGANs on a GPU: fast (float16 in the highest resolutions, TF32, as NVIDIA's tools) or exact "
        "(float32, as on a CPU); tracks of one are not reused for the other",
    )
    parts: int = Field(
        default=512, ge=1, le=4096, description="number of parts, which render in parallel; each part resumes by itself"
    )
    screen_faces: bool = Field(default=True, description="drop identities without a detected face")
    seed: Seed = Field(default=0, description="seed of the identities")

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
