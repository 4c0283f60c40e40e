"""Settings of the methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from comface.config.reading import parse
from comface.config.section import Section
from comface.faces.preprocessing import Preprocessing
from comface.networks import Backbone

if TYPE_CHECKING:
    from comface.artifacts.manifest import Artifact


class UntrainedConfig(Section):
    """Settings of the methods 'scratch' and 'pixels'; part of the section `transfer`."""

    backbone: Backbone = Field(default="resnet50", description="network of the method 'scratch'")
    image_size_px: int = Field(
        default=224, ge=32, le=512, description="side length in pixels of the input of 'scratch'"
    )
    view_share: float = Field(
        default=1.0, gt=0.3, le=1, description="share of the aligned frame that is the input of 'scratch' and 'pixels'"
    )


class TrainedConfig(Section):
    """The part of a backbone's manifest that is needed to build the network and its preprocessing."""

    backbone: Backbone
    image_size_px: int = Field(ge=32, le=512, description="side length of a view in pixels")
    view_share: float = Field(gt=0.3, le=1, description="share of the aligned frame that a view covers")

    @classmethod
    def of(cls, backbone: Artifact) -> TrainedConfig:
        """Read these fields from the manifest of `backbone` and ignore all others. `backbone` may be a model, which
        contains the weights of its backbone and their configuration."""
        recorded = backbone.manifest.config
        if backbone.manifest.kind == "model":
            recorded = backbone.read_json("config.json")["pretrain"]
        return parse(cls, {name: recorded[name] for name in cls.model_fields if name in recorded})

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of pre-training without augmentation."""
        return Preprocessing(view_share=self.view_share, size_px=self.image_size_px)
