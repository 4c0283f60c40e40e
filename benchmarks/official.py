"""The official code of the StyleGANs, for benchmarks/generators.py: loads it from checkouts and runs it unchanged.

NVlabs/stylegan3 contains StyleGAN2 and StyleGAN3 with kernels in CUDA, which are built at the first call on a GPU (a
CUDA compiler is needed; about two minutes). genforce/interfacegan contains a PyTorch port of StyleGAN, which has none.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Render = Callable[[Tensor], Tensor]
R = {"channel_base": 65536, "channel_max": 1024}
OPTIONS: dict[str, dict[str, Any]] = {
    "stylegan2": {"mapping_kwargs": {"num_layers": 8}, "conv_clamp": 256},
    "stylegan3-t": {"mapping_kwargs": {"num_layers": 2}},
    "stylegan3-r": {"mapping_kwargs": {"num_layers": 2}, "conv_kernel": 1, "use_radial_filters": True, **R},
}


def official(
    name: str, size_px: int, state: dict[str, Tensor], checkouts: list[Path], device: str = "cpu"
) -> dict[str, Render] | None:
    """Precision -> the official network with the same weights; None if no checkout contains it. On a GPU also "fast":
    as its tools run it, float16 in the highest resolutions and torch's default of TF32."""
    needed = "models/stylegan_generator_model.py" if name == "stylegan" else "training/networks_stylegan3.py"
    root = next((path for path in checkouts if (path / needed).is_file()), None)
    if root is None:
        return None
    sys.path.insert(0, str(root))
    _stand_in_for_removed_parts_of_packages()
    if name == "stylegan":
        network = _port(root / needed, size_px)
        calls = dict.fromkeys(("exact", "fast"), network.synthesis)
    else:
        module = importlib.import_module(f"training.networks_{name.split('-')[0]}")
        network = module.Generator(512, 0, 512, size_px, 3, **OPTIONS[name])
        calls = {
            precision: lambda w_NLD, exact=precision == "exact": network.synthesis(
                w_NLD, noise_mode="const", force_fp32=exact
            )
            for precision in ("exact", "fast")
        }
    network.load_state_dict(state)
    network.eval().requires_grad_(False).to(device)
    calls["exact"] = _without_tf32(calls["exact"])
    return calls if device == "cuda" else {"exact": calls["exact"]}


def _without_tf32(render: Render) -> Render:
    def run(w_NLD: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return render(w_NLD)

    return run


def _port(path: Path, size_px: int) -> Any:
    """The package's __init__ needs TensorFlow; the module of the network does not."""
    place = importlib.util.spec_from_file_location("official_stylegan", path)
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module.StyleGANGeneratorModel(resolution=size_px)


def _stand_in_for_removed_parts_of_packages() -> None:
    """setuptools 82 has no pkg_resources, of which one function is needed. torch's cpp_extension.load returns the
    module that it built, but no longer places it where the official code imports it from."""
    try:
        importlib.import_module("pkg_resources")
    except ModuleNotFoundError:
        stand_in = types.ModuleType("pkg_resources")
        stand_in.parse_version = importlib.import_module("packaging.version").parse  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stand_in
    extension = importlib.import_module("torch.utils.cpp_extension")
    load = extension.load
    if getattr(load, "places_modules", False):
        return

    def loading(name: str, *arguments: Any, **options: Any) -> Any:
        sys.modules[name] = module = load(name, *arguments, **options)
        return module

    loading.places_modules = True  # type: ignore[attr-defined]
    extension.load = loading
