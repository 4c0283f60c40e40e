"""The names of the generators, as configuration and command line spell them."""

from __future__ import annotations

from typing import Literal

Generator = Literal["procedural", "dcgan", "stylegan", "stylegan2", "stylegan3"]
StyleGan = Literal["stylegan", "stylegan2", "stylegan3"]
