"""Finds, hashes and copies the files that a composition needs from the weights location (file:///… or s3://…).

In: a store with weight files and directions under their published names, in any folders, and a composition. Out: a
Supply per StyleGAN with the names, sizes and sha256 of its weights and directions. The plan of synthesize contains it,
so every part uses identical files. Then, local copies of these files.

Converted weights (`comface convert`) take precedence over published files. If there is a provenance file beside them,
their sha256 must match it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from comface.artifacts.manifest import StoredObject, file_sha256, local_copy
from comface.directions.interfacegan import check_fitted_for
from comface.directions.published import Entry, attribute_name, entry_for, weight_files
from comface.errors import ConfigurationError, DataError
from comface.files import check_file, make_private_folder
from comface.generators.registry import generator as registered
from comface.store import FileStore, Store, open_store
from comface.tracks.config import SynthesizeConfig
from comface.weights.tensor_tables import MOST_BYTES

REPLACED = "it was replaced during the run; start the run again"


class Sealed(BaseModel):
    """One object of the weights location, with its size and sha256 when the run was planned."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    size_bytes: int
    sha256: str


class Supply(BaseModel):
    """The files of one generator in the weights location. `directions` includes those that are only conditions."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weights: Sealed
    directions: dict[str, Sealed]


@dataclass(frozen=True)
class Files:
    """Local copies of a Supply."""

    weights: Path
    directions: Mapping[str, Path]


def needed(config: SynthesizeConfig) -> dict[str, dict[str, Entry]]:
    """Return per StyleGAN of the composition the directions that it needs, including conditions, by attribute name."""
    wanted: dict[str, dict[str, Entry]] = {}
    for share in config.composition:
        if registered(share.generator).brought:
            entries = wanted.setdefault(share.generator, {})
            for attribute in share.attributes:
                entry = entry_of(config, share.generator, attribute)
                entries[entry.attribute] = entry
                for name in map(attribute_name, entry.condition):
                    entries.setdefault(name, entry_of(config, share.generator, name))
    return wanted


def entry_of(config: SynthesizeConfig, generator: str, attribute: str) -> Entry:
    """Return the catalogue's entry with the changes of the configuration, for any spelling of the attribute."""
    changes = (uses for other, uses in config.directions.items() if other == generator)
    name = attribute_name(attribute)
    uses = (use for each in changes for a, use in each.items() if attribute_name(a) == name)
    return entry_for(generator, name, next(uses, None))


def find_supplies(location: Store, config: SynthesizeConfig, cache: Path) -> dict[str, Supply]:
    """Find, read and hash the files that the composition needs from `location`.

    Raises ConfigurationError if weights or directions are missing, DataError if a file does not match its
    provenance."""
    wanted = needed(config)
    if not wanted:
        return {}
    keys = list(location.keys())
    weights = {generator: find_weights(location, keys, generator) for generator in wanted}
    lacking = [generator for generator, key in weights.items() if key is None]
    if lacking:
        names = ", ".join(f"'{generator}' ({weight_files(generator)[1]})" for generator in lacking)
        raise ConfigurationError(
            f"{location.uri} has no weights of {names}; copy the published files there, or convert them with "
            "`comface convert` (docs/generators.md)."
        )
    found = {generator: _find_directions(location, keys, generator, wanted[generator]) for generator in wanted}
    supplies = {
        generator: Supply(
            weights=seal(location, keys, str(weights[generator]), cache),
            directions={name: seal(location, keys, key, cache) for name, key in found[generator].items()},
        )
        for generator in wanted
    }
    _check_owners(location, keys, supplies)
    return supplies


def find_weights(location: Store, keys: Iterable[str], generator: str) -> str | None:
    """Return the key of the generator's weights: NAME.safetensors, else the converted file whose provenance names this
    family, else a published file. Raises ConfigurationError if several converted files match."""
    keys = list(keys)
    converted, *published = weight_files(generator)
    exact = find_file(location, keys, converted, generator)
    if exact is not None:
        return exact
    beside = [
        k for k in keys if k.endswith(".safetensors") and _provenance(location, keys, k).get("family") == generator
    ]
    if len(beside) > 1:
        raise ConfigurationError(
            f"{location.uri} has several weight files of '{generator}' ({', '.join(beside)}); "
            f"rename the one to use to {converted}."
        )
    candidates = (find_file(location, keys, name, generator) for name in published)
    return beside[0] if beside else next((key for key in candidates if key is not None), None)


