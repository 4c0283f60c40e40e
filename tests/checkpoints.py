"""Checkpoints in the true layouts, filled by the rule behind the golden features in data/features.

`golden_fill` makes a tensor from its name in the network, so a file with other names holds the same network only if
each tensor is read under the right name. `names_in` says how a file calls the tensors of torchvision's ResNet-50,
written independently of the program: from the network's names to the file's.
"""

from __future__ import annotations

import importlib.util
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "random_weights.py"


def random_weights() -> ModuleType:
    """The script that writes checkpoints."""
    if "random_weights" not in sys.modules:
        spec = importlib.util.spec_from_file_location("random_weights", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["random_weights"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["random_weights"])
    return sys.modules["random_weights"]


def golden_fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    z = np.random.RandomState(zlib.crc32(name.encode("utf-8"))).standard_normal(shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        z = 1 + 0.1 * np.abs(z)
    elif name.endswith("running_mean"):
        z = 0.1 * z
    elif len(shape) > 1:
        z = z / np.sqrt(np.prod(shape[1:]))
    else:
        z = 1 + 0.1 * z if name.endswith("weight") else 0.1 * z
    return np.asarray(z, np.float32)


@lru_cache(maxsize=1)
def golden_resnet50() -> Mapping[str, np.ndarray]:
    """The golden ResNet-50 by torchvision's names, without classifier."""
    import torchvision

    state = torchvision.models.resnet50(weights=None).state_dict()
    return {name: golden_fill(name, tuple(t.shape)) for name, t in state.items() if not name.startswith("fc.")}


def golden_input() -> np.ndarray:
    return np.random.RandomState(20240525).standard_normal((2, 3, 224, 224)).astype(np.float32)


def golden_image() -> np.ndarray:
    return np.random.RandomState(1234).randint(0, 256, (224, 224, 3)).astype(np.uint8)


def _caffe(name: str) -> str:
    """For example layer2.0.bn3.bias -> conv3_1_1x1_increase_bn.bias."""
    *path, rest = name.split(".")
    if path[0] in ("conv1", "bn1"):
        return f"conv1_7x7_s2{'_bn' if path[0] == 'bn1' else ''}.{rest}"
    parts = {"1": "1x1_reduce", "2": "3x3", "3": "1x1_increase"}
    stage, block, part = int(path[0][-1]), int(path[1]), path[2]
    normalises = path[3] == "1" if part == "downsample" else part.startswith("bn")
    what = "1x1_proj" if part == "downsample" else parts[part[-1]]
    return f"conv{stage + 1}_{block + 1}_{what}{'_bn' if normalises else ''}.{rest}"


def _simclr2(name: str) -> str:
    """For example layer2.0.bn3.bias -> resnet.net.2.blocks.0.net.5.0.bias."""
    *path, rest = name.split(".")
    if path[0] in ("conv1", "bn1"):
        return f"resnet.net.0.{'0' if path[0] == 'conv1' else '1.0'}.{rest}"
    block = f"resnet.net.{path[0][-1]}.blocks.{path[1]}"
    if path[2] == "downsample":
        return f"{block}.projection.{'shortcut' if path[3] == '0' else 'bn.0'}.{rest}"
    place = 2 * (int(path[2][-1]) - 1)
    return f"{block}.net.{place}.{rest}" if path[2].startswith("conv") else f"{block}.net.{place + 1}.0.{rest}"


def _prefixed(prefix: str) -> Callable[[str], str]:
    return lambda name: prefix + name


NAMES: dict[str, Callable[[str], str]] = {
    "imagenet": _prefixed(""),
    "vggface2-1-pickle": _prefixed(""),
    "vggface2-2-caffe": _caffe,
    "simclr-1": _prefixed(""),
    "simclr-2": _simclr2,
    "simclr-3-vissl": _prefixed("_feature_blocks."),
    "mocov2": _prefixed("module.encoder_q."),
    "swav": _prefixed("module."),
    "barlowtwins": _prefixed(""),
    "barlowtwins-training": _prefixed("module.backbone."),
    "bulat": _prefixed("module.base_net."),
}
"""Layout -> from torchvision's names to those in the file."""


def golden_arrays(layout: str) -> dict[str, np.ndarray]:
    """The tensors of a file in this layout: the golden backbone, and zeros for the rest, with at most 4 rows and
    columns (of 400 MB in some layouts)."""
    shapes = random_weights().read_layout(SCRIPT.parent / "layouts" / f"{layout}.txt").shapes
    named = {NAMES[layout](name): array for name, array in golden_resnet50().items()}
    absent = [name for name in named if name not in shapes and not name.endswith("num_batches_tracked")]
    assert not absent, f"the list of {layout} has no {absent[0]}"
    rest = {name: np.zeros([min(size, 4) for size in shape], np.float32) for name, shape in shapes.items()}
    return {name: named.get(name, rest[name]) for name in shapes}
