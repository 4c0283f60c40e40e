"""The networks f and l; and the names of the first, as the configuration spells them."""

from __future__ import annotations

from typing import Literal

Backbone = Literal["narrow", "resnet18", "resnet50", "resnet101", "vit_b_16"]
