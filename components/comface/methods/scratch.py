"""The method 'scratch': the configured network with random weights, the lower bound for all other methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comface.faces.preprocessing import Preprocessing
from comface.methods.encoder import Encoder, Sources
from comface.methods.method import Method
from comface.seeds import derive_seed


def _load(sources: Sources) -> Encoder:
    """Build the network; the same seed gives the same weights."""
    import torch

    from comface.networks.backbones import build_backbone

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(sources.seed, "scratch", sources.network))
        network, width = build_backbone(sources.network, sources.image_size_px)
    shown = Preprocessing(view_share=sources.view_share, size_px=sources.image_size_px)
    return Encoder(width, shown, network, folds=True)


def _fields(sources: Sources) -> Mapping[str, Any]:
    return {
        "network_backbone": sources.network,
        "network_image_size_px": sources.image_size_px,
        "network_view_share": sources.view_share,
        "network_seed": sources.seed,
    }


METHOD = Method("scratch", "Scratch", _load, _fields, random=True)
