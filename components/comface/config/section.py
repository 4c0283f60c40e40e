"""The base class of configuration sections, and field types that several sections share.

A section is a frozen model in the folder of the code that it configures (for example `pretrain/config.py`). Its
defaults are those of the paper (section 4.1). A field's description is its help text and its documentation. Every
number has a minimum and a maximum, and every text a maximum length, so that no single value can hang a step or exhaust
the memory.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from comface.config.canonical import canonical_json
from comface.config.names import Place, place_uri


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"'{twice[0]}' is listed twice; list it once")
    return values


Once = AfterValidator(_each_once)
StorePlace = Annotated[Place, AfterValidator(place_uri)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Small = Annotated[int, Field(ge=1, le=10_000)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse booleans for numbers: pydantic would convert true to 1."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation not in (bool, bool | None):
            raise ValueError("true and false are not valid values of this field")
        return value

    def canonical(self) -> str:
        return canonical_json(self.model_dump(mode="json", by_alias=True))
