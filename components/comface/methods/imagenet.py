"""The method 'imagenet': published supervised backbones. The layout is detected from the tensors, not from the file
name.

| layout | keys | input at 224 px | feature |
|---|---|---|---|
| EfficientNet-Lite0, original names | `_conv_stem.weight` … | (x - 127) / 128 | mean of 1280 maps |
| EfficientNet-Lite0, timm's names | `conv_stem.weight` … | the same | the same |
| ResNet-50, torchvision's names | `conv1.weight` … | ImageNet mean and std | mean of 2048 maps |

In: a safetensors or torch file; the format is detected from its content. A surrounding `state_dict` and the prefix
`module.` are removed. Out: an Encoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface.errors import DataError
from comface.faces.preprocessing import Preprocessing
from comface.methods.encoder import Encoder, Sources, load_whole
from comface.methods.method import Method
from comface.weights.fetched import IMAGENET
from comface.weights.tensor_tables import read_tensors

if TYPE_CHECKING:
    import torch

SIDE_PX = 224
LITE0_WIDTH = 1280
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks per stage of EfficientNet-Lite0. The original file numbers all blocks consecutively."""
TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
BLOCK = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The first block has no expansion, so its parts have other names."""


def load_imagenet(path: Path) -> Encoder:
    """Load the encoder from a weight file. Raises DataError if the file is missing, damaged or has an unknown
    layout."""
    state = read_tensors(path)
    if "_conv_stem.weight" in state:
        return _lite0(lite0_to_timm(state), path)
    if "conv_stem.weight" in state and "bn2.weight" in state:
        return _lite0(state, path)
    if "conv1.weight" in state and "layer4.2.conv3.weight" in state:
        return _resnet50(state, path)
    raise DataError(
        f"'{path.name}' contains neither EfficientNet-Lite0 (_conv_stem.weight …) nor torchvision's ResNet-50 "
        "(conv1.weight, layer4.2.conv3.weight …); give the weights of one of these as `imagenet`."
    )


def lite0_to_timm(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors from the original names to timm's names. Raises DataError for an unknown name."""
    places = [f"{stage}.{block}" for stage, count in enumerate(LITE0_BLOCKS) for block in range(count)]
    renamed = {}
    for key, tensor in state.items():
        if match := re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)$", key):
            index, part, rest = int(match[1]), match[2], match[3]
            names = FIRST_BLOCK if index == 0 else BLOCK
            if index >= len(places) or part not in names:
                raise DataError(f"EfficientNet-Lite0 has no tensor '{key}'; give the published file.")
            renamed[f"blocks.{places[index]}.{names[part]}.{rest}"] = tensor
        else:
            part, _, rest = key.partition(".")
            renamed[f"{TOP.get(part, part)}.{rest}"] = tensor
    return renamed


def _lite0(state: Mapping[str, torch.Tensor], path: Path) -> Encoder:
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    load_whole(network, {k: v for k, v in state.items() if not k.startswith("classifier.")}, f"'{path.name}'")
    shown = Preprocessing(size_px=SIDE_PX, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    return Encoder(LITE0_WIDTH, shown, network, folds=True)


def _resnet50(state: Mapping[str, torch.Tensor], path: Path) -> Encoder:
    from comface.networks.backbones import build_backbone

    network, width = build_backbone("resnet50")
    load_whole(network, {k: v for k, v in state.items() if not k.startswith("fc.")}, f"'{path.name}'")
    shown = Preprocessing(size_px=SIDE_PX, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return Encoder(width, shown, network, folds=True)


def _load(sources: Sources) -> Encoder:
    return load_imagenet(METHOD.weights(sources))


METHOD = Method(
    "imagenet",
    "ImageNet",
    _load,
    fetched=IMAGENET,
    style=("#2b83c6", "s"),
    limits="Its features describe appearance, not identity: other hair or a turned head can count as another person.",
)
