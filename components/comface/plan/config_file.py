"""A configuration file, `--config FILE.yaml`: its fields as `field=value` overrides, and their lines.

In: plain YAML of a bounded size (config/reading.py), nested as in docs/data.md. Out: overrides, and for each field the
file and line, so that an error names them. The file may name its profile: `profile: paper`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface.config.names import printable, quoted
from comface.config.reading import LONGEST_CHARACTERS, NotPlain, leaves, override, plain_document
from comface.errors import ConfigurationError
from comface.files import read_bounded


@dataclass(frozen=True)
class ConfigFile:
    path: Path
    values: dict[str, Any]
    lines: dict[str, int]
    """By dotted field."""

    @property
    def profile(self) -> str | None:
        return self.values.get("profile")

    def overrides(self, without: Collection[str] = ()) -> list[str]:
        return [
            override(field, value)
            for field, value in leaves(self.values)
            if field not in without and field != "profile"
        ]

    def places(self, overrides: Iterable[str]) -> dict[str, str]:
        """File and line of each field; empty for fields that `overrides` sets again."""
        again = [line.partition("=")[0].strip() for line in overrides]
        return {
            field: f"{self.path}, line {line}"
            for field, line in self.lines.items()
            if not any(field.startswith(f"{each}.") for each in again)
        } | dict.fromkeys(again, "")


def read_config(path: Path) -> ConfigFile:
    """Raises ConfigurationError with the file and, if known, the line."""
    shown = quoted(str(path))
    data = read_bounded(path, 4 * LONGEST_CHARACTERS, "The configuration", ConfigurationError)
    try:
        values, lines = plain_document(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigurationError(f"The configuration {shown} is not UTF-8 text; save it as UTF-8.") from None
    except NotPlain as error:
        line = f", line {error.line}" if error.line else ""
        raise ConfigurationError(
            f"The configuration {shown}{line} is not YAML of plain data ({printable(str(error))}); write text, "
            "numbers, lists and mappings, each field once."
        ) from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigurationError(f"The configuration {shown} is not a mapping; write `section: {{field: value}}`.")
    if not isinstance(values.get("profile", ""), str):
        raise ConfigurationError(f"The profile of the configuration {shown} is not a name; write `profile: laptop`.")
    return ConfigFile(path, values, lines)
