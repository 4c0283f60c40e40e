"""The compiled pipeline as a server accepts it, and its parameters, checked by the file's own definitions.

In: pipelines/comface.yaml (the pipeline, and as second document the settings for Kubernetes). Out: the specification
for the API, typed arguments. This module sends nothing, so a wrong parameter is found before anything is sent.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from comface.config.names import quoted
from comface.config.reading import plain_yaml
from comface.errors import ConfigurationError
from comface.execution.container_image import in_registry
from comface.plan.parameters import data_sources, names, override_lines, override_mapping

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C implementation, if PyYAML was built with it: 0.05 s instead of 0.5 s."""
IMAGE = re.compile(r"^( +image: )(\S+)$", re.MULTILINE)
KINDS = {
    "STRING": "text",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}


@dataclass(frozen=True)
class Package:
    path: Path
    name: str
    specification: dict[str, Any]
    parameters: dict[str, dict[str, Any]]
    """Name -> definition: parameterType, defaultValue, description."""
    data: bytes
    """The file that is uploaded."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def images(self) -> list[str]:
        """The container images of its steps."""
        pipeline = self.specification.get("pipeline_spec", self.specification)
        executors = pipeline.get("deploymentSpec", {}).get("executors", {}).values()
        return sorted({executor["container"]["image"] for executor in executors if "container" in executor})


def read_package(path: Path, registry: str = "") -> Package:
    """`registry` (host/path): of images that name none. Raises ConfigurationError if the file is not a compiled
    pipeline."""
    try:
        data = IMAGE.sub(lambda found: f"{found[1]}{in_registry(found[2], registry)}", path.read_text("utf-8")).encode()
        documents = [document for document in yaml.load_all(data, LOADER) if document]
        pipeline = documents[0]
        name, root = pipeline["pipelineInfo"]["name"], pipeline["root"]
    except OSError as error:
        raise ConfigurationError(f"The pipeline '{path}' cannot be read ({error.strerror}); name another.") from None
    except (yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError):
        raise ConfigurationError(f"'{path}' is not a compiled pipeline; make it with `make compile`.") from None
    specification = pipeline
    if len(documents) > 1:
        specification = {"pipeline_spec": pipeline, "platform_spec": documents[1]}
    parameters = root.get("inputDefinitions", {}).get("parameters", {})
    return Package(path, name, specification, parameters, data)


def split_arguments(pairs: Iterable[str]) -> dict[str, str]:
    """`k=v` pairs as a mapping. Raises ConfigurationError for a pair without '=' and for a repeated name."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"The parameter '{pair}' does not have the form name=value; correct it.")
        if name in found:
            raise ConfigurationError(f"The parameter '{name}' is given twice; give it once.")
        found[name] = value
    return found


def typed_arguments(package: Package, given: Mapping[str, str]) -> dict[str, Any]:
    """The texts of `given` as the types that the pipeline declares. Text stays text, even if it looks like a number:
    the kfp command line sends version=1.0 as a number, which the server refuses."""
    return {name: _typed(name, text, _definition(package, name)["parameterType"]) for name, text in given.items()}


def with_defaults(package: Package, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of the pipeline. The file has whole numbers as 4.0, because protobuf writes it."""
    defaults = {
        name: int(definition["defaultValue"])
        if definition["parameterType"] == "NUMBER_INTEGER"
        else definition["defaultValue"]
        for name, definition in package.parameters.items()
        if "defaultValue" in definition
    }
    missing = [name for name in package.parameters if name not in defaults and name not in arguments]
    if missing:
        raise ConfigurationError(f"The pipeline needs a value for '{missing[0]}'; give --param {missing[0]}=VALUE.")
    return {**defaults, **arguments}


def _definition(package: Package, name: str) -> dict[str, Any]:
    if name not in package.parameters:
        raise ConfigurationError(
            f"The pipeline '{package.name}' has no parameter '{name}'; choose from {', '.join(package.parameters)}."
        )
    return package.parameters[name]


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        if kind == "STRING":
            return text
        if kind == "NUMBER_INTEGER":
            return int(text)
        value = _written(text, kind)
    except (ValueError, ConfigurationError):
        value = None
    wanted: dict[str, tuple[type, ...]]
    wanted = {"NUMBER_DOUBLE": (int, float), "BOOLEAN": (bool,), "LIST": (list,), "STRUCT": (dict,)}
    if not isinstance(value, wanted.get(kind, ())) or (kind == "NUMBER_DOUBLE" and isinstance(value, bool)):
        raise ConfigurationError(
            f"The parameter '{name}' must be {KINDS.get(kind, kind)}, not {quoted(text)}; correct it."
        )
    return value


def _written(text: str, kind: str) -> Any:
    """JSON, or a shorter form: YAML, names between commas for a list, `field=value` lines for an object."""
    try:
        return json.loads(text)
    except ValueError:
        if kind == "LIST":
            return plain_yaml(text) if text.lstrip().startswith("[") else names(text)
        if kind == "STRUCT":
            braced = text.lstrip().startswith("{")
            return data_sources(text) if braced else override_mapping(override_lines(text))
        raise
