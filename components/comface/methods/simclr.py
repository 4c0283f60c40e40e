"""The method 'simclr': SimCLR (Chen et al., 2020), trained on ImageNet without labels.

The authors publish TensorFlow checkpoints; two conversions to PyTorch are public, which differ in the names of the
tensors. A third network was trained by VISSL, with another input. TensorFlow's max-pooling pads other sides than
torch's; the conversions ignore this, and so does `simclr`; `simclr:tf-pool` pads as TensorFlow does.
"""

from __future__ import annotations

from dataclasses import replace

from comface.config.names import quoted
from comface.errors import ConfigurationError
from comface.faces.preprocessing import Crop
from comface.methods.method import Method
from comface.methods.published import published
from comface.methods.resnets import CLASSIFIER, UNIT_RANGE, layout, tensorflow_resnet50

SEPARIUS = (
    (r"^net\.0\.0\.", "conv1."),
    (r"^net\.0\.1\.0\.", "bn1."),
    (r"^net\.(\d)\.blocks\.(\d)\.", r"layer\1.\2."),
    (r"\.projection\.shortcut\.", ".downsample.0."),
    (r"\.projection\.bn\.0\.", ".downsample.1."),
    *((rf"\.net\.{2 * i}\.", f".conv{i + 1}.") for i in range(3)),
    *((rf"\.net\.{2 * i + 1}\.0\.", f".bn{i + 1}.") for i in range(3)),
)
"""From the names of SimCLRv2-Pytorch to torchvision's."""

LAYOUTS = (
    layout(
        "SimCLR, torchvision's names",
        UNIT_RANGE,
        crop=Crop(256, 256),
        dropped=CLASSIFIER,
        classes=1000,
        published="github.com/tonylins/simclr-converter",
    ),
    layout(
        "SimCLRv2",
        UNIT_RANGE,
        prefix="resnet.",
        marks=("net.0.0.weight",),
        dropped=CLASSIFIER,
        renames=SEPARIUS,
        published="github.com/Separius/SimCLRv2-Pytorch",
    ),
    layout(
        "SimCLR, VISSL",
        prefix="classy_state_dict.base_model.model.trunk._feature_blocks.",
        published="github.com/facebookresearch/vissl",
    ),
)
FILES = ("resnet50-1x.pth", "r50_1x_sk0.pth", "model_final_checkpoint_phase999.torch")


def option(name: str) -> Method:
    """The method `simclr:tf-pool`. Raises ConfigurationError for another option."""
    if name != "tf-pool":
        raise ConfigurationError(f"The method 'simclr' has no option {quoted(name)}; write simclr or simclr:tf-pool.")
    layouts = [replace(each, build=tensorflow_resnet50) for each in LAYOUTS[:2]]
    return published("simclr:tf-pool", "SimCLR, TensorFlow's pooling", layouts, FILES[:2])


METHOD = published("simclr", "SimCLR", LAYOUTS, FILES, options=option)
