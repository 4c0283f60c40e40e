"""Convert the published naming schemes of the StyleGANs to the canonical one of this package.

In: names and arrays of a file. Out: the family (stylegan, stylegan2, stylegan3) and arrays by InterFaceGAN's names
(StyleGAN) or NVIDIA's (StyleGAN2, StyleGAN3). The layout of arrays changes, too: TensorFlow stores convolutions as HWIO
(torch: OIHW) and dense weights transposed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from comface.weights.pickle_machine import Refused

Arrays = dict[str, np.ndarray]
FUSED_FROM_PX = 128
"""From this resolution on, StyleGAN's published network fuses upsampling and convolution."""
BLUR = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16


def canonical(arrays: Arrays) -> tuple[str, str, Arrays]:
    """(family, naming scheme, arrays by canonical name). Raises Refused for an unknown scheme."""
    for mark, naming, family, rename in _NAMINGS:
        if mark in arrays:
            return family, naming, rename(arrays)
    held = ", ".join(ascii(name)[:60] for name in list(arrays)[:3])
    raise Refused(f"its tensors do not belong to a known generator (it has {held or 'none'})")


def prefixes(names: Iterable[str]) -> list[str]:
    """The prefix of each generator among `names`, found by the tensor name that identifies its naming scheme."""
    return [name.removesuffix(mark) for name in names for mark, *_ in _NAMINGS if f".{name}".endswith(f".{mark}")]


def own_names(naming: str, arrays: Arrays) -> dict[str, str]:
    """Canonical name -> name in the file, for messages about a tensor."""
    rename = next(rename for _, each, _, rename in _NAMINGS if each == naming)
    own: dict[str, str] = {}
    for name, array in arrays.items():
        if not name.startswith("ToRGB_lod"):  # its canonical number depends on the other tensors
            own |= dict.fromkeys(rename({name: array}), name)
    return own


def _renamed(arrays: Arrays, rules: Mapping[str, str]) -> Arrays:
    """Rename by the first rule (pattern -> replacement) that matches the whole name; other names are unchanged."""
    renamed: Arrays = {}
    for name, array in arrays.items():
        matches = ((re.fullmatch(pattern, name), new) for pattern, new in rules.items())
        target = next((match.expand(new) for match, new in matches if match), name)
        if target in renamed:
            raise Refused(f"it has the tensor {ascii(target)[:80]} twice")
        renamed[target] = array
    return renamed


_GENFORCE_RULES = {
    r"mapping\.dense(\d+)\.weight": r"mapping.dense\1.linear.weight",
    r"mapping\.dense(\d+)\.bias": r"mapping.dense\1.wscale.bias",
    r"synthesis\.layer0\.const": r"synthesis.layer0.first_layer",
    r"synthesis\.layer(\d+)\.weight": r"synthesis.layer\1.conv.weight",
    r"synthesis\.layer(\d+)\.bias": r"synthesis.layer\1.epilogue.bias",
    r"synthesis\.layer(\d+)\.apply_noise\.(weight|noise)": r"synthesis.layer\1.epilogue.apply_noise.\2",
    r"synthesis\.layer(\d+)\.style\.weight": r"synthesis.layer\1.epilogue.style_mod.dense.linear.weight",
    r"synthesis\.layer(\d+)\.style\.bias": r"synthesis.layer\1.epilogue.style_mod.dense.wscale.bias",
    r"synthesis\.output(\d+)\.weight": r"synthesis.output\1.conv.weight",
}


def _genforce(arrays: Arrays) -> Arrays:
    """GenForce's model zoo: other names, and OIHW also for fused layers."""
    renamed = _renamed(arrays, _GENFORCE_RULES)
    return _with_fused(renamed, lambda array: array.transpose(2, 3, 1, 0))


