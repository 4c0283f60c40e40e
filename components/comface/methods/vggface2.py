"""The method 'vggface2': a ResNet-50 trained to recognise people on VGGFace2 (Cao et al., 2018).

Two ports of the original Caffe network are public, with the same features and other inputs: one with torchvision's
names in a plain pickle (BGR), one with Caffe's names in a torch file (RGB). Each has two files: `scratch` was trained
on VGGFace2 alone, as Table 1 of the paper says; `ft` was trained on MS-Celeb-1M before. The file decides, and is
recorded.
"""

from __future__ import annotations

from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.layouts import Layout
from comface.methods.published import published
from comface.methods.resnets import CLASSIFIER, CROP, SIDE_PX, caffe_resnet50

RED, GREEN, BLUE = 131.0912 / 255, 103.8827 / 255, 91.4953 / 255
"""Mean colours of the training faces; the network's input is 0 to 255 less these, so the standard deviation is 1/255
of the unit range."""
ONE = (1 / 255,) * 3
CAFFE = (
    (r"^conv1_7x7_s2", "conv1"),
    *((f"^conv{stage + 1}_{block + 1}_", f"layer{stage}.{block}.") for stage in (1, 2, 3, 4) for block in range(6)),
    (r"\b1x1_proj_bn\.", "downsample.1."),
    (r"\b1x1_proj\.", "downsample.0."),
    (r"\b1x1_reduce", "conv1"),
    (r"\b3x3", "conv2"),
    (r"\b1x1_increase", "conv3"),
    (r"\bconv(\d)_bn\.", r"bn\1."),
)
"""From Caffe's names to torchvision's."""

METHOD = published(
    "vggface2",
    "VGGFace2",
    [
        Layout(
            "VGGFace2, pickle with torchvision's names",
            caffe_resnet50,
            Preprocessing(size_px=SIDE_PX, channels="BGR", mean=(BLUE, GREEN, RED), std=ONE),
            CROP,
            dropped=CLASSIFIER,
            classes=8631,
            published="github.com/cydonia999/VGGFace2-pytorch",
        ),
        Layout(
            "VGGFace2, torch file with Caffe's names",
            caffe_resnet50,
            Preprocessing(size_px=SIDE_PX, mean=(RED, GREEN, BLUE), std=ONE),
            Crop(SIDE_PX, SIDE_PX, rounded_up=True),
            marks=("conv1_7x7_s2.weight",),
            dropped=("classifier.",),
            renames=CAFFE,
            published="www.robots.ox.ac.uk/~albanie/pytorch-models.html",
        ),
    ],
    ("resnet50_scratch_weight.pkl", "resnet50_ft_weight.pkl", "resnet50_scratch_dag.pth", "resnet50_ft_dag.pth"),
)
