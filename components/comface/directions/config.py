"""The settings that change how a direction is used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from comface.config.names import Attribute, Place
from comface.config.section import Section

Row = Annotated[int, Field(ge=0, le=63)]


class DirectionUse(Section):
    """Changes to the catalogue's use of a direction (docs/generators.md); unset fields keep the catalogue's values."""

    file: Place | None = Field(
        default=None, min_length=1, description="name of the direction's file in the weights location"
    )
    space: Literal["Z", "W", "W+"] | None = Field(
        default=None, description="the space of the latents that the direction is added to"
    )
    layers: tuple[Row, Row] | None = Field(default=None, description="first and last row of W+ that is edited")
    truncate: Literal["before", "after"] | None = Field(
        default=None, description="whether the edit comes before or after truncation"
    )
    unit_norm: bool | None = Field(default=None, description="scale the direction to norm 1 before use")
    condition: tuple[Attribute, ...] | None = Field(
        default=None,
        max_length=200,
        description="attributes of the same generator that are projected out of the direction (then scaled to norm 1)",
    )
