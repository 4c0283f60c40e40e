"""The method 'pcl': Pose-disentangled Contrastive Learning of facial representations (Liu et al., 2023).

The paper says neither which output nor which size it used. The default is what PCL's own linear evaluation does: the
trunk at 100 px, flattened (6,272 values). Other choices are methods of their own, `pcl:OUTPUT[-POOL][-SIZE]`, so that
they can be reported beside it:

| part | choices | default |
|---|---|---|
| OUTPUT | `trunk`; `exp` (the face-aware head); `pose` | `trunk` |
| POOL | `flatten`; `gap` (the mean of the map, 128 values) | `flatten` |
| SIZE | the side of the input in pixels; pre-training used 64, the linear evaluation 100 | 100 |

Aligned faces, RGB in [0, 1], without normalisation. The decoder and the heads of pre-training are dropped.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from comface.config.names import quoted
from comface.errors import ConfigurationError
from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.layouts import Layout
from comface.methods.method import Method
from comface.methods.published import published

if TYPE_CHECKING:
    from torch import nn

SIDE_PX = 100
FORM = "pcl:OUTPUT[-POOL][-SIZE]"
CHOICE = re.compile(r"(?P<output>trunk|exp|pose)(?:-(?P<pool>flatten|gap))?(?:-(?P<size>[1-9][0-9]{1,2}))?")
LEAST_PX, MOST_PX = 32, 512


def _build(output: str, pool: str, size_px: int) -> tuple[nn.Module, int]:
    from comface.networks.pcl import PclEncoder

    network = PclEncoder(output, pool)
    return network, network.width(size_px)


def _method(name: str, title: str, output: str, pool: str, size_px: int, **fields: Any) -> Method:
    layout = Layout(
        "PCL",
        functools.partial(_build, output, pool, size_px),
        Preprocessing(size_px=size_px, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        Crop(size_px, size_px),
        prefix="encoder.",
        marks=("conv1.0.weight", "layer3_2_exp.0.weight"),
        folds=False,
        published="github.com/DreamMr/PCL",
    )
    return published(name, title, [layout], ("pcl.pth", "best.pth"), **fields)


def option(name: str) -> Method:
    """The method `pcl:OUTPUT[-POOL][-SIZE]`. Raises ConfigurationError for any other name."""
    found = CHOICE.fullmatch(name)
    size_px = int(found["size"] or SIDE_PX) if found else 0
    if found is None or not LEAST_PX <= size_px <= MOST_PX:
        raise ConfigurationError(
            f"The method {quoted(f'pcl:{name}')} does not have the form {FORM}; write for example pcl:exp or "
            f"pcl:trunk-gap-224 (outputs trunk, exp, pose; pools flatten, gap; {LEAST_PX} to {MOST_PX} pixels)."
        )
    output, pool = found["output"], found["pool"] or "flatten"
    return _method(f"pcl:{name}", f"PCL, {output}, {pool}, {size_px} px", output, pool, size_px)


METHOD = _method("pcl", "PCL", "trunk", "flatten", SIDE_PX, options=option)
