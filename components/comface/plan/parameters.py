"""The parameters `overrides`, `data`, `tasks` and `methods` of the pipeline, which the KFP UI edits as JSON.

In: a mapping or list as KFP passes it, or the text that a person types at a prompt. Out: `field=value` lines, mappings,
names. KFP keeps every number in a mapping as a double: 5 arrives as 5.0, and a whole number above 2^53 as another
number. So this module reads whole doubles as whole numbers, and sends larger ones as text, which the field also reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface.config.reading import leaves, merge, plain_yaml, read_override, written
from comface.errors import ConfigurationError

LARGEST_EXACT = 2**53 - 1
"""Above it, different whole numbers become the same double."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of the pipeline. Empty ones (0, -1) leave the profile's value."""

    profile: str
    overrides: Mapping[str, Any] | str = ""
    """Field -> value, or `field=value` lines."""
    store: str = ""
    weights: str = ""
    data: Mapping[str, Any] | str = ""
    """Name of a data set -> `{layout, uri}`, or the same as YAML."""
    tasks: Sequence[str] | str = ""
    """Names, or names between commas; `methods` too."""
    methods: Sequence[str] | str = ""
    nodes: int = 0
    gpus_per_node: int = -1
    run_name: str = ""


def override_lines(overrides: Mapping[str, Any] | str) -> list[str]:
    """`field=value` lines, as `--set` takes them: a text means the same as there, other values are JSON, which is also
    YAML. A section comes before its fields, because KFP does not keep the order of a mapping."""
    if isinstance(overrides, str):
        return [line for line in overrides.splitlines() if line.strip()]
    names = sorted(overrides, key=lambda name: (name.count("."), name))
    return [f"{name}={_as_text(whole(overrides[name], name))}" for name in names]


def override_mapping(lines: Iterable[str]) -> dict[str, Any]:
    """The same fields with typed values, as the KFP UI shows them and a server accepts them; as text if KFP would
    change the value. A later line wins, also if one names a section and another a field of it."""
    nested: dict[str, Any] = {}
    for line in lines:
        path, value = read_override(line)
        for part in reversed(path):
            value = {part: value}
        merge(nested, value)
    return {
        field: value if _portable(value) and not isinstance(value, str) else written(value)
        for field, value in leaves(nested)
    }


def data_sources(data: Mapping[str, Any] | str) -> dict[str, Any]:
    try:
        values = plain_yaml(data) if isinstance(data, str) and data.strip() else data or {}
    except ValueError:
        values = None
    if not isinstance(values, Mapping):
        raise ConfigurationError(
            "The parameter 'data' is not a mapping of data sets; write {name: {layout: …, uri: …}}."
        )
    return dict(whole(values, "data"))


def names(values: Sequence[str] | str) -> list[str]:
    """A list, or names between commas."""
    parts = values.split(",") if isinstance(values, str) else values
    return [str(name).strip() for name in parts if str(name).strip()]


def whole(value: Any, where: str) -> Any:
    """`value` with every whole double as a whole number. Raises ConfigurationError for one so large that KFP may have
    changed it."""
    if isinstance(value, Mapping):
        return {key: whole(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [whole(each, where) for each in value]
    if isinstance(value, float) and value.is_integer():
        if abs(value) > LARGEST_EXACT:  # ints come from a person's own JSON and are exact
            raise ConfigurationError(
                f"The number {value:.17g} of '{where}' is too large for KFP to pass unchanged; write it as text, "
                "between quotes."
            )
        return int(value)
    return value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _portable(value: Any) -> bool:
    """Whether JSON and KFP pass it unchanged (KFP's local runner accepts no null in a mapping)."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _portable(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(_portable, value))
    if isinstance(value, int | float):
        return abs(value) <= LARGEST_EXACT or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, str)
