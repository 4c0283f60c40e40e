"""The method 'mocov2': MoCo v2 (Chen et al., 2020), trained on ImageNet without labels. The query encoder is used."""

from __future__ import annotations

from comface.methods.published import published
from comface.methods.resnets import CLASSIFIER, layout

METHOD = published(
    "mocov2",
    "MoCo v2",
    [layout("MoCo v2", prefix="encoder_q.", dropped=CLASSIFIER, published="github.com/facebookresearch/moco")],
    ("moco_v2_800ep_pretrain.pth.tar", "moco_v2_200ep_pretrain.pth.tar"),
)
