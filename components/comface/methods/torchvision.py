"""Methods of the form 'torchvision:NAME': any classification network of torchvision, with the user's weights.

In: NAME, the name of the model in torchvision (resnet50, vit_b_16 …), and its weights as a safetensors or torch file:
torchvision/NAME.safetensors or torchvision/NAME.pth in the weights location, or a local file. Out: an Encoder; its
features are the input of the last linear layer, its input settings those of torchvision's own weights of NAME.
"""

from __future__ import annotations

import warnings

from comface.errors import ConfigurationError
from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.layouts import Layout
from comface.methods.method import Method
from comface.methods.provided import layout_of, provided, unknown

FORM = "torchvision:NAME"
NAMES = r"[a-z0-9][a-z0-9_]{0,80}"


def method(reference: str) -> Method:
    return provided("torchvision", reference, NAMES, _check, _layout)


def _check(name: str) -> None:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown("torchvision", name, known, "torchvision.models.list_models()")


def _layout(name: str) -> Layout:
    from torch import nn
    from torchvision import models

    with warnings.catch_warnings(action="ignore"):  # about the initial weights, which are replaced
        network = models.get_model(name, weights=None)
    linear = [(place, each) for place, each in network.named_modules() if isinstance(each, nn.Linear)]
    if not linear:
        raise ConfigurationError(f"torchvision's '{name}' has no linear classifier to remove; choose another network.")
    place, classifier = linear[-1]
    network.set_submodule(place, nn.Identity())
    expected = models.get_model_weights(name).DEFAULT.transforms()
    size_px = expected.crop_size[0]
    shown = Preprocessing(size_px=size_px, mean=tuple(expected.mean), std=tuple(expected.std))
    crop = Crop(expected.resize_size[0], size_px, bicubic=expected.interpolation.value == "bicubic")
    return layout_of("torchvision", name, network, classifier.in_features, (f"{place}.",), shown, crop)
