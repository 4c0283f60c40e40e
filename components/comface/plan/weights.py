"""Checks the files of generators, methods and screening before anything is rendered.

In: a RunConfig. Out: the files for the plans of synthesize and transfer; raises all missing files together, by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from comface.directions.published import weight_files
from comface.errors import ComfaceError, ConfigurationError, DataError, raise_any
from comface.methods import method
from comface.methods.method import Method
from comface.methods.published import recognised
from comface.plan.configuration import RunConfig
from comface.runtime.folders import cache_folder
from comface.screening.config import ScreeningConfig
from comface.store import Store, open_store
from comface.tracks.supplies import (
    Files,
    Sealed,
    Supply,
    fetched,
    find_file,
    find_supplies,
    find_weights,
    local_files,
    needed,
    seal,
)

RANDOM_WEIGHTS = "random-weights.json"
LIST_BYTES = 1 << 20


def method_keys(config: RunConfig) -> dict[str, str | None]:
    """Method -> key of its weight file in the weights location, if it reads one; None if the file is missing. Raises
    ConfigurationError if this machine has no access to the location."""
    entries = [entry for entry in map(method, config.transfer.methods) if entry.files]
    if not entries:
        return {}
    location, keys = _location(config, [entry.name for entry in entries])
    return {entry.name: first_file(location, keys, entry) for entry in entries}


def first_file(location: Store, keys: Sequence[str], entry: Method) -> str | None:
    """The key of the first of the method's files that is in the weights location."""
    found = (find_file(location, keys, name, entry.name) for name in entry.files)
    return next((key for key in found if key is not None), None)


def method_files(config: RunConfig) -> dict[str, Sealed]:
    """The weight files of these methods for the plans of their transfers, each with its current sha256. Raises
    ConfigurationError if one is missing, DataError if one has none of its method's layouts."""
    found: dict[str, Sealed] = {}
    try:
        keys_of = method_keys(config)
    except ConfigurationError:
        if any(method(name).needs_file for name in config.transfer.methods):
            raise
        return found  # their packaged weights are used
    lacking = [method(name) for name, key in keys_of.items() if key is None and method(name).needs_file]
    if lacking:
        raise ConfigurationError(
            f"{config.weights} does not contain {lacking[0].file_names()}, the weights of the method "
            f"'{lacking[0].name}'; put the file there, or remove the method."
        )
    chosen = {name: key for name, key in keys_of.items() if key is not None}
    if chosen:
        location, keys = _location(config, list(chosen))
        for name, key in chosen.items():
            found[name] = seal(location, keys, key, cache_folder())
        raise_any(_unknown_layouts(location, found))
    return found


def _unknown_layouts(location: Store, files: Mapping[str, Sealed]) -> Iterator[ComfaceError]:
    for name, sealed in files.items():
        try:
            if method(name).layouts:
                recognised(fetched(location, sealed, cache_folder()), method(name).layouts, name)
        except DataError as error:
            yield error


def random_methods(config: RunConfig, files: Mapping[str, Sealed]) -> tuple[str, ...]:
    """The methods whose weight file is a stand-in with random weights: the location lists it in RANDOM_WEIGHTS
    (benchmarks/random_weights.py). Raises DataError if the list cannot be read."""
    if not files:
        return ()
    location, keys = _location(config, list(files))
    if RANDOM_WEIGHTS not in keys:
        return ()
    try:
        listed = set(json.loads(location.read(RANDOM_WEIGHTS, LIST_BYTES)))
    except (ValueError, TypeError):
        raise DataError(
            f"The list '{RANDOM_WEIGHTS}' of {location.uri} is not a JSON list of sha256; write it again, or delete it "
            "and the files with random weights."
        ) from None
    return tuple(name for name, file in files.items() if file.sha256 in listed)


def _location(config: RunConfig, names: Sequence[str]) -> tuple[Store, list[str]]:
    """The weights location and its keys."""
    try:
        location = open_store(config.weights)
        return location, list(location.keys())
    except ComfaceError as error:
        told = f"The weights location '{config.weights}' of {', '.join(names)} is not readable: {error}"
        raise type(error)(told) from None


def find_generators(config: RunConfig) -> dict[str, Supply]:
    """Checks that every generator loads and has a fitting direction for every requested attribute. Returns the files of
    the weights location that the run uses, for the plan of synthesize."""
    from comface.synthesize.step import preflight

    supplies: dict[str, Supply] = {}
    files: dict[str, Files] = {}
    names = sorted(needed(config.synthesize))
    if names:
        (location, keys), cache = _location(config, names), cache_folder()
        raise_any(_missing(config, location, keys))
        supplies = find_supplies(location, config.synthesize, cache)
        files = local_files(location, supplies, cache)
    preflight(config.synthesize, files=files)
    return supplies


def check_screening(config: RunConfig) -> str:
    """Checks that the backbone of the screening is available."""
    if config.screening.action != "skip":
        screening_of(config)
    return f"{config.screening.action}, by {config.screening.method}"


def screening_of(config: RunConfig) -> ScreeningConfig:
    """The screening with its backbone as an artifact: the reference may change later (`comface@champion`)."""
    from comface.models.references import resolve_backbone

    if not config.screening.backbone:
        return config.screening
    backbone = resolve_backbone(open_store(config.store), config.screening.backbone)
    return config.screening.model_copy(update={"backbone": backbone.pinned})


def champion_backbone(config: RunConfig) -> tuple[str, str]:
    """(the backbone of the registered champion as an artifact, empty); (empty, why there is none)."""
    from comface.models.references import resolve_backbone

    reference = f"{config.register_model.name}@champion"
    try:
        return resolve_backbone(open_store(config.store), reference).pinned, ""
    except (ConfigurationError, DataError) as error:
        return "", f"there is no champion to evaluate ({str(error).rstrip('.')})"


def _missing(config: RunConfig, location: Store, keys: Sequence[str]) -> Iterator[ComfaceError]:
    """One error per generator that names every missing file by its published name."""
    for generator, entries in needed(config.synthesize).items():
        lacking: list[str] = []
        try:
            if find_weights(location, keys, generator) is None:
                lacking.append(f"its weights ({weight_files(generator)[1]})")
            files = [e.file for e in entries.values() if find_file(location, keys, e.file, generator) is None]
        except ComfaceError as error:
            yield error
            continue
        if files:
            lacking.append(
                f"{len(files)} directions ({', '.join(files)})" if files[1:] else f"a direction ({files[0]})"
            )
        if lacking:
            yield ConfigurationError(
                f"{location.uri} does not contain, for '{generator}', {' and '.join(lacking)}; put the published files "
                "(or the output of `comface convert`) there, or remove the attributes (docs/generators.md)."
            )
