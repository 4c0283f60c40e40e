"""Build a network from the state of a weight file. Names and shapes determine the architecture; facts give the rest.

In: family, float32 arrays by canonical name, facts (constructor arguments, if the container has them). Out: the network
with those weights, without a copy. It is built only after every name and shape was compared with the architecture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from comface.errors import DataError
from comface.generators.stylegan.absent import MEANS, NOISE, W_AVG, drawn_noise, mean_of
from comface.generators.stylegan.stylegan1 import StyleGan1, StyleGan1Config
from comface.generators.stylegan.stylegan2 import StyleGan2, StyleGan2Config
from comface.generators.stylegan.stylegan3 import StyleGan3, StyleGan3Config, layer_plans
from comface.weights.container import Container
from comface.weights.pickle_machine import Refused

Arrays = Mapping[str, np.ndarray]
StyleGan = StyleGan1 | StyleGan2 | StyleGan3
LARGEST_SIDE_PX = 4096
LOW_PASS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
PUBLISHED_PSI = 0.7

_STYLEGAN3_FACTS: dict[str, tuple[str, float, float]] = {
    "num_critical": ("critical", 0, 8),
    "first_cutoff": ("first_cutoff", 0.1, 64),
    "first_stopband": ("first_stopband", 0.1, 256),
    "last_stopband_rel": ("last_stopband_rel", 1, 4),
    "margin_size": ("margin", 0, 64),
    "output_scale": ("output_scale", 1e-3, 1e3),
    "filter_size": ("filter_size", 1, 16),
    "lrelu_upsampling": ("lrelu_upsampling", 1, 4),
}
"""Constructor argument -> field of the configuration, minimum and maximum."""


def build(
    family: str, arrays: Arrays, facts: Mapping[str, Any], own_names: Mapping[str, str] | None = None
) -> StyleGan:
    """The network of a state. Raises Refused with the first tensor that does not fit, by its name in the file
    (`own_names`).

    If the file lacks the mean w or the noise, they are computed (absent.py); `computed` of the network describes
    how."""
    if any(name.startswith("mapping.embed") for name in arrays):
        raise Refused("it contains a class-conditional generator, not one of faces")
    with torch.device("meta"):
        if family == "stylegan":
            network: StyleGan = StyleGan1(_stylegan1(arrays))
        elif family == "stylegan2":
            network = StyleGan2(_stylegan2(arrays, facts))
        else:
            network = StyleGan3(_stylegan3(arrays, facts))
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    complete = {**_left_out(network), **arrays}
    network.computed = {}
    noise = [name for name in wanted if name.endswith((".noise_const", ".apply_noise.noise"))]
    if noise and not any(name in arrays for name in noise):
        complete |= drawn_noise({name: wanted[name] for name in noise})
        network.computed["noise"] = NOISE
    without_mean = MEANS[family] not in arrays
    if without_mean:
        complete[MEANS[family]] = np.zeros(wanted[MEANS[family]], np.float32)
    _check_names(complete, wanted, own_names or {})
    network.load_state_dict({name: torch.from_numpy(complete[name]) for name in wanted}, assign=True)
    network = network.eval().requires_grad_(False)
    if without_mean:
        mean_of(network, MEANS[family])
        network.computed["w_avg"] = W_AVG
    return network


def network_of(container: Container, path: Path) -> StyleGan:
    """The network in a container. Raises DataError that names the file."""
    try:
        return build(container.family, container.arrays, container.facts, container.own_names)
    except Refused as refused:
        raise DataError(f"The weight file {path} was refused: {refused}; get the published file again.") from None


def _check_names(complete: Arrays, wanted: Mapping[str, tuple[int, ...]], own_names: Mapping[str, str]) -> None:
    for name in wanted:
        if name not in complete:
            raise Refused(_missing(name, own_names))
        if complete[name].shape != wanted[name]:
            own = own_names.get(name, name)
            canonical = "" if own == name else f" ({name} in comface)"
            raise Refused(f"its tensor {own}{canonical} has the shape {complete[name].shape}, not {wanted[name]}")
    unknown = next((name for name in complete if name not in wanted), None)
    if unknown is not None:
        own = own_names.get(unknown, unknown)
        raise Refused(f"it has the tensor {ascii(own)[:80]}, which the architecture lacks")


def _missing(name: str, own_names: Mapping[str, str]) -> str:
    """The reason for a missing tensor, in the file's naming scheme."""
    if any(own != canonical for canonical, own in own_names.items()):
        return f"it lacks the tensor that is called {name} in comface"
    return f"its tensor {name} is missing"


def _left_out(network: nn.Module) -> dict[str, np.ndarray]:
    """Tensors that containers omit because they are the same in every file."""
    if isinstance(network, StyleGan1):
        psi_1L1 = np.ones((1, network.layers, 1), np.float32)
        psi_1L1[:, : network.config.truncated_layers] = PUBLISHED_PSI
        return {"truncation.truncation": psi_1L1, "synthesis.lod": np.zeros((), np.float32)}
    if isinstance(network, StyleGan3):
        return {"synthesis.input.transform": np.eye(3, dtype=np.float32)}
    return {name: LOW_PASS.copy() for name in network.state_dict() if name.endswith("resample_filter")}


