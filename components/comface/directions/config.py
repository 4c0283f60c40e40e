"""What a configuration changes of how a direction is used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from comface.config.names import Attribute, Place
from comface.config.section import Section

Row = Annotated[int, Field(ge=0, le=63)]


class DirectionUse(Section):
    """What is changed of how the catalogue uses a direction (docs/generators.md); unset fields leave it so."""

    file: Place | None = Field(default=None, min_length=1, description="name of its file in the weights location")
    space: Literal["Z", "W", "W+"] | None = Field(default=None, description="the latents that it is added to")
    layers: tuple[Row, Row] | None = Field(default=None, description="first and last row of W+ that is edited")
    truncate: Literal["before", "after"] | None = Field(
        default=None, description="whether the edit comes before or after truncation"
    )
    unit_norm: bool | None = Field(default=None, description="bring it to norm 1 before use")
    condition: tuple[Attribute, ...] | None = Field(
        default=None,
        max_length=200,
        description="attributes of the same generator that it is made orthogonal to (then of norm 1)",
    )
