"""The weights location (file:///… or s3://bucket/prefix): which of its objects a composition needs, found and sealed.

In: a store with weight files and directions as their publishers name them, in any folders, and a composition. Out: a
Supply per StyleGAN: names, sizes and sha256 of its weights and directions, which the plan of synthesize carries, so
that every part works with the same bytes; then those files on this machine.

Converted weights (`comface convert`) come before published files; where their provenance lies beside them, their
sha256 must be the one that it names.
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

REPLACED = "it was replaced while the run was under way, so start the run again"


class Sealed(BaseModel):
    """One object of the location, and what it held when the run was planned."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    size_bytes: int
    sha256: str


class Supply(BaseModel):
    """What one generator needs of the location; `directions` also holds those that are only conditions."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weights: Sealed
    directions: dict[str, Sealed]


@dataclass(frozen=True)
class Files:
    """A Supply on this machine."""

    weights: Path
    directions: Mapping[str, Path]


def needed(config: SynthesizeConfig) -> dict[str, dict[str, Entry]]:
    """Per StyleGAN of the composition, the directions that it needs, conditions included, by our names."""
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
    """The catalogue's entry as the configuration changes it, whichever spelling either uses."""
    changes = (uses for other, uses in config.directions.items() if other == generator)
    name = attribute_name(attribute)
    uses = (use for each in changes for a, use in each.items() if attribute_name(a) == name)
    return entry_for(generator, name, next(uses, None))


def find_supplies(location: Store, config: SynthesizeConfig, cache: Path) -> dict[str, Supply]:
    """What the composition needs of `location`, read and hashed once.

    Raises ConfigurationError, one sentence, for weights or directions that are not there, DataError for those that
    are not what their provenance says."""
    wanted = needed(config)
    if not wanted:
        return {}
    keys = list(location.keys())
    weights = {generator: find_weights(location, keys, generator) for generator in wanted}
    lacking = [generator for generator, key in weights.items() if key is None]
    if lacking:
        names = ", ".join(f"'{generator}' ({weight_files(generator)[1]})" for generator in lacking)
        raise ConfigurationError(
            f"{location.uri} holds no weights of {names}; put the published files there, or what `comface convert` "
            "makes of them (docs/generators.md)."
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
    """The key of the generator's weights: NAME.safetensors, else the one converted file whose provenance says the
    family, else a published file."""
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
            f"{location.uri} holds several weights of '{generator}' ({', '.join(beside)}); "
            f"rename the one to use to {converted}."
        )
    candidates = (find_file(location, keys, name, generator) for name in published)
    return beside[0] if beside else next((key for key in candidates if key is not None), None)


def find_file(location: Store, keys: Iterable[str], name: str, generator: str) -> str | None:
    """The key of the file called `name`, in any folder; of several, the one in a folder called as the generator.
    `name` may begin with folders of its own."""
    found = [key for key in keys if key == name or key.endswith(f"/{name}")]
    if len(found) > 1:
        found = [key for key in found if generator in PurePosixPath(key).parent.parts] or found
    if len(found) > 1:
        raise ConfigurationError(
            f"{location.uri} holds '{name}' more than once ({', '.join(found)}); keep the one to use."
        )
    return found[0] if found else None


def local_files(location: Store, supplies: Mapping[str, Supply], cache: Path) -> dict[str, Files]:
    """The sealed objects on this machine, checked. Raises DataError for one that is not what was sealed."""

    def here(sealed: Sealed) -> Path:
        return fetched(location, sealed, cache)

    return {
        name: Files(here(supply.weights), {a: here(sealed) for a, sealed in supply.directions.items()})
        for name, supply in supplies.items()
    }


def fetched(location: Store, sealed: Sealed, cache: Path) -> Path:
    """A sealed object on this machine, checked. Raises DataError where it is not what was sealed."""
    stored = StoredObject(size_bytes=sealed.size_bytes, sha256=sealed.sha256)
    return local_copy(location, sealed.key, stored, cache, REPLACED)


def open_supplies(uri: str, supplies: Mapping[str, Supply], cache: Path) -> dict[str, Files]:
    """`local_files` of what a plan carries; a location that nothing is needed of is not even opened."""
    if not supplies:
        return {}
    return local_files(open_store(uri), supplies, cache)


def _find_directions(location: Store, keys: list[str], generator: str, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Key per attribute. Raises ConfigurationError naming all that are missing."""
    found = {name: find_file(location, keys, entry.file, generator) for name, entry in entries.items()}
    missing = [f"{name} ({entries[name].file})" for name, key in found.items() if key is None]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise ConfigurationError(
            f"{location.uri} holds no direction of '{generator}' for {', '.join(missing[:4])}{more}; put the files "
            "there, or leave the attributes out (docs/generators.md)."
        )
    return {name: str(key) for name, key in found.items()}


def seal(location: Store, keys: list[str], key: str, cache: Path) -> Sealed:
    """Reads the object whole: into the cache where it is not on this machine."""
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
            f"'{key}' of {location.uri} is not the file that its provenance describes (another sha256); "
            "put file and provenance there again, as they were made."
        )
    return sealed


def _provenance(location: Store, keys: list[str], key: str) -> dict[str, object]:
    """The JSON beside an object; empty where there is none."""
    beside = f"{key}.json"
    if beside not in keys:
        return {}
    try:
        facts = json.loads(location.read(beside))
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise DataError(f"The provenance '{beside}' of {location.uri} cannot be read; put it there again.")
    return facts


def _check_owners(location: Store, keys: list[str], supplies: Mapping[str, Supply]) -> None:
    """Raises DataError for a direction that was fitted for another generator, or serves two: at most one is right."""
    seen: dict[str, tuple[str, str]] = {}
    for generator, supply in supplies.items():
        for sealed in supply.directions.values():
            owner, key = seen.setdefault(sealed.sha256, (generator, sealed.key))
            if owner != generator:
                raise DataError(
                    f"'{sealed.key}' of {location.uri} is the same direction as '{key}' of '{owner}', so it cannot "
                    f"be of '{generator}' too; put the right file there."
                )
            facts = _provenance(location, keys, sealed.key)
            check_fitted_for(sealed.key, str(facts.get("generator", "")), generator)
