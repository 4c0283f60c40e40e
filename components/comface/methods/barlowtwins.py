"""The method 'barlowtwins': Barlow Twins (Zbontar et al., 2021), trained on ImageNet without labels: the backbone alone
(`resnet50.pth`), or the checkpoint of the training."""

from __future__ import annotations

from comface.methods.published import published
from comface.methods.resnets import layout

REPOSITORY = "github.com/facebookresearch/barlowtwins"

METHOD = published(
    "barlowtwins",
    "Barlow Twins",
    [
        layout("Barlow Twins, training", prefix="backbone.", dropped=("fc.",), published=REPOSITORY),
        layout("Barlow Twins, backbone", published=REPOSITORY),
    ],
    ("resnet50.pth", "barlowtwins/checkpoint.pth"),
)
