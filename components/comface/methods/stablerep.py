"""The method 'stablerep': a ViT-B/16 trained on images from a text-to-image model (Tian et al., 2023).

Two layouts are public. StableRep has an image tower and a projection (`image_mlp`). StableRep++ also has a text tower,
whose tensors have no prefix; only those below `visual.` are read. The feature is the class token after the last norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface.methods.layouts import Layout
from comface.methods.published import published
from comface.methods.resnets import CROP, IMAGENET

if TYPE_CHECKING:
    from torch import nn


def vit() -> tuple[nn.Module, int]:
    """timm's ViT-B/16 without its classifier: epsilon 1e-6, exact GELU."""
    import timm

    network = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0)
    return network, 768


def _layout(name: str, *others: str) -> Layout:
    return Layout(
        name, vit, IMAGENET, CROP, prefix="visual.", marks=("cls_token", "blocks.11.attn.qkv.weight"), others=others,
        folds=False, published="github.com/google-research/syn-rep-learn",
    )  # fmt: skip


METHOD = published(
    "stablerep",
    "StableRep",
    [_layout("StableRep++", "token_embedding.weight"), _layout("StableRep")],
    ("epoch_last.pth",),
)
