"""The networks f and l. Here: the names of the backbones f, and their properties that are needed without torch."""

from __future__ import annotations

from typing import Literal

Backbone = Literal["narrow", "resnet18", "resnet50", "resnet101", "vit_b_16"]
FIXED_SIDE_PX = {"vit_b_16": 224}
"""Side length of a view in pixels, for backbones that take only one: torchvision's vit_b_16 has position embeddings for
this side."""
WITHOUT_BATCHNORM = ("vit_b_16",)
