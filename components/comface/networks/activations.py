"""The last feature map of a network: the activations on which Eigen-CAM works.

In: a network and its input. Out: activations (N,C,H,W).

| network | feature map |
|---|---|
| has a property `map_layer` (PCL, CLIP's image tower, dlib) | output of that module |
| ViT of timm or torchvision | tokens of the last block's first norm, without the class token |
| all others (ResNets, EfficientNet-Lite, narrow) | output of the last module that returns a map with several pixels |

Legend: N images, C channels, H, W sides of the map, L tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def last_map(network: nn.Module, x_NCHW: Tensor) -> Tensor | None:
    """The activations for the input, in float32; None if the network has no feature map."""
    chosen = _chosen(network)
    found: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor) and (chosen is not None or _is_map(output)):
            found[:] = [output]

    hooks = [module.register_forward_hook(keep) for module in ([chosen] if chosen else network.modules())]
    try:
        with torch.inference_mode():
            network(x_NCHW)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        return None
    output = found[0].float()
    if output.ndim == 3:
        return _grid(output)
    return output.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "") == "NHWC" else output


def _chosen(network: nn.Module) -> nn.Module | None:
    """The module whose output is the map, if the network says so or is a ViT."""
    named = getattr(network, "map_layer", None)
    if isinstance(named, nn.Module):
        return named
    for blocks, norm in (("blocks", "norm1"), ("encoder.layers", "ln_1")):
        stages = _attribute(network, blocks)
        if isinstance(stages, nn.Sequential | nn.ModuleList) and len(stages):
            found = getattr(stages[-1], norm, None)
            if isinstance(found, nn.Module):
                return found
    return None


def _attribute(network: nn.Module, path: str) -> object:
    found: object = network
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _is_map(output: Tensor) -> bool:
    return output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def _grid(token_NLC: Tensor) -> Tensor:
    """Tokens as a square map, without the tokens before it (class, registers)."""
    side = math.isqrt(token_NLC.shape[1])
    patch_NLC = token_NLC[:, token_NLC.shape[1] - side**2 :]
    return patch_NLC.transpose(1, 2).reshape(len(patch_NLC), -1, side, side)
