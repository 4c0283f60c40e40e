"""What the service answers, as models: FastAPI checks each answer and describes it in /openapi.json from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")  # what `compare` adds later passes through


class Change(_Answer):
    title: str = ""
    quantity: str = ""
    change: float = Field(description="estimated change from the first photo to the last, in `unit`")
    unit: str
    interval: tuple[float, float] | None = Field(description="prediction interval; null if none can be given")
    coverage: float = Field(description="share of new people whose true change the interval contains")
    rehearsal: bool = Field(description="fitted on generated faces: says nothing about a real person")
    verdict: Literal["increase", "decrease", "cannot tell"]
    reasons: list[str] = Field(description="why there is no verdict, and other caveats")


class Reason(_Answer):
    code: str
    sentence: str


class Caveats(_Answer):
    refused: bool = Field(description="the pair cannot be trusted: no intervals and no verdicts are given")
    reasons: list[Reason]


class Changes(_Answer):
    changes: dict[str, Change]
    caveats: Caveats | None = None


class Step(_Answer):
    photo: int = Field(description="number of the photo, from 1")
    from_first: Changes = Field(description="the change since the first photo")
    from_previous: Changes = Field(description="the change since the photo before")


class Pictures(_Answer):
    face: str = Field(description="the aligned face, a data URL")
    saliency: str = Field(description="the face under the Eigen-CAM of the network, a data URL")


class Comparison(_Answer):
    """What `comface compare --json` prints; `time_line` and `photos` only if there are more than two photos, or if
    pictures were asked for."""

    model: str
    changes: dict[str, Change]
    caveats: Caveats | None = None
    time_line: list[Step] | None = None
    photos: list[Pictures] | None = None


class ModelFacts(_Answer):
    reference: str
    sha256: str = Field(description="of the model's manifest, which names every file with its sha256")
    rehearsal: bool
    tasks: dict[str, dict[str, Any]]
    card: str = Field(description="the model card, Markdown")
    inputs: dict[str, str] = Field(description="sha256 of the manifests that the model was made from")
    limits: dict[str, float] = Field(description="of a request: photos, bytes and pixels of a photo, bytes in all")


class Said(_Answer):
    code: str
    message: str
    photo: int | None = Field(default=None, description="number of the photo that is refused, from 1")


class Error(_Answer):
    error: Said


class Status(_Answer):
    status: str


class Encoded(BaseModel):
    b64: str


class Instance(BaseModel):
    """Two or more photos of one person, oldest first."""

    photos: Annotated[list[Encoded], Field(min_length=2)]


class Instances(BaseModel):
    """KServe's V1 protocol."""

    instances: Annotated[list[Instance], Field(min_length=1)]


class Predictions(BaseModel):
    predictions: list[Comparison]


class Served(BaseModel):
    name: str
    ready: bool
