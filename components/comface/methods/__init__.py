"""The methods that are compared (section 4.3): each turns aligned faces into features with its own preprocessing.

In: uint8 RGB faces (N,S,S,3). Out: features (N,D). A method is a function `(Sources) -> Encoder`, entered in METHODS; a
further one is a file with such a function and a line there. The framing of faces is the same for all.

Legend: N images, S = H = W side length, C = 3 channels, D feature width.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.artifacts.manifest import file_sha256
from comface.errors import ConfigurationError, DataError
from comface.faces.preprocessing import Preprocessing
from comface.methods.config import TrainedConfig, UntrainedConfig
from comface.methods.encoder import Encoder, Sources, load_whole
from comface.seeds import derive_seed

if TYPE_CHECKING:
    from comface.artifacts.manifest import Artifact

PIXELS_SIDE_PX = 12


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
    from comface.weights.fetched import IMAGENET, model_path

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


def _scratch(sources: Sources) -> Encoder:
    """Random weights of the configured network, a function of the seed."""
    import torch

    from comface.networks.backbones import build_backbone

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(sources.seed, "scratch", sources.network))
        network, width = build_backbone(sources.network)
    return Encoder(width, Preprocessing(view_share=sources.view_share, size_px=sources.image_size_px), network)


def _comface(sources: Sources) -> Encoder:
    """A backbone pre-trained here, and its change head."""
    import torch

    from comface.networks.backbones import build_backbone
    from comface.weights.tensor_tables import tensors_in

    if sources.backbone is None:
        raise ConfigurationError("The method 'comface' needs the backbone of a pre-training; pass its artifact.")
    config = TrainedConfig.of(sources.backbone)
    name = "model.safetensors"
    content = sources.backbone.read(name)
    state = {k: torch.from_numpy(v) for k, v in tensors_in(content, f"'{name}' of {sources.backbone.uri}").items()}
    network, width = build_backbone(config.backbone)
    load_whole(network, {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")},
          sources.backbone.uri)  # fmt: skip
    head = {part: state[f"head.linear.{part}"].numpy() for part in ("weight", "bias") if f"head.linear.{part}" in state}
    return Encoder(width, config.preprocessing, network, head)


def _imagenet(sources: Sources) -> Encoder:
    """Supervised on ImageNet: whichever of the known layouts the weight file holds."""
    from comface.methods.imagenet import load_imagenet

    return load_imagenet(sources.weights or default_weights("imagenet"))


def _pixels(sources: Sources) -> Encoder:
    """The face itself at 12 x 12 pixels: what can be done without having learned anything."""
    from torch import nn

    shown = Preprocessing(
        view_share=sources.view_share, size_px=PIXELS_SIDE_PX, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    return Encoder(3 * PIXELS_SIDE_PX**2, shown, nn.Flatten())


METHODS: dict[str, Callable[[Sources], Encoder]] = {
    "scratch": _scratch,
    "pixels": _pixels,
    "imagenet": _imagenet,
    "comface": _comface,
}


def method_inputs(
    method: str, backbone: Artifact | None, weights: Path | None, config: UntrainedConfig
) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """What a method's network depends on, no more, so that as much as can be is shared: part of the configuration, and
    input artifacts."""
    if method == "comface":
        return {}, {"backbone": backbone} if backbone is not None else {}
    if method == "pixels":
        return {"view_share": config.view_share}, {}
    if method == "scratch":
        fields = {"backbone", "image_size_px", "view_share", "seed"}
        return {f"network_{name}": value for name, value in config.model_dump(include=fields).items()}, {}
    path = weights or default_weights(method)
    if not path.is_file():
        raise DataError(f"The weights of '{method}' are not at '{path}'; run `comface fetch`, or give their place.")
    return {"weights_sha256": file_sha256(path)}, {}
