"""Methods of the form 'timm:NAME': any timm backbone, with weights that the user provides.

In: NAME, the name of the model in timm (resnet18, resnet50.a1_in1k …), and its weights as a safetensors or torch file:
timm/NAME.safetensors or timm/NAME.pth in the weights location, or a local file. Out: an Encoder with timm's input
settings for NAME (side length, mean, standard deviation) and pooled features. timm's crop is applied only to images
that are taken as they are, because an aligned face is already framed.
"""

from __future__ import annotations

from typing import Any

from comface.errors import ConfigurationError
from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.layouts import Layout
from comface.methods.method import Method
from comface.methods.provided import layout_of, provided, unknown

FORM = "timm:NAME"
NAMES = r"[a-z0-9][a-z0-9_]{0,80}(?:\.[a-z0-9_]{1,60})?"


def method(reference: str) -> Method:
    return provided("timm", reference, NAMES, _check, _layout)


def _check(name: str) -> None:
    import timm

    if not timm.is_model(name):
        raise unknown("timm", name, timm.list_models(), "timm.list_models()")


def _layout(name: str) -> Layout:
    import timm
    from timm.data.config import resolve_model_data_config

    try:
        network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError) as error:  # the tag after the dot is unknown
        raise ConfigurationError(f"timm cannot build '{name}' ({error}); choose another name.") from None
    config = resolve_model_data_config(network)
    classifiers = network.pretrained_cfg.get("classifier") or ()
    tops = tuple(f"{top}." for top in ([classifiers] if isinstance(classifiers, str) else classifiers))
    size_px = config["input_size"][-1]
    shown = Preprocessing(size_px=size_px, mean=config["mean"], std=config["std"])
    crop = Crop(int(size_px / config["crop_pct"]), size_px, bicubic=config["interpolation"] == "bicubic")
    width = getattr(network, "head_hidden_size", None) or network.num_features
    return layout_of("timm", name, network, width, tops, shown, crop)
