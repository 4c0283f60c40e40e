"""The visual language: one file of colours, type and spacing, look.css, which pages include and pictures read.

In: nothing. Out: the CSS text, and its colours by name for matplotlib and Pillow. The three values of a verdict differ
in lightness and hue, so that colour-blind readers tell them apart; a picture also marks them with a word or a shape.
tests/look checks contrast (WCAG 2.2, 1.4.3 and 1.4.11) and distances under colour blindness (Machado et al. 2009).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

SCHEMES = ("light", "dark", "print")
DRAWN = {"Software": "comface"}
"""Text chunk of a PNG that is drawn around photos, so that it is not taken for a photo."""


def is_drawn(head: bytes) -> bool:
    """Whether `head`, the first 256 bytes of a file, has the mark of a drawing."""
    return all(f"{key}\0{value}".encode() in head for key, value in DRAWN.items())


@functools.cache
def css() -> str:
    """The custom properties, to be placed before the rules of a page."""
    return (files("comface.look") / "look.css").read_text(encoding="utf-8")


@functools.cache
def colours(scheme: str = "light") -> Mapping[str, str]:
    """Name → "#rrggbb". `scheme`: light, dark or print; a picture in a file is light."""
    blocks = [block for block in re.findall(r":root\s*{([^}]*)}", css()) if "#" in block]
    return MappingProxyType(dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6});", blocks[SCHEMES.index(scheme)])))
