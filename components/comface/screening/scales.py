"""What measures an attribute: a published scorer by preference, else a parameter that the renderer itself reports.

In: a generator's attribute. Out: its Scale, or None where nothing at hand measures it. A parameter is what the
renderer was told to draw (weight in kg, say), no measurement of the picture; whoever shows a figure of it says so.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Literal, NamedTuple


class Scale(NamedTuple):
    name: str
    sign: Literal[1, -1]
    """-1 where the attribute means less of what is measured (Young: age)."""
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
"""CelebA's names for what a scorer of another name measures; otherwise attribute and scorer have one name."""
PARAMETER_OF = {"weight": "weight_kg", "au6": "au6", "au12": "au12"}


def own_scale(attribute: str, scorers: Container[str], parameters: Container[str]) -> Scale | None:
    name, sign = SCORER_OF.get(attribute, (attribute, 1))
    if name in scorers:
        return Scale(name, sign, "scorer")
    parameter = PARAMETER_OF.get(attribute, "")
    return Scale(parameter, 1, "parameter") if parameter in parameters else None
