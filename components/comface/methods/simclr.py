"""The method 'simclr': SimCLR (Chen et al., 2020), trained on ImageNet without labels.

The authors publish TensorFlow checkpoints; three conversions to PyTorch are public. They differ in the names of the
tensors and in the input; the third one was trained by VISSL. TensorFlow's max-pooling pads other sides than torch's;
the conversions ignore this, and so does this method.
"""

from __future__ import annotations

from comface.faces.preprocessing import Crop
from comface.methods.published import published
from comface.methods.resnets import CLASSIFIER, UNIT_RANGE, layout

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

METHOD = published(
    "simclr",
    "SimCLR",
    [
        layout(
            "SimCLR, torchvision's names",
            UNIT_RANGE,
            crop=Crop(256, 256),
            dropped=CLASSIFIER,
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
    ],
    ("resnet50-1x.pth", "r50_1x_sk0.pth", "model_final_checkpoint_phase999.torch"),
    style=("#44aa99", "<"),
)
