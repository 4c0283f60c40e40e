"""Selects the measure of an attribute: a published scorer if there is one, else a parameter of the renderer.

In: a generator's attribute. Out: its Scale, or None if nothing measures it. A parameter is an input of the renderer
(for example the weight in kg), not a measurement of the image; results that use one must say so.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Literal, NamedTuple


class Scale(NamedTuple):
    name: str
    sign: Literal[1, -1]
    """-1 if the attribute is the opposite of the score (Young: age)."""
    kind: Literal["scorer", "parameter"]

    @property
    def title(self) -> str:
        return self.name if self.kind == "scorer" else f"{self.name} (parameter of the renderer)"


SCORER_OF: dict[str, tuple[str, Literal[1, -1]]] = {
    "Smiling": ("smile", 1),
    "Young": ("age", -1),
    "Male": ("male", 1),
    "Eyeglasses": ("glasses", 1),
    "Bangs": ("fringe", 1),
    "Mouth_Slightly_Open": ("mouth-open", 1),
}
"""CelebA's attribute → (scorer, sign), if their names differ; otherwise attribute and scorer have the same name."""
PARAMETER_OF = {"weight": "weight_kg", "au6": "au6", "au12": "au12"}


def own_scale(attribute: str, scorers: Container[str], parameters: Container[str]) -> Scale | None:
    name, sign = SCORER_OF.get(attribute, (attribute, 1))
    if name in scorers:
        return Scale(name, sign, "scorer")
    parameter = PARAMETER_OF.get(attribute, "")
    return Scale(parameter, 1, "parameter") if parameter in parameters else None
