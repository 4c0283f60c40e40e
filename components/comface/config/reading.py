"""Parse configuration text (YAML) and report all its errors, one message each.

In: `field=value` overrides, YAML mappings, pydantic models. Out: plain values and models. The accepted YAML is plain
data of bounded size: text, numbers, true and false, lists, mappings; no other tags, no aliases, no duplicate keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from comface.config.names import printable, quoted
from comface.errors import ConfigurationError, gathered

Model = TypeVar("Model", bound=BaseModel)
LONGEST_CHARACTERS = 50_000
DEEPEST = 20
"""Maximum nesting of lists and mappings."""
WRONG = {
    "extra_forbidden": "is not a field",
    "missing": "is missing; set it",
    "too_short": "is empty",
    "string_too_short": "is empty",
    "string_type": "is wrong: it must be text",
    "tuple_type": "is wrong: it must be a list, [a, b]",
    "dict_type": "is wrong: it must be a mapping, {name: value}",
    "model_type": "is wrong: it must be a mapping, {name: value}",
    "model_attributes_type": "is wrong: it must be a mapping, {name: value}",
}
"""Messages by pydantic error type, for errors that pydantic describes in Python terms."""
TAGS = ("null", "bool", "int", "float", "str", "seq", "map")


class PlainLoader(yaml.SafeLoader):
    """SafeLoader without dates, sets, binaries, aliases and duplicate keys. Numbers and booleans follow YAML 1.2: 1e-3
    is a number and 010 is ten; 1:20, 1_000, yes and off are text, not 80, 1000, true and false."""

    depth = 0
    yaml_implicit_resolvers = {  # noqa: RUF012 (yaml's own shape)
        first: [(tag, pattern) for tag, pattern in pairs if tag.rpartition(":")[2] == "null"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in TAGS
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        peek: Any = self.peek_event
        mark = peek().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias", problem_mark=mark)
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        found: set[str] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str) or name in found:
                problem = f"the key '{name[:80]}' twice" if isinstance(name, str) else "a key that is not text"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            found.add(name)
        return super().construct_mapping(node, deep)


def _whole(loader: PlainLoader, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, 16 if text[:2] == "0x" else 10)


for tag, pattern, first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), list(first))
PlainLoader.add_constructor("tag:yaml.org,2002:int", _whole)


class NotPlain(ValueError):
    """Text that is not plain YAML data. The message names the problem only; `line` is 0 if unknown."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.line = line


def plain_yaml(text: str) -> Any:
    """The value of `text`. Raises NotPlain if it is not plain YAML data."""
    return plain_document(text)[0]


def plain_document(text: str) -> tuple[Any, dict[str, int]]:
    """The value of `text`, and the line number of each field by dotted path. Raises as `plain_yaml`."""
    if len(text) > LONGEST_CHARACTERS:
        raise NotPlain(f"more than {LONGEST_CHARACTERS:,} characters")
    try:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        return (None, {}) if node is None else (loader.construct_document(node), dict(_lines(node)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotPlain(error.problem or str(error), mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, RecursionError, KeyError) as error:
        raise NotPlain(" ".join(str(error).split())) from None


def _lines(node: yaml.Node, path: str = "") -> Iterator[tuple[str, int]]:
    """(dotted path, line number) of each field. Requires a plain document: text keys, no aliases."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{path}{key.value}", key.start_mark.line + 1
            yield from _lines(value, f"{path}{key.value}.")
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{path}{index}", item.start_mark.line + 1
            yield from _lines(item, f"{path}{index}.")


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of each leaf. A mapping with a key that cannot be part of a path counts as a leaf."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value and all(re.fullmatch(r"[\w-]+", name) for name in value):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def override(field: str, value: Any) -> str:
    """`field=value` text that `read_override` reads back as `value`. Text is quoted only if necessary."""
    return f"{field}={written(value)}"


def written(value: Any) -> str:
    if isinstance(value, str) and value == value.strip() and len(value.splitlines()) == 1:
        try:
            if plain_yaml(value) == value:
                return value
        except NotPlain:
            pass
    return json.dumps(value, ensure_ascii=False)


def read_override(text: str) -> tuple[list[str], Any]:
    """(path of the field, value) of `dotted.field=value`. Raises ConfigurationError."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise ConfigurationError(f"The override {quoted(text)} is not of the form field=value; write field=value.")
    if len(text.splitlines()) > 1:
        raise ConfigurationError(f"The override {quoted(text)} has several lines; write each override on one line.")
    parts = path.strip().split(".")
    if not all(parts):
        raise ConfigurationError(f"The override {quoted(text)} names no field; write section.field=value.")
    if parts[0] == "profile":
        raise ConfigurationError(
            "The profile is not a field to override; choose it with --profile (in KFP, `profile`)."
        )
    if len(parts) > DEEPEST:
        raise ConfigurationError(f"The override {quoted(text)} is not a field; see docs/configuration.md.")
    try:
        return parts, plain_yaml(value)
    except NotPlain:
        raise ConfigurationError(
            f"The value of {quoted(text)} is not valid YAML of plain data (text, numbers, lists, mappings; "
            f"{LONGEST_CHARACTERS:,} characters at most); quote it."
        ) from None


def parse(model: type[Model], values: Any, places: Mapping[str, str] | None = None) -> Model:
    """`values` (a mapping or a JSON string) as `model`. `places`: file and line of each field, by dotted path. Raises
    ConfigurationError with one message for each wrong field."""
    try:
        if isinstance(values, str):
            return model.model_validate_json(values)
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        inner = {each["loc"][:-1] for each in found}  # pydantic also reports a list with a wrong item as too short
        sentences = [
            _sentence(each, places or {}) for each in found if each["type"] != "too_short" or each["loc"] not in inner
        ]
        raise gathered(map(ConfigurationError, dict.fromkeys(sentences))) from None


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Merge `values` into `into`: nested mappings are merged; any other value replaces the old one."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _sentence(error: ErrorDetails, places: Mapping[str, str]) -> str:
    parts = [str(part) for part in error["loc"] if part != "[key]"]
    path = ".".join(printable(part)[:80] for part in parts)
    field = f"configuration's '{path}'" if path else "configuration"
    for count in range(len(parts), 0, -1):
        place = places.get(".".join(parts[:count]))
        if place is not None:  # the innermost known location; empty if an override sets the field
            field += f" ({place})" if place else ""
            break
    what = wrong(error)
    return f"The {field} {what}{'' if '; see ' in what else '; see docs/configuration.md'}."


def wrong(error: ErrorDetails) -> str:
    """What pydantic found, as the end of a sentence that begins with the field."""
    what = WRONG.get(error["type"])
    if what is None:
        message = error["msg"].removeprefix("Value error, ")
        what = f"is wrong: {message[:1].lower()}{message[1:]}"
    return what
