"""Tiny weight files in every public layout, made from random states: what tests of the containers read."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from comface.generators.stylegan.stylegan1 import StyleGan1, StyleGan1Config
from comface.generators.stylegan.stylegan2 import StyleGan2, StyleGan2Config

GOLDEN = Path(__file__).parents[1] / "data" / "generators"
TINY1 = StyleGan1Config(6, 6, 6, 8, (4, 3), (False, False))
TINY2 = StyleGan2Config(6, 6, 3, (5, 4))
SOURCE = "raise RuntimeError('the source inside a weight file was run')"
State = dict[str, Tensor]


def random_state(network: nn.Module, seed: int = 1) -> State:
    """Every tensor of the network drawn anew, except filters and what is published as a constant."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, tensor in network.state_dict().items():
        state[name] = torch.randn(tensor.shape, generator=generator)
        if name.endswith("resample_filter"):
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
            state[name] = torch.outer(taps, taps) / 64
        elif name.endswith("blur.kernel"):
            taps = torch.tensor([1.0, 2.0, 1.0])
            state[name] = (torch.outer(taps, taps) / 16).expand(tensor.shape).contiguous()
    return state


def stylegan1_state() -> State:
    """As a converted .pth has it: without truncation.truncation."""
    state = random_state(StyleGan1(TINY1))
    del state["truncation.truncation"]
    return state


def stylegan2_state() -> State:
    return random_state(StyleGan2(TINY2))


def torch_file(value: Any, zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def nvidia_pickle(
    state: State,
    arguments: dict[str, Any],
    clamp: float | None = None,
    protocol: int = 4,
    beside: dict[str, Any] | None = None,
) -> bytes:
    """As torch and numpy of today write it: plain dictionaries, numpy._core. `beside`: other entries of the file."""
    with published_modules() as (reconstruct, easy_dict, _):

        class Persistent:
            def __init__(self, meta: dict[str, Any]) -> None:
                self.meta = meta

            def __reduce__(self) -> tuple[Any, ...]:
                return reconstruct, (self.meta,)

        def module(prefix: str, class_name: str, own: dict[str, Any]) -> Persistent:
            names = [name for name in state if name.startswith(prefix)]
            tails = [name.removeprefix(prefix) for name in names]
            children = dict.fromkeys(tail.split(".")[0] for tail in tails if "." in tail)
            values = {tail: state[prefix + tail] for tail in tails if "." not in tail}
            classes = {"synthesis": "SynthesisNetwork", "conv0": "SynthesisLayer", "conv1": "SynthesisLayer"}
            extra = {"conv_clamp": clamp, "size": np.int64(4)} if class_name == "SynthesisLayer" else {}
            inner = {
                "training": False,
                "_parameters": {name: nn.Parameter(value) for name, value in values.items() if "avg" not in name},
                "_buffers": {name: value for name, value in values.items() if "avg" in name} | {"gone": None},
                "_non_persistent_buffers_set": set(),
                "_modules": {name: module(f"{prefix}{name}.", classes.get(name, "Other"), {}) for name in children},
                **extra,
                **own,
            }
            meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": class_name, "state": inner}
            return Persistent(meta)

        kwargs = easy_dict(arguments)
        generator = module("", "Generator", {"_init_args": (), "_init_kwargs": kwargs})
        whole = {"G": None, "D": None, "G_ema": generator, "augment_pipe": None, "training_set_kwargs": {}}
        return pickle.dumps(whole | (beside or {}), protocol)


def tensorflow_pickle(parts: dict[str, dict[str, np.ndarray]]) -> bytes:
    """(G, D, Gs); `parts`: variables of "" (Gs itself), "mapping" and "synthesis"."""
    with published_modules() as (_, _, network):

        def made(variables: dict[str, np.ndarray], components: dict[str, Any]) -> Any:
            made_ = network()
            made_.__dict__.update(
                version=3,
                name="G",
                static_kwargs={"resolution": 8},
                components=components,
                build_module_src=SOURCE,
                build_func_name="G",
                variables=list(variables.items()),
            )
            return made_

        inner = {name: made(variables, {}) for name, variables in parts.items() if name}
        return pickle.dumps((made({}, {}), made({}, {}), made(parts.get("", {}), inner)), 4)


@contextlib.contextmanager
def published_modules() -> Iterator[tuple[Any, Any, Any]]:
    """The names that the published pickles refer to, importable while something is pickled."""

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("a reader called what it read")

    names = {
        "torch_utils.persistence": _reconstruct_persistent_obj,
        "dnnlib.util": type("EasyDict", (dict,), {}),
        "dnnlib.tflib.network": type("Network", (), {}),
    }
    added = []
    for module_name, value in names.items():
        parts = module_name.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            if name not in sys.modules:
                sys.modules[name] = types.ModuleType(name)
                added.append(name)
        value.__module__ = module_name
        value.__qualname__ = value.__name__
        setattr(sys.modules[module_name], value.__name__, value)
    try:
        yield tuple(names.values())  # type: ignore[misc]
    finally:
        for name in added:
            del sys.modules[name]


def rosinality_file(state: State) -> bytes:
    """NVIDIA's StyleGAN2 state under rosinality's names."""
    renamed: State = OrderedDict()
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "mapping" and parts[1] != "w_avg":
            renamed[f"style.{int(parts[1][2:]) + 1}.{parts[2]}"] = tensor
        elif name == "synthesis.b4.const":
            renamed["input.input"] = tensor[None]
        elif parts[0] == "synthesis" and parts[2] in ("conv0", "conv1", "torgb"):
            _rosinality_layer(renamed, int(parts[1][1:]), parts[2], ".".join(parts[3:]), tensor)
        elif name == "synthesis.b8.resample_filter":
            renamed["to_rgbs.0.upsample.kernel"] = tensor * 4
    return torch_file({"g_ema": renamed, "latent_avg": state["mapping.w_avg"]}, zipped=True)


def _rosinality_layer(renamed: State, size: int, part: str, end: str, tensor: Tensor) -> None:
    level = {4: 0, 8: 1}[size]
    if part == "torgb":
        prefix = "to_rgb1" if level == 0 else f"to_rgbs.{level - 1}"
        ends = {"weight": ("conv.weight", tensor[None]), "bias": ("bias", tensor[None, ..., None, None])}
    else:
        number = 0 if level == 0 else 2 * level - (part == "conv0")
        prefix = "conv1" if number == 0 else f"convs.{number - 1}"
        if end == "noise_const":
            renamed[f"noises.noise_{number}"] = tensor[None, None]
            return
        if end == "resample_filter":
            if part == "conv0":
                renamed[f"{prefix}.conv.blur.kernel"] = tensor * 4
            return
        ends = {
            "weight": ("conv.weight", tensor[None]),
            "bias": ("activate.bias", tensor),
            "noise_strength": ("noise.weight", tensor[None]),
        }
    ends |= {f"affine.{kind}": (f"conv.modulation.{kind}", tensor) for kind in ("weight", "bias")}
    renamed[f"{prefix}.{ends[end][0]}"] = ends[end][1]
