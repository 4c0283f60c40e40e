"""How a model is named: NAME, NAME@v3, NAME@ALIAS, `shipped`, a URI or a path.

In: a store and a reference. Out: the version, or the artifact of the model or its backbone.
"""

from __future__ import annotations

import re
from pathlib import Path

from comface.artifacts.manifest import Artifact, open_artifact
from comface.config.names import LONGEST_PLACE, quoted
from comface.errors import ConfigurationError, DataError
from comface.models.aliases import CHAMPION, is_alias
from comface.models.registry import Registry, Version, names
from comface.models.shipped import NAME as SHIPPED
from comface.models.shipped import shipped_model
from comface.models.signing import check_signature
from comface.store import Store

DEFAULT_NAME = "comface"


def default_model(store: Store) -> Version:
    """Return the default model: the champion of DEFAULT_NAME, or its newest version if there is no champion."""
    registry = Registry(store, DEFAULT_NAME)
    versions = registry.versions()
    if not versions:
        if not (others := ", ".join(names(store))):
            raise ConfigurationError(f"No model is registered in {store.uri}; run `comface run`, or give --store.")
        raise ConfigurationError(f"No model '{DEFAULT_NAME}' is registered in {store.uri}; choose one of: {others}.")
    return registry.champion() or versions[-1]


def resolve_model(store: Store, reference: str | None) -> tuple[str, Artifact]:
    """Find a model by reference: None (default_model; if the store has no models, the one that ships with the package),
    NAME, NAME@v3, NAME@ALIAS, `shipped`, or the URI or path of a model artifact. Returns (its full reference or URI,
    the artifact)."""
    if reference == SHIPPED or (reference is None and not names(store)):
        return SHIPPED, shipped_model()
    if reference is not None and (uri := place_of(reference)) is not None:
        model = open_artifact(uri, "model")
        check_signature(model)
        return uri, model
    version = find_version(store, reference)
    return version.reference, Registry(store, version.name).open(version)


def find_version(store: Store, reference: str | None) -> Version:
    """Find a registered version: None (default_model), NAME, NAME@v3 or NAME@ALIAS."""
    return default_model(store) if reference is None else _named(store, reference)


def resolve_backbone(store: Store, reference: str) -> Artifact:
    """Find a backbone by the reference of a model (then the backbone of that model), or by the URI or path of a
    backbone artifact. The model that ships with the package stands for its backbone, whose weights it contains. Raises
    DataError for an artifact of another kind."""
    uri = place_of(reference)
    artifact = open_artifact(uri) if uri is not None else resolve_model(store, reference)[1]
    if artifact.manifest.kind == "model":
        check_signature(artifact)
        return artifact if reference == SHIPPED else artifact.input("backbone", "backbone")
    if artifact.manifest.kind != "backbone":
        raise DataError(
            f"{artifact.uri} is an artifact of kind '{artifact.manifest.kind}', neither a backbone nor a model; "
            "give the URI of a backbone or a model."
        )
    return artifact


def place_of(reference: str) -> str | None:
    """Return the URI if `reference` is a URI or a path; None if it is a name in the registry. Raises ConfigurationError
    if it is too long or contains unprintable characters."""
    if len(reference) > LONGEST_PLACE or not reference.isprintable():
        raise ConfigurationError(f"{quoted(reference)} is not a valid name, URI or path of a model; correct it.")
    if "://" in reference:
        return reference
    if "/" in reference or reference.startswith((".", "~")):
        return Path(reference).expanduser().absolute().as_uri()
    return None


def _named(store: Store, reference: str) -> Version:
    name, at, which = reference.partition("@")
    registry = Registry(store, name)
    if not at:
        versions = registry.versions()
        if not versions:
            known = ", ".join(names(store)) or "none"
            raise ConfigurationError(f"No model '{name}' is registered in {store.uri}; registered models: {known}.")
        return versions[-1]
    if re.fullmatch(r"v\d{1,9}", which):
        return registry.version(int(which[1:]))
    if not is_alias(which):
        raise ConfigurationError(
            f"{quoted(reference)} is not a valid model reference; write NAME, NAME@v3, NAME@champion, NAME@ALIAS, a "
            "URI or a path."
        )
    found = registry.named(which)
    if found is None and which == CHAMPION:
        raise ConfigurationError(f"'{name}' has no champion; choose one with `comface models promote {name}@v1`.")
    if found is None:
        known = ", ".join(registry.aliases()) or "none"
        raise ConfigurationError(f"'{name}' has no alias '{which}'; its aliases: {known}.")
    return found
