"""Configuration as text: YAML that people write, and what is wrong with it, all of it, a sentence each.

In: `field=value` words, YAML mappings, the models of comface.config. Out: plain values and models. YAML here is plain
data of a bounded size: text, numbers, true and false, lists, mappings; no other tag, no alias, no key twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from comface.config.names import printable, quoted
from comface.errors import ConfigurationError, gathered

LONGEST_CHARACTERS = 50_000
DEEPEST = 20
"""Lists and mappings within each other."""
WRONG = {
    "extra_forbidden": "is not a field",
    "missing": "is missing; give it",
    "too_short": "is empty",
    "string_too_short": "is empty",
    "string_type": "is wrong: it takes text",
    "tuple_type": "is wrong: it takes a list, [a, b]",
    "dict_type": "is wrong: it takes a mapping, {name: value}",
    "model_type": "is wrong: it takes a mapping, {name: value}",
    "model_attributes_type": "is wrong: it takes a mapping, {name: value}",
}
"""By pydantic's types of error, where its own words are about Python."""
TAGS = ("null", "bool", "int", "float", "str", "seq", "map")


class PlainLoader(yaml.SafeLoader):
    """SafeLoader without dates, sets, binaries, aliases and repeated keys. Numbers, true and false are written as in
    JSON (YAML 1.2): 1e-3 is a number, 010 is ten, and 1:20, 1_000, yes and off are text, not 80, 1000, true and false.
    """

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
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError("too deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
            raise yaml.YAMLError("a key twice, or one that is not text")
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


def plain_yaml(text: str) -> Any:
    """The value that `text` writes. Raises ValueError, without a sentence, for anything but plain YAML data."""
    if len(text) > LONGEST_CHARACTERS:
        raise ValueError(f"more than {LONGEST_CHARACTERS:,} characters")
    try:
        return yaml.load(text, PlainLoader)
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, RecursionError, KeyError) as error:
        raise ValueError(str(error)) from None


def read_override(text: str) -> tuple[list[str], Any]:
    """(path of the field, value) of `dotted.field=value`. Raises ConfigurationError."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise ConfigurationError(f"The override {quoted(text)} is not of the form field=value; write one '='.")
    if len(text.splitlines()) > 1:
        raise ConfigurationError(f"The override {quoted(text)} has several lines; write each override on one.")
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
    except ValueError:
        raise ConfigurationError(
            f"The value of {quoted(text)} is not valid YAML of plain data (text, numbers, lists, mappings; "
            f"{LONGEST_CHARACTERS:,} characters at most); quote it."
        ) from None


def parse(model: type[Any], values: Any) -> Any:
    """`values` (a mapping or a JSON string) as `model`, or ConfigurationError that names every wrong field, a sentence
    each."""
    try:
        if isinstance(values, str):
            return model.model_validate_json(values)
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        inner = {each["loc"][:-1] for each in found}  # a list with a wrong item is also said to be too short
        sentences = [_sentence(each) for each in found if each["type"] != "too_short" or each["loc"] not in inner]
        raise gathered(map(ConfigurationError, dict.fromkeys(sentences))) from None


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Nested mappings add to each other; any other value replaces what was there."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _sentence(error: ErrorDetails) -> str:
    path = ".".join(printable(str(part))[:80] for part in error["loc"] if part != "[key]")
    field = f"configuration's '{path}'" if path else "configuration"
    what = WRONG.get(error["type"])
    if what is None:
        message = error["msg"].removeprefix("Value error, ")
        what = f"is wrong: {message[:1].lower()}{message[1:]}"
    return f"The {field} {what}{'' if '; see ' in what else '; see docs/configuration.md'}."