def find_file(location: Store, keys: Iterable[str], name: str, generator: str) -> str | None:
    """Return the key of the file `name` (which may include folders) in any folder; if there are several, the one in a
    folder with the generator's name. Raises ConfigurationError if it is not unique."""
    found = [key for key in keys if key == name or key.endswith(f"/{name}")]
    if len(found) > 1:
        found = [key for key in found if generator in PurePosixPath(key).parent.parts] or found
    if len(found) > 1:
        raise ConfigurationError(f"{location.uri} has '{name}' more than once ({', '.join(found)}); keep only one.")
    return found[0] if found else None


def local_files(location: Store, supplies: Mapping[str, Supply], cache: Path) -> dict[str, Files]:
    """Return checked local copies of the objects. Raises DataError if an object has changed since the run was
    planned."""

    def here(sealed: Sealed) -> Path:
        return fetched(location, sealed, cache)

    return {
        name: Files(here(supply.weights), {a: here(sealed) for a, sealed in supply.directions.items()})
        for name, supply in supplies.items()
    }


def fetched(location: Store, sealed: Sealed, cache: Path) -> Path:
    """Return a checked local copy of an object. Raises DataError if it has changed since the run was planned."""
    stored = StoredObject(size_bytes=sealed.size_bytes, sha256=sealed.sha256)
    return local_copy(location, sealed.key, stored, cache, REPLACED)


def open_supplies(uri: str, supplies: Mapping[str, Supply], cache: Path) -> dict[str, Files]:
    """Return `local_files` of the supplies in a plan. If there are none, the location is not opened."""
    if not supplies:
        return {}
    return local_files(open_store(uri), supplies, cache)


def _find_directions(location: Store, keys: list[str], generator: str, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Return the key of the direction per attribute. Raises ConfigurationError that names the missing files."""
    found = {name: find_file(location, keys, entry.file, generator) for name, entry in entries.items()}
    missing = [f"{name} ({entries[name].file})" for name, key in found.items() if key is None]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise ConfigurationError(
            f"{location.uri} has no direction of '{generator}' for {', '.join(missing[:4])}{more}; copy the files "
            "there, or remove the attributes (docs/generators.md)."
        )
    return {name: str(key) for name, key in found.items()}


def seal(location: Store, keys: list[str], key: str, cache: Path) -> Sealed:
    """Read an object completely, into the cache if it is not local, and return its size and sha256. Raises DataError if
    its provenance names another sha256."""
    if isinstance(location, FileStore):
        path = location.path(key)
        check_file(path, MOST_BYTES, "The file")
        sealed = Sealed(key=key, size_bytes=path.stat().st_size, sha256=file_sha256(path))
    else:
        make_private_folder(cache)
        arriving = cache / f".arriving-{uuid.uuid4().hex}"
        location.download(key, arriving)
        sealed = Sealed(key=key, size_bytes=arriving.stat().st_size, sha256=file_sha256(arriving))
        arriving.rename(cache / f"{sealed.sha256[:32]}-{PurePosixPath(key).name}")
    named = _provenance(location, keys, key).get("sha256", sealed.sha256)
    if named != sealed.sha256:
        raise DataError(
            f"'{key}' of {location.uri} does not match its provenance (the sha256 differs); "
            "copy the file and its provenance there again."
        )
    return sealed


def _provenance(location: Store, keys: list[str], key: str) -> dict[str, object]:
    """Return the provenance (JSON) of an object; empty if there is none. Raises DataError if it is damaged."""
    beside = f"{key}.json"
    if beside not in keys:
        return {}
    try:
        facts = json.loads(location.read(beside))
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise DataError(f"The provenance '{beside}' of {location.uri} cannot be read; copy it there again.")
    return facts


def _check_owners(location: Store, keys: list[str], supplies: Mapping[str, Supply]) -> None:
    """Raises DataError for a direction that was fitted for another generator, or that two generators use."""
    seen: dict[str, tuple[str, str]] = {}
    for generator, supply in supplies.items():
        for sealed in supply.directions.values():
            owner, key = seen.setdefault(sealed.sha256, (generator, sealed.key))
            if owner != generator:
                raise DataError(
                    f"'{sealed.key}' of {location.uri} is the same direction as '{key}' of '{owner}', so it cannot "
                    f"be a direction of '{generator}' too; copy the right file there."
                )
            facts = _provenance(location, keys, sealed.key)
            check_fitted_for(sealed.key, str(facts.get("generator", "")), generator)
