"""The format of a `model` artifact: strict schemas for the files that register writes and compare reads.

In: a `model` artifact. Out: values of known types, finite and bounded. Raises DataError for everything else: even if
somebody edits a model and updates its hashes, the result is a valid model or an error message, never a traceback or
NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from comface.artifacts.manifest import Artifact, newer
from comface.config.names import Word
from comface.errors import DataError
from comface.faces import preprocessing
from comface.faces.framing import FRAMING
from comface.models.seen import MOST_AXES, QUANTILES, Seen
from comface.networks import Backbone
from comface.networks.head import Head
from comface.tasks.config import Mode
from comface.tasks.conformal import Width

if TYPE_CHECKING:
    import torch

FORMAT = 2
"""The format of the package that is written; raise it when an older version could no longer read a package. 1: up to
version 0.2.0, without features.safetensors and perhaps with one half width for all pairs."""
LARGEST_JSON_BYTES = 1 << 20
LARGEST_CARD_BYTES = 1 << 20
SEEN = "features.safetensors"
SPARE_BYTES = 1 << 18
"""Space for the header and small tensors of a weight file, in addition to the weights of the network."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Correlation = Annotated[float, Field(ge=-1.001, le=1.001)]
Side = Annotated[int, Field(ge=16, le=1024)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class _Measured(_Closed):
    mode: Mode = "linear"
    unit: Word = ""
    dataset: Word = ""
    rehearsal: bool = False
    corr: Correlation | None
    mae: Annotated[float, Field(ge=0)] | None = None
    acc: Annotated[float, Field(ge=0, le=1)] | None = None
    protocol_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = Field(
        default="",
        validation_alias=AliasChoices("protocol_sha256", "test_sha256"),
        description="digest of folds and pairs; in models of earlier versions `test_sha256`, another digest",
    )


HalfWidth = Annotated[float, Field(ge=0, le=1e12)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Share(_Closed):
    """A measured share with its 95 % interval (None: too few people)."""

    value: Fraction
    low: Fraction | None = None
    high: Fraction | None = None


class Interval(_Closed):
    """The half width of a prediction interval, in the task's unit: `constant`, plus `weights` times how much two photos
    differ in each condition (tasks/conformal.py)."""

    constant: HalfWidth
    weights: dict[Name, HalfWidth] = Field(default={}, max_length=100)
    mean_half_width: HalfWidth | None = Field(default=None, description="over the test pairs; empty in earlier models")
    measured_coverage: Share | None = Field(default=None, description="on held-out people; empty in earlier models")

    def half_width(self, apart: Mapping[str, float] | None) -> float:
        """For two photos that are `apart` in each condition; None: unknown, which gives the mean."""
        if apart is None:
            return self.constant if self.mean_half_width is None else self.mean_half_width
        return Width(self.constant, self.weights).of(apart)


class Task(_Measured):
    """One task of heads.json: unit, metrics and prediction interval of its estimates."""

    subjects: Annotated[int, Field(ge=1)]
    pairs: Annotated[int, Field(ge=1)]
    coverage: Annotated[float, Field(gt=0.5, lt=1)]
    interval: Interval | None
    why_mode: Annotated[str, Field(max_length=300)] = Field(
        default="", description="why this mode is used; empty in models of earlier versions"
    )
    title: Annotated[str, Field(max_length=126)] = Field(
        default="", description="title of the task that the configuration gives; empty: the one of the registry"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        """Models of earlier versions have one half width for all pairs."""
        if isinstance(values, dict) and "interval_half_width" in values and "interval" not in values:
            half_width = values["interval_half_width"]
            rest = {name: value for name, value in values.items() if name != "interval_half_width"}
            return rest | {"interval": None if half_width is None else {"constant": half_width}}
        return values


class Measurement(_Measured):
    """The metrics of one task, method and mode, recorded by register."""

    task: Name
    method: Name


class ModelFacts(_Closed):
    """The facts in the manifest of a `model` artifact."""

    format: Annotated[int, Field(ge=1, le=FORMAT)] = Field(default=1, description="of the package; 1: not recorded")
    name: Name
    tasks: dict[Name, Task] = Field(min_length=1, max_length=1000)
    metrics: list[Measurement] = Field(max_length=10_000)


class Preprocessing(preprocessing.Preprocessing):
    """Preprocessing of the network, the size of the aligned faces, and whether mirror images are averaged."""

    model_config = ConfigDict(strict=True)
    framing: dict[str, Any]
    aligned_px: Side
    mirrored: bool

    @model_validator(mode="after")
    def _same_framing(self) -> Preprocessing:
        if self.framing != FRAMING:
            raise ValueError("the framing differs from that of this version")
        return self


class _Pretrained(BaseModel):
    """Configuration of pre-training; only the name of the backbone is needed."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    backbone: Backbone


class _Config(_Closed):
    pretrain: _Pretrained
    register_: dict[str, Any] = Field(alias="register", default={})


S = TypeVar("S", bound=BaseModel)


def read_tasks(model: Artifact) -> dict[str, Task]:
    record = _json(model, "heads.json")
    if not isinstance(record, dict) or not 1 <= len(record) <= 1000:
        raise _wrong(model, "heads.json", "it does not have 1 to 1,000 tasks")
    return {task: _valid(Task, values, model, f"heads.json, {_quoted(task)}") for task, values in record.items()}


def read_preprocessing(model: Artifact) -> Preprocessing:
    return _valid(Preprocessing, _json(model, "preprocessing.json"), model, "preprocessing.json")


def read_backbone_name(model: Artifact) -> str:
    return _valid(_Config, _json(model, "config.json"), model, "config.json").pretrain.backbone


def check_format(model: Artifact) -> None:
    """Raises DataError for a package of a format that this version does not know."""
    number = model.facts.get("format", 1)
    if isinstance(number, int) and number > FORMAT:
        version = model.manifest.code.get("version", "")
        raise newer(f"The model at {model.uri}", version, f"package format {number}; this version reads up to {FORMAT}")


def read_facts(model: Artifact) -> ModelFacts:
    check_format(model)
    return _valid(ModelFacts, model.facts, model, "manifest.json, facts")


def read_card(model: Artifact) -> str:
    """Return the card without terminal control characters."""
    text = _bounded(model, "card.md", LARGEST_CARD_BYTES).decode("utf-8", errors="replace")
    return "".join(character for character in text if character == "\n" or character.isprintable())


def read_tensors(model: Artifact, name: str, limit_bytes: int) -> dict[str, torch.Tensor]:
    """Return the tensors of a weight file of at most `limit_bytes`. Raises DataError if a value is not finite."""
    import safetensors.torch
    import torch

    data = _bounded(model, name, limit_bytes)
    try:
        tensors = safetensors.torch.load(data)
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    except Exception as error:  # safetensors raises its own error types, and others for unknown dtypes
        raise _wrong(model, name, f"it is not a readable safetensors file ({type(error).__name__})") from None
    if not finite:
        raise _wrong(model, name, "it contains values that are not finite")
    return tensors


def read_head(model: Artifact, task: str, width: int) -> Head:
    """Return the head of a task for features of `width`. Raises DataError if a tensor is missing or invalid."""
    import torch

    name = f"heads/{task}.safetensors"
    tensors = read_tensors(model, name, 12 * width + SPARE_BYTES)
    vector, one = (torch.float32, (width,)), (torch.float32, (1,))
    wanted = {"mean": vector, "scale": vector, "weight": vector, "bias": one, "antisymmetric": (torch.uint8, (1,))}
    found = {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in tensors.items()}
    if found != wanted:
        raise _wrong(model, name, "it does not fit the backbone")
    if not bool((tensors["scale"] > 0).all()):
        raise _wrong(model, name, "it contains a scale that is not positive")
    if int(tensors["antisymmetric"][0]) > 1:
        raise _wrong(model, name, "its value of 'antisymmetric' is neither 0 nor 1")
    return Head.read({key: tensor.numpy() for key, tensor in tensors.items()})


def read_seen(model: Artifact, width: int) -> Seen | None:
    """Return the distribution of the features (of `model.safetensors`, of `width`) of the photos that the heads were
    fitted on. None for a model of an earlier version, or one without a linear evaluation."""
    import torch

    if SEEN not in model.manifest.objects:
        return None
    tensors = read_tensors(model, SEEN, 4 * (width + 2) * (MOST_AXES + 2) + SPARE_BYTES)
    axes = tensors["axes"].shape[0] if "axes" in tensors and tensors["axes"].dim() == 2 else 0
    shapes = {"mean": (width,), "axes": (axes, width), "deviation": (axes,), "rest": (1,), "distance": (QUANTILES,)}
    found = {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in tensors.items()}
    if not axes or found != {key: (torch.float32, shape) for key, shape in shapes.items()}:
        raise _wrong(model, SEEN, "it does not fit the backbone")
    if not all(bool((tensors[key] > 0).all()) for key in ("deviation", "rest")):
        raise _wrong(model, SEEN, "it contains a deviation that is not positive")
    if not bool((tensors["distance"].diff() >= 0).all()):
        raise _wrong(model, SEEN, "its quantiles do not increase")
    return Seen.read({key: tensor.numpy() for key, tensor in tensors.items()})


def _bounded(model: Artifact, name: str, limit_bytes: int) -> bytes:
    entry = model.manifest.objects.get(name)
    if entry is not None and entry.size_bytes > limit_bytes:
        raise _wrong(
            model, name, f"its size is {entry.size_bytes / 1e6:,.1f} MB, but the limit is {limit_bytes / 1e6:,.1f} MB"
        )
    return model.read(name)


def _json(model: Artifact, name: str) -> Any:
    try:
        return json.loads(_bounded(model, name, LARGEST_JSON_BYTES))
    except (ValueError, RecursionError):
        raise _wrong(model, name, "it is not JSON") from None


def _valid(schema: type[S], values: Any, model: Artifact, name: str) -> S:
    try:
        return schema.model_validate_json(json.dumps(values))
    except (ValidationError, ValueError, RecursionError) as error:
        raise _wrong(model, name, _first(error)) from None


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "its values are not JSON"
    first = error.errors()[0]
    where = ".".join(_quoted(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where or 'it'}: {message[:1].lower()}{message[1:120]}"


def _quoted(part: object) -> str:
    return ascii(str(part)[:60])


def _wrong(model: Artifact, name: str, why: str) -> DataError:
    return DataError(f"The model at {model.uri} cannot be used: in {name}, {why}; register it again.")