def _shape(arrays: Arrays, name: str, axes: int) -> tuple[int, ...]:
    if name not in arrays:
        raise Refused(f"its tensor {name} is missing")
    if arrays[name].ndim != axes or 0 in arrays[name].shape:
        raise Refused(f"its tensor {name} has the invalid shape {arrays[name].shape}")
    return arrays[name].shape


def _w_width(arrays: Arrays, layer: str, mapping_layers: int) -> int:
    """The width of w, from the mapping's last layer, because not every file has the mean w."""
    return _shape(arrays, layer.format(mapping_layers - 1), 2)[0]


def _count(arrays: Arrays, pattern: str) -> int:
    """The number of matching names. Raises Refused if they are not numbered from 0 without gaps."""
    numbers = {int(match[1]) for match in (re.fullmatch(pattern, name) for name in arrays) if match}
    if not numbers or numbers != set(range(len(numbers))) or len(numbers) > 64:
        raise Refused("its layers are not numbered as those of a generator")
    return len(numbers)


def _stylegan1(arrays: Arrays) -> StyleGan1Config:
    count = _count(arrays, r"synthesis\.output(\d{1,3})\.bias")
    _check_side(4 * 2 ** (count - 1))
    mapping_layers = _count(arrays, r"mapping\.dense(\d{1,3})\.linear\.weight")
    hidden, z_width = _shape(arrays, "mapping.dense0.linear.weight", 2)
    return StyleGan1Config(
        z_width=z_width,
        w_width=_w_width(arrays, "mapping.dense{}.linear.weight", mapping_layers),
        hidden_width=hidden,
        mapping_layers=mapping_layers,
        channels=tuple(_shape(arrays, f"synthesis.output{i}.conv.weight", 4)[1] for i in range(count)),
        fused=tuple(f"synthesis.layer{2 * i}.weight" in arrays for i in range(count)),
    )


def _stylegan2(arrays: Arrays, facts: Mapping[str, Any]) -> StyleGan2Config:
    sizes = sorted({int(m[1]) for m in (re.fullmatch(r"synthesis\.b(\d{1,4})\.torgb\.bias", n) for n in arrays) if m})
    if not sizes or sizes != [4 * 2**i for i in range(len(sizes))]:
        raise Refused("it is not a StyleGAN2 of config F (its skip generator lacks an image at some resolution)")
    _check_side(sizes[-1])
    mapping_layers = _count(arrays, r"mapping\.fc(\d{1,3})\.weight")
    return StyleGan2Config(
        z_width=_shape(arrays, "mapping.fc0.weight", 2)[1],
        w_width=_w_width(arrays, "mapping.fc{}.weight", mapping_layers),
        mapping_layers=mapping_layers,
        channels=tuple(_shape(arrays, f"synthesis.b{size}.torgb.weight", 4)[1] for size in sizes),
        clamp=_clamp(facts, None),
    )


def _stylegan3(arrays: Arrays, facts: Mapping[str, Any]) -> StyleGan3Config:
    pattern = re.compile(r"synthesis\.L(\d{1,2})_(\d{1,5})_(\d{1,5})\.weight")
    named = sorted(tuple(map(int, match.groups())) for match in map(pattern.fullmatch, arrays) if match)
    if not 4 <= len(named) <= 64 or [row[0] for row in named] != list(range(len(named))):
        raise Refused("its layers are not numbered as those of a generator")
    side_px = named[-1][1]
    _check_side(side_px)
    chosen: dict[str, Any] = {}
    for fact, (field, least, most) in _STYLEGAN3_FACTS.items():
        if fact in facts:
            chosen[field] = _within(fact, facts[fact], least, most, type(getattr(StyleGan3Config(), field)))
    mapping_layers = _count(arrays, r"mapping\.fc(\d{1,3})\.weight")
    config = StyleGan3Config(
        z_width=_shape(arrays, "mapping.fc0.weight", 2)[1],
        w_width=_w_width(arrays, "mapping.fc{}.weight", mapping_layers),
        image_size_px=side_px,
        kernel=_shape(arrays, f"synthesis.L0_{named[0][1]}_{named[0][2]}.weight", 4)[2],
        radial=arrays.get(f"synthesis.L0_{named[0][1]}_{named[0][2]}.down_filter", np.zeros(1)).ndim == 2,
        mapping_layers=mapping_layers,
        layers=len(named) - 1,
        channels=tuple(row[2] for row in named),
        clamp=_clamp(facts, 256.0),
        **chosen,
    )
    if config.critical >= config.layers or config.kernel > 7:
        raise Refused("its geometry is not one of StyleGAN3")
    if [plan.after.size for plan in layer_plans(config)] != [row[1] for row in named]:
        raise Refused("the sizes of its layers do not match StyleGAN3's design")
    return config


def _clamp(facts: Mapping[str, Any], default: float | None) -> float | None:
    if "conv_clamp" not in facts:
        return default
    value = facts["conv_clamp"]
    return None if value is None else _within("conv_clamp", value, 1e-3, 1e30, float)


def _within(name: str, value: Any, least: float, most: float, kind: type) -> Any:
    plain = type(value) in (int, float) and math.isfinite(value) and least <= value <= most
    if not plain or kind(value) != value:
        raise Refused(f"its argument {name} has the invalid value {ascii(value)[:40]}")
    return kind(value)


def _check_side(side_px: int) -> None:
    if not 8 <= side_px <= LARGEST_SIDE_PX:
        raise Refused(f"its images would be {side_px} px wide")
