"""What the methods of the ResNet-50 family share: networks, inputs, and the layout with torchvision's names.

All of them publish a ResNet-50 whose feature is the mean of 2048 maps. The networks differ for VGGFace2 alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.layouts import Layout

if TYPE_CHECKING:
    from torch import nn

SIDE_PX = 224
IMAGENET = Preprocessing(size_px=SIDE_PX, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SWAV = Preprocessing(size_px=SIDE_PX, mean=(0.485, 0.456, 0.406), std=(0.228, 0.224, 0.225))
"""SwAV's code has 0.228, where ImageNet's usual value is 0.229."""
UNIT_RANGE = Preprocessing(size_px=SIDE_PX, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""Colours in [0, 1], not normalised."""
CROP = Crop(256, SIDE_PX)
CLASSIFIER = ("fc.",)


def resnet50() -> tuple[nn.Module, int]:
    """torchvision's ResNet-50 without its classifier."""
    from comface.networks.backbones import build_backbone

    return build_backbone("resnet50")


def caffe_resnet50() -> tuple[nn.Module, int]:
    """The ResNet-50 of the Caffe networks: stages 2 to 4 have their stride in the first 1x1 convolution instead of the
    3x3, and the max-pooling has no padding. Its tensors have torchvision's names and shapes, so torchvision's network
    loads them and gives wrong features."""
    from torch import nn

    network, width = resnet50()
    network.maxpool = nn.MaxPool2d(3, 2, 0, ceil_mode=True)
    for stage in (network.layer2, network.layer3, network.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)  # type: ignore[index, union-attr]
    return network, width


def tensorflow_resnet50() -> tuple[nn.Module, int]:
    """torchvision's ResNet-50 with TensorFlow's padding 'SAME' of the max-pooling: right and bottom only. Its inputs
    are at least 0, so zeros do not change a maximum."""
    from torch import nn

    network, width = resnet50()
    network.maxpool = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, 2))
    return network, width


def layout(name: str, preprocessing: Preprocessing = IMAGENET, **fields: Any) -> Layout:
    """A layout of torchvision's ResNet-50."""
    return Layout(name, preprocessing=preprocessing, **{"build": resnet50, "crop": CROP, **fields})
