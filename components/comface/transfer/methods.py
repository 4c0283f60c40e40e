"""The methods that are compared (section 4.3): each turns aligned faces into features with its own preprocessing.

In: uint8 RGB faces (N,S,S,3). Out: features (N,D). A method is a function `(Sources) -> Encoder`, entered in METHODS; a
further one is a file with such a function and a line there. The framing of faces is the same for all.

Legend: N images, S = H = W side length, C = 3 channels, D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError, DataError
from comface.seeds import derive_seed
from comface.views import shown

if TYPE_CHECKING:
    import torch
    from torch import nn

    from comface.config import TransferConfig
    from comface.manifest import Artifact

Faces = NDArray[np.uint8]
BATCH = 16
"""Small enough for the maps of a 224 px network to stay in a core's cache: 32 took 1.7 times as long per face."""
GPU_BATCH = 256
"""Two gigabytes of maps of a ResNet-50 at 224 px."""
PIXELS_SIDE_PX = 12


@dataclass(frozen=True)
class Sources:
    """What a method may be loaded from. `backbone` is a pre-training artifact, `weights` a file of a published method;
    `network`, `image_size_px`, `view_share` and `seed` describe the network with random weights (and the pixels)."""

    backbone: Artifact | None = None
    weights: Path | None = None
    network: str = "resnet50"
    image_size_px: int = 224
    view_share: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, backbone: Artifact | None, weights: Path | None, config: TransferConfig) -> Sources:
        return cls(backbone, weights, config.backbone, config.image_size_px, config.view_share, config.seed)


@dataclass(frozen=True)
class Encoder:
    """`preprocess` makes the network's input of faces; `network` maps it to features (N,D)."""

    width: int
    preprocessing: Mapping[str, Any]
    preprocess: Callable[[Faces], torch.Tensor]
    network: nn.Module
    head: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """`weight` (1,D) and `bias` (1,) of the change head l, where the method brings one (ComFace)."""


WITH_WEIGHTS = ("imagenet",)
"""Methods that read a weight file."""


def load_method(name: str, sources: Sources) -> Encoder:
    """The method called `name`, in evaluation mode. Raises ConfigurationError for one that is not built in,
    DataError for weights that it cannot use."""
    _check_built_in(name)
    encoder = METHODS[name](sources)
    encoder.network.eval()
    return encoder


def default_weights(name: str) -> Path:
    """Where `comface fetch` puts the weights of a published method. Raises ConfigurationError when it has none."""
    from comface.models import IMAGENET, model_path

    _check_built_in(name)
    if name not in WITH_WEIGHTS:
        raise ConfigurationError(f"No weights of the method '{name}' come with the set-up; say where its file lies.")
    return model_path(IMAGENET)


def _check_built_in(name: str) -> None:
    if name not in METHODS:
        raise ConfigurationError(f"The method '{name}' is not built in yet; choose from {', '.join(METHODS)}.")


def can_finetune(name: str) -> bool:
    """Whether the method has layers to train; pixels have none."""
    return name != "pixels"