def _with_fused(arrays: Arrays, to_hwio: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    """The first layer of each resolution from 128 px on has no `conv` in its name, and the layout HWIO."""
    fused: Arrays = {}
    for name, array in arrays.items():
        match = re.fullmatch(r"synthesis\.layer(\d{1,3})\.conv\.weight", name)
        number = int(match[1]) if match else 1
        if number % 2 == 0 and 4 * 2 ** (number // 2) >= FUSED_FROM_PX:
            fused[f"synthesis.layer{number}.weight"] = to_hwio(_with_axes(name, array, 4))
        else:
            fused[name] = array
    return fused


def _with_axes(name: str, array: np.ndarray, axes: int) -> np.ndarray:
    if array.ndim != axes:
        raise Refused(f"its tensor {ascii(name)[:80]} has {array.ndim} axes, not {axes}")
    return array


def _layer_of(resolution: str, kind: str) -> int:
    """Index of a StyleGAN layer: two per resolution."""
    size = int(resolution)
    if size < 4 or size > 4096 or size & (size - 1):
        raise Refused(f"it has a layer of {size} px, which is not a power of two")
    return 2 * (size.bit_length() - 3) + (kind in ("Conv", "Conv1"))


_TF_ENDS = {
    "weight": "conv.weight",
    "bias": "epilogue.bias",
    "Noise/weight": "epilogue.apply_noise.weight",
    "StyleMod/weight": "epilogue.style_mod.dense.linear.weight",
    "StyleMod/bias": "epilogue.style_mod.dense.wscale.bias",
}


def _tensorflow1(arrays: Arrays) -> Arrays:
    renamed: Arrays = {}
    levels = [int(match[1]) for match in (re.fullmatch(r"ToRGB_lod(\d{1,2})/weight", name) for name in arrays) if match]
    for name, array in arrays.items():
        if match := re.fullmatch(r"Dense(\d{1,2})/(weight|bias)", name):
            end = "linear.weight" if match[2] == "weight" else "wscale.bias"
            renamed[f"mapping.dense{match[1]}.{end}"] = array.T
        elif match := re.fullmatch(r"noise(\d{1,2})", name):
            renamed[f"synthesis.layer{match[1]}.epilogue.apply_noise.noise"] = array
        elif match := re.fullmatch(r"ToRGB_lod(\d{1,2})/(weight|bias)", name):
            output = f"synthesis.output{max(levels, default=0) - int(match[1])}"
            if match[2] == "weight":
                renamed[f"{output}.conv.weight"] = _with_axes(name, array, 4).transpose(3, 2, 0, 1)
            else:
                renamed[f"{output}.bias"] = array
        elif name == "4x4/Const/const":
            renamed["synthesis.layer0.first_layer"] = array
        elif match := re.fullmatch(r"(\d{1,4})x\1/(Const|Conv|Conv0_up|Conv1)/(.+)", name):
            end = _TF_ENDS.get(match[3], match[3])
            if end == "conv.weight":
                array = _with_axes(name, array, 4).transpose(3, 2, 0, 1)
            renamed[f"synthesis.layer{_layer_of(match[1], match[2])}.{end}"] = (
                array.T if end.endswith("linear.weight") else array
            )
        else:
            renamed[{"dlatent_avg": "truncation.w_avg", "lod": "synthesis.lod"}.get(name, name)] = array
    for name in [name for name in renamed if re.fullmatch(r"synthesis\.layer\d*[02468]\.conv\.weight", name)]:
        renamed[name.replace("conv.weight", "blur.kernel")] = np.broadcast_to(BLUR, (len(renamed[name]), 1, 3, 3))
    return _with_fused(renamed, lambda array: array.transpose(2, 3, 1, 0))


_TF2_ENDS = {
    "mod_weight": "affine.weight",
    "mod_bias": "affine.bias",
}


def _tensorflow2(arrays: Arrays) -> Arrays:
    """StyleGAN2 in TensorFlow: modulation biases lack the constant 1; upsampling kernels are flipped."""
    renamed: Arrays = {}
    for name, array in arrays.items():
        if match := re.fullmatch(r"Dense(\d{1,2})/(weight|bias)", name):
            renamed[f"mapping.fc{match[1]}.{match[2]}"] = array.T
        elif match := re.fullmatch(r"noise(\d{1,2})", name):
            size = 4 * 2 ** ((int(match[1]) + 1) // 2)
            part = "conv0" if int(match[1]) % 2 else "conv1"
            renamed[f"synthesis.b{size}.{part}.noise_const"] = _with_axes(name, array, 4)[0, 0]
        elif name == "4x4/Const/const":
            renamed["synthesis.b4.const"] = _with_axes(name, array, 4)[0]
        elif match := re.fullmatch(r"(\d{1,4})x\1/(Conv|Conv0_up|Conv1|ToRGB)/(\w+)", name):
            part = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb"}[match[2]]
            if match[3] == "weight":
                array = _with_axes(name, array, 4).transpose(3, 2, 0, 1)
                array = array[:, :, ::-1, ::-1] if part == "conv0" else array
            elif match[3] == "mod_bias":
                array = array + np.float32(1)
            elif match[3] == "mod_weight":
                array = array.T
            renamed[f"synthesis.b{match[1]}.{part}.{_TF2_ENDS.get(match[3], match[3])}"] = array
        elif name != "lod":
            renamed["mapping.w_avg" if name == "dlatent_avg" else name] = array
    return renamed


_ROSINALITY_ENDS = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "conv.blur.kernel": "resample_filter",
}


def _rosinality(arrays: Arrays) -> Arrays:
    """rosinality's StyleGAN2: weights have a leading axis of 1, layers are numbered consecutively, filters are scaled
    by 4."""
    renamed: Arrays = {}
    for name, array in arrays.items():
        if match := re.fullmatch(r"style\.(\d{1,2})\.(weight|bias)", name):
            renamed[f"mapping.fc{int(match[1]) - 1}.{match[2]}"] = array
        elif match := re.fullmatch(r"noises\.noise_(\d{1,2})", name):
            renamed[f"synthesis.{_rosinality_layer(int(match[1]))}.noise_const"] = _with_axes(name, array, 4)[0, 0]
        elif match := re.fullmatch(r"(conv1|convs\.(\d{1,2}))\.(.+)", name):
            layer = _rosinality_layer(int(match[2]) + 1 if match[2] else 0)
            renamed[f"synthesis.{layer}.{_ROSINALITY_ENDS.get(match[3], match[3])}"] = _rosinality_array(
                match[3], array
            )
        elif match := re.fullmatch(r"(to_rgb1|to_rgbs\.(\d{1,2}))\.(.+)", name):
            size = 4 * 2 ** (int(match[2]) + 1 if match[2] else 0)
            part = "" if match[3] == "upsample.kernel" else "torgb."
            end = "resample_filter" if match[3] == "upsample.kernel" else _ROSINALITY_ENDS.get(match[3], match[3])
            renamed[f"synthesis.b{size}.{part}{end}"] = _rosinality_array(match[3], array)
        else:
            new = {"latent_avg": "mapping.w_avg", "input.input": "synthesis.b4.const"}.get(name, name)
            renamed[new] = array[0] if new == "synthesis.b4.const" and array.ndim == 4 else array
    return renamed


def _rosinality_layer(number: int) -> str:
    """Canonical layer of a convolution: number 0 is at 4 px, then two per resolution."""
    return f"b{4 * 2 ** ((number + 1) // 2)}.conv{0 if number % 2 else 1}"


def _rosinality_array(end: str, array: np.ndarray) -> np.ndarray:
    if end == "conv.weight":
        weight: np.ndarray = _with_axes(end, array, 5)[0]
        return weight
    if end.endswith("kernel"):
        return array / 4
    if end == "noise.weight":
        return array.reshape(())
    return array.reshape(-1) if end == "bias" else array


_NAMINGS: tuple[tuple[str, str, str, Callable[[Arrays], Arrays]], ...] = (
    ("synthesis.input.freqs", "NVIDIA", "stylegan3", dict),
    ("synthesis.b4.const", "NVIDIA", "stylegan2", dict),
    ("synthesis.layer0.first_layer", "InterFaceGAN", "stylegan", dict),
    ("synthesis.layer0.const", "GenForce", "stylegan", _genforce),
    ("input.input", "rosinality", "stylegan2", _rosinality),
    ("4x4/Const/StyleMod/weight", "TensorFlow", "stylegan", _tensorflow1),
    ("4x4/Conv/mod_weight", "TensorFlow", "stylegan2", _tensorflow2),
)
