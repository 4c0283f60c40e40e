"""The method 'swav': SwAV (Caron et al., 2020), trained on ImageNet without labels. The published file is a flat table
of tensors; a checkpoint of a training has them in `state_dict`."""

from __future__ import annotations

from comface.methods.published import published
from comface.methods.resnets import SWAV, layout

METHOD = published(
    "swav",
    "SwAV",
    [layout("SwAV", SWAV, dropped=("projection_head.", "prototypes."), published="github.com/facebookresearch/swav")],
    ("swav_800ep_pretrain.pth.tar",),
)