def best_device() -> str:
    """The GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def encode(encoder: Encoder, faces_NSSC: Faces, device: str = "cpu") -> NDArray[np.float32]:
    """Features (N,D) of faces, in batches, without gradients; BatchNorm with its stored statistics. In full float32 on
    a GPU too: TF32 would change the third digit."""
    import torch

    from comface.backbones import folded

    network = folded(encoder.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = BATCH if device == "cpu" else GPU_BATCH
    parts = [np.empty((0, encoder.width), dtype=np.float32)]
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for start in range(0, len(faces_NSSC), size):
            x_NCHW = encoder.preprocess(np.asarray(faces_NSSC[start : start + size]))
            x_NCHW = x_NCHW.to(device, memory_format=torch.channels_last)
            parts.append(network(x_NCHW).float().cpu().numpy())
    return np.concatenate(parts)


def normalising(
    side_px: int, mean: tuple[float, ...], std: tuple[float, ...], view_share: float = 1.0
) -> tuple[dict[str, Any], Any]:
    """(description, preprocess): RGB, the view resized to `side_px`, (x / 255 - mean) / std per channel."""
    import torch

    def preprocess(faces_NSSC: Faces) -> torch.Tensor:
        x_NSSC = torch.from_numpy(np.ascontiguousarray(shown(faces_NSSC, view_share, side_px))).float() / 255
        return ((x_NSSC - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2).contiguous()

    described = {"view_share": view_share, "size_px": side_px, "channels": "RGB", "mean": list(mean), "std": list(std)}
    return described, preprocess


def _scratch(sources: Sources) -> Encoder:
    """Random weights of the configured network, a function of the seed."""
    import torch

    from comface.backbones import build_backbone

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(sources.seed, "scratch", sources.network))
        network, width = build_backbone(sources.network)
    return Encoder(width, *normalising(sources.image_size_px, (0.5,) * 3, (0.5,) * 3, sources.view_share), network)


def _comface(sources: Sources) -> Encoder:
    """A backbone pre-trained here, and its change head."""
    import torch

    from comface.backbones import build_backbone
    from comface.config import PretrainConfig, parse
    from comface.generators.containers.tables import tensors_in

    if sources.backbone is None:
        raise ConfigurationError("The method 'comface' needs the backbone of a pre-training; pass its artifact.")
    config = parse(PretrainConfig, _known_fields(PretrainConfig, sources.backbone.manifest.config))
    name = "model.safetensors"
    content = sources.backbone.read(name)
    state = {k: torch.from_numpy(v) for k, v in tensors_in(content, f"'{name}' of {sources.backbone.uri}").items()}
    network, width = build_backbone(config.backbone)
    load_whole(network, {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")},
          sources.backbone.uri)  # fmt: skip
    head = {part: state[f"head.linear.{part}"].numpy() for part in ("weight", "bias") if f"head.linear.{part}" in state}
    return Encoder(width, *normalising(config.image_size_px, (0.5,) * 3, (0.5,) * 3, config.view_share), network, head)


def _known_fields(model: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The step may record more than its configuration (what it read, on how many processes)."""
    return {name: values[name] for name in model.model_fields if name in values}


def _imagenet(sources: Sources) -> Encoder:
    """Supervised on ImageNet: whichever of the known layouts the weight file holds."""
    from comface.transfer.imagenet import load_imagenet

    return load_imagenet(sources.weights or default_weights("imagenet"))


def _pixels(sources: Sources) -> Encoder:
    """The face itself at 12 x 12 pixels: what can be done without having learned anything."""
    import torch
    from torch import nn

    def preprocess(faces_NSSC: Faces) -> torch.Tensor:
        return torch.from_numpy(shown(faces_NSSC, sources.view_share, PIXELS_SIDE_PX)).float().permute(0, 3, 1, 2) / 255

    description = {
        "view_share": sources.view_share,
        "size_px": PIXELS_SIDE_PX,
        "channels": "RGB",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    return Encoder(3 * PIXELS_SIDE_PX**2, description, preprocess, nn.Flatten())


def load_whole(network: nn.Module, state: Mapping[str, Any], where: str) -> None:
    """Load all of `state` into all of `network`, or say what does not fit."""
    wanted = network.state_dict()
    lacking = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [k for k in state if k not in wanted or state[k].shape != wanted[k].shape]
    if lacking or wrong:
        raise DataError(
            f"The weights of {where} do not fit the network ({len(lacking)} missing, {len(wrong)} unknown or of "
            f"another shape, first '{(lacking + wrong)[0]}'); pass the weights that belong to it."
        )
    network.load_state_dict(dict(state), strict=False)


METHODS: dict[str, Callable[[Sources], Encoder]] = {
    "scratch": _scratch,
    "pixels": _pixels,
    "imagenet": _imagenet,
    "comface": _comface,
}
