"""For which generator a direction was fitted, as the file beside it says (`comface directions fit` writes it)."""

from __future__ import annotations

from pathlib import Path

from comface.artifacts.manifest import file_sha256
from comface.errors import DataError
from comface.files import read_facts
from comface.weights.fetched import provenance_path


def fitted_for(path: Path) -> str:
    """The generator that the provenance beside a direction names (`directions fit` writes it); "" where there is none,
    or where it describes another file."""
    facts = read_facts(provenance_path(path))
    return str(facts.get("generator", "")) if facts and facts.get("sha256") == file_sha256(path) else ""


def check_fitted_for(name: str, owner: str, generator: str) -> None:
    """Raises DataError when the direction called `name` was fitted for another generator than `generator`."""
    if owner not in ("", generator):
        raise DataError(f"The direction '{name}' was fitted for '{owner}', not for '{generator}'; fit one for it.")
