"""The method 'comface': a backbone f pre-trained by this program, and its change head l (sections 3.2 and 3.3)."""

from __future__ import annotations

from comface.errors import ConfigurationError
from comface.methods.config import TrainedConfig
from comface.methods.encoder import Encoder, Sources, load_whole
from comface.methods.method import Method


def _load(sources: Sources) -> Encoder:
    import torch

    from comface.networks.backbones import build_backbone
    from comface.weights.tensor_tables import tensors_in

    if sources.backbone is None:
        raise ConfigurationError("The method 'comface' needs a pre-trained backbone; pass its artifact.")
    config = TrainedConfig.of(sources.backbone)
    name = "model.safetensors"
    content = sources.backbone.read(name)
    state = {k: torch.from_numpy(v) for k, v in tensors_in(content, f"'{name}' of {sources.backbone.uri}").items()}
    network, width = build_backbone(config.backbone)
    load_whole(network, {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")},
          sources.backbone.uri)  # fmt: skip
    head = {part: state[f"head.linear.{part}"].numpy() for part in ("weight", "bias") if f"head.linear.{part}" in state}
    return Encoder(width, config.preprocessing, network, head, folds=True)


METHOD = Method("comface", "ComFace", _load, reads_backbone=True, challenger=True, style=("#d55e00", "o"))
