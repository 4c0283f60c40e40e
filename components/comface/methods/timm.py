"""Methods of the form 'timm:NAME': any timm backbone, with weights that the user provides.

In: NAME, the name of the model in timm (resnet18, resnet50.a1_in1k …), and its weights as a safetensors or torch file:
timm/NAME.safetensors in the weights location, or a local file. Nothing is downloaded, and no code in the file is
executed. Out: an Encoder with timm's input settings for NAME (side length, mean, standard deviation) and pooled
features. timm's crop is not applied, because the face is already framed.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from comface.config.names import quoted
from comface.errors import ConfigurationError
from comface.faces.preprocessing import Preprocessing
from comface.methods.encoder import Encoder, Sources, load_whole, tried
from comface.methods.method import Method
from comface.weights.tensor_tables import read_tensors

FORM = "timm:NAME"
NAME = re.compile(r"timm:([a-z0-9][a-z0-9_]{0,80}(?:\.[a-z0-9_]{1,60})?)")


def method(reference: str) -> Method:
    match = NAME.fullmatch(reference)
    if match is None:
        raise ConfigurationError(
            f"The method {quoted(reference)} does not have the form {FORM}; give the name of a timm model."
        )
    name = match[1]
    return Method(
        reference,
        f"{name} (timm)",
        functools.partial(_load, name),
        check=functools.partial(_check, name),
        files=(f"timm/{name}.safetensors",),
    )


def _check(name: str) -> None:
    import timm

    if not timm.is_model(name):
        import difflib

        near = difflib.get_close_matches(name, timm.list_models(), 3)
        raise ConfigurationError(
            f"timm has no model '{name}'; choose one of `timm.list_models()`"
            + (f", for example {', '.join(near)}." if near else ".")
        )


def _load(name: str, sources: Sources) -> Encoder:
    import timm
    from timm.data.config import resolve_model_data_config

    _check(name)
    path = method(f"timm:{name}").weights(sources)
    try:
        network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError) as error:  # the tag after the dot is unknown
        raise ConfigurationError(f"timm cannot build '{name}' ({error}); choose another name.") from None
    config = resolve_model_data_config(network)
    classifiers = network.pretrained_cfg.get("classifier") or ()
    tops = tuple(f"{top}." for top in ([classifiers] if isinstance(classifiers, str) else classifiers))
    state = {key: value for key, value in read_tensors(path).items() if not key.startswith(tops)}
    load_whole(network, state, f"'{path.name}'")
    shown = Preprocessing(size_px=config["input_size"][-1], mean=config["mean"], std=config["std"])
    width = getattr(network, "head_hidden_size", None) or network.num_features
    return tried(Encoder(width, shown, network), f"timm:{name}")
