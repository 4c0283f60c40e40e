"""The method 'farl': the image tower of a CLIP ViT-B/16 trained on faces and captions (Zheng et al., 2022).

The text tower has tensors of the same names, without prefix; only those below `visual.` are read, and the decoder of
masked patches below it is dropped. The feature is ln_post of the class token (768 values); `farl:proj` is its
projection (512 values), which FaRL's example compares with captions and its own downstream code does not use.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from comface.config.names import quoted
from comface.errors import ConfigurationError
from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.layouts import Layout
from comface.methods.method import Method
from comface.methods.published import published

if TYPE_CHECKING:
    from torch import nn

SIDE_PX = 224
CLIP = Preprocessing(
    size_px=SIDE_PX, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)
)


def _build(output: str) -> tuple[nn.Module, int]:
    from comface.networks.clip import ClipVisual

    network = ClipVisual(output)
    return network, network.width


def _method(name: str, title: str, output: str, **fields: Any) -> Method:
    layout = Layout(
        "FaRL (CLIP's image tower)",
        functools.partial(_build, output),
        CLIP,
        Crop(SIDE_PX, SIDE_PX, bicubic=True),
        prefix="visual.",
        marks=("class_embedding", "ln_pre.weight"),
        dropped=("mask_token", "lm_transformer.", "ln_lm.", "lm_head."),
        folds=False,
        published="github.com/FacePerceiver/FaRL",
    )
    files = ("FaRL-Base-Patch16-LAIONFace20M-ep16.pth", "FaRL-Base-Patch16-LAIONFace20M-ep64.pth")
    return published(name, title, [layout], files, **fields)


def option(name: str) -> Method:
    """The method `farl:proj`. Raises ConfigurationError for another option."""
    if name != "proj":
        raise ConfigurationError(f"The method 'farl' has no option {quoted(name)}; write farl or farl:proj.")
    return _method("farl:proj", "FaRL, projection", "proj")


METHOD = _method("farl", "FaRL", "cls", options=option)
