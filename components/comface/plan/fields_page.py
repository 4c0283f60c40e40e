"""Lists every field of the configuration: the page docs/configuration.md, and `comface config --fields`."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from comface.config.entries import Entries
from comface.plan.configuration import RunConfig

HEAD = """# Configuration

This page lists every field that you can set: its default (the paper's, section 4.1, where the paper gives one), its
allowed values and its meaning. `comface config --fields` prints this page; `comface config --profile laptop` prints the
values of a profile.

Override a field with `--set section.field=value`, in a file ([the command line](command-line.md#configuration)), or in
the KFP UI with the parameter `overrides`, a mapping: `{"section.field": value}`. A value is YAML: text, numbers, true
and false, lists and mappings. In the UI, text means the same as after `--set` (`"null"` is no value). KFP keeps numbers
as doubles, so write a whole number above 2^53 as text there.

The first step of a run, and `comface doctor`, check everything that can be known before the first image, and report all
problems together: the fields, methods and their weights, generators and their directions, data sets and their labels,
whether the batch is divisible by the number of processes, and the disk and memory that the run needs.

Names of data sets, tasks and models have at most 63 lowercase letters, digits, `-` and `_`. A label has the name of its
column, without `/`. A unit is any printable text.
"""


def fields_page() -> str:
    lines = [HEAD, *_table("", RunConfig)]
    for name, field in RunConfig.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            section = field.alias or name
            lines += ["", f"## {section}", *_section_text(model), "", *_table(f"{section}.", model)]
    return "\n".join(lines) + "\n"


def _section_text(model: type[BaseModel]) -> list[str]:
    return ["", " ".join(model.__doc__.split())] if model.__doc__ else []


def _table(prefix: str, model: type[BaseModel]) -> list[str]:
    rows = ["| field | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if prefix:
                rows += _table(f"{prefix}{name}.", kind)[2:]
            continue
        path = f"{prefix}{field.alias or name}"
        text = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{path}` | {_default(field)} | {_allowed(field)} | {text} |")
        place, item = _item(path, kind)
        if item:
            rows += _table(f"{place}.", item)[2:]
    return rows


def _item(path: str, kind: Any) -> tuple[str, type[BaseModel] | None]:
    """The path of an entry of a list or mapping, and its model; None if entries are plain values."""
    while get_origin(kind) in (dict, tuple):
        path, kind = (
            (f"{path}.NAME", get_args(kind)[1]) if get_origin(kind) is dict else (f"{path}[i]", get_args(kind)[0])
        )
    return path, kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _allowed(field: FieldInfo) -> str:
    """The range of a number, or the choices of a word; for a list, those of its items; empty for other text."""
    choices, bounds = [], {}
    for part in _parts(field):
        if isinstance(part, (Ge, Gt)):
            bounds["low"] = f"{part.ge:,}" if isinstance(part, Ge) else f"above {part.gt:,}"
        elif isinstance(part, (Le, Lt)):
            bounds["high"] = f"{part.le:,}" if isinstance(part, Le) else f"below {part.lt:,}"
        elif get_origin(part) is Literal:
            choices += [str(choice) for choice in get_args(part)]
        elif isinstance(part, Entries):
            choices += part
    if choices:
        return ", ".join(choices)
    return f"{bounds['low']} to {bounds['high']}" if len(bounds) == 2 else ""


def _parts(field: FieldInfo) -> Iterator[Any]:
    """Types and limits of a field's annotation, at any depth, but not inside mappings."""
    todo = [field.annotation, *field.metadata]
    while todo:
        part = todo.pop(0)
        yield part
        if isinstance(part, FieldInfo):
            todo += part.metadata
        elif get_origin(part) is Annotated:
            todo += [part.__origin__, *part.__metadata__]
        elif get_origin(part) in (tuple, Union, UnionType):
            todo += get_args(part)


def _default(field: Any) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "(required)"
    if isinstance(value, dict):
        return f"{len(value)} entries: {', '.join(value)}" if value else "empty"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return "; ".join(f"{share.identities:,} {share.generator} × {share.attributes_per_identity} of "
                         f"{len(share.attributes)} attributes" for share in value)  # fmt: skip
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return "unset" if value is None else f"`{value}`" if value != "" else "empty"
