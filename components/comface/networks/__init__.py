"""The networks f and l. Here: the names of the backbones f, and their properties that are needed without torch."""

from __future__ import annotations

from typing import Literal

Backbone = Literal["narrow", "resnet18", "resnet50", "resnet101", "vit_b_16"]
PATCH_PX = {"vit_b_16": 16}
"""Side length of a patch, for backbones that cut a view into patches: the side of a view must be a multiple of it."""
WITHOUT_BATCHNORM = ("vit_b_16",)
