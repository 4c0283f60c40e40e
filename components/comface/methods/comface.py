"""The method 'comface': a backbone f pre-trained by this program, and its change head l (sections 3.2 and 3.3).

Its variants `comface:NAME` are the same method with another pre-training: other values of some fields of `pretrain`.
VARIANTS has those of the paper's table 7; a run's configuration can define more (`variants`). `comface:champion` is the
same method with the backbone of the registered champion, which the gate compares with that of the run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from comface.config.names import quoted
from comface.errors import ConfigurationError
from comface.methods.config import TrainedConfig
from comface.methods.encoder import Encoder, Sources, load_whole
from comface.methods.method import Method

PREFIX = "comface:"


@dataclass(frozen=True)
class Variant:
    title: str
    """Appended to the title of the method."""
    pretrain: Mapping[str, Any]
    """Fields of `pretrain` and their values."""


VARIANTS: dict[str, Variant] = {
    "inter": Variant("inter only", {"learning": "inter", "target": "absolute", "curriculum": True}),
    "intra": Variant("intra only", {"learning": "intra", "target": "absolute", "curriculum": True}),
    "both": Variant("absolute change", {"learning": "both", "target": "absolute", "curriculum": True}),
    "signed": Variant("signed change", {"learning": "both", "target": "signed", "curriculum": True}),
    "no-curriculum": Variant("no curriculum", {"learning": "both", "target": "absolute", "curriculum": False}),
}
"""The rows of table 7, (a) to (e). All others define themselves in `variants` of a run's configuration."""


CHAMPION = "champion"


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
    network, width = build_backbone(config.backbone, config.image_size_px)
    load_whole(network, {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")},
          sources.backbone.uri)  # fmt: skip
    head = {part: state[f"head.linear.{part}"].numpy() for part in ("weight", "bias") if f"head.linear.{part}" in state}
    return Encoder(width, config.preprocessing, network, head, folds=True)


METHOD = Method("comface", "ComFace", _load, reads_backbone=True, challenger=True)


def variant(reference: str) -> Method:
    """The method `comface:NAME`. Raises ConfigurationError if NAME is not a name. Whether a run defines the variant is
    checked with the run's configuration."""
    name = variant_name(reference)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", name):
        raise ConfigurationError(
            f"The method {quoted(reference)} is not a variant of ComFace; write {PREFIX}NAME with one of "
            f"{', '.join(VARIANTS)}, or a name that `variants` defines."
        )
    if name == CHAMPION:
        return replace(METHOD, name=reference, title="Champion", challenger=False, of_champion=True)
    told = VARIANTS[name].title if name in VARIANTS else name
    return replace(METHOD, name=reference, title=f"{METHOD.title}, {told}", challenger=False)


def variant_name(method: str) -> str:
    """NAME of `comface:NAME`; empty for all other methods."""
    return method.removeprefix(PREFIX) if method.startswith(PREFIX) else ""
