"""The registry: versions of a model in the object store, below registry/NAME/.

    v1.json, v2.json, …            which `model` artifact a version is, by its manifest's sha256; never changed
    promotions/00001.json, …       who was made champion when; the last one holds

In: model artifacts of the same store. Out: versions. Every record is created, never replaced (Store.create), so two
processes never take the same number, and a record that is there is whole. It is sealed, so that a changed one is found
when it is read. Places are relative to the store: it may be moved.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comface.artifacts.manifest import Artifact, Reference, open_artifact, open_reference, relative
from comface.artifacts.sealed import read_sealed, sealed
from comface.config.names import LONGEST_PLACE, quoted
from comface.errors import ConfigurationError, DataError, TryAgain
from comface.store import Store

FOLDER = "registry"
DEFAULT_NAME = "comface"
ATTEMPTS = 50
"""How many rivals may be faster, one after the other, before a registration gives up."""

R = TypeVar("R", bound="_Record")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    made_by: str = Field(default_factory=lambda: uuid.uuid4().hex, description="tells the records of rivals apart")


class Version(_Record):
    name: str
    number: int = Field(ge=1)
    artifact: str = Field(description="key of the model artifact in the same store")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of its manifest")
    registered_at: datetime
    decision: Reference | None = Field(default=None, description="the `decision` of the gate that let it pass")

    @property
    def reference(self) -> str:
        return f"{self.name}@v{self.number}"


class Promotion(_Record):
    version: int = Field(ge=1)
    before: int | None
    promoted_at: datetime


class Registry:
    """The versions of the model `name` in `store`."""

    def __init__(self, store: Store, name: str) -> None:
        if not re.fullmatch("[a-z0-9][a-z0-9-]{0,99}", name):
            raise ConfigurationError(
                f"{quoted(name)} is not the name of a model; use at most 100 small letters, digits and hyphens."
            )
        self.store, self.name = store, name
        self.folder = f"{FOLDER}/{name}"

    def versions(self) -> list[Version]:
        """Oldest first."""
        return [self._version(number) for number in self._numbers(r"v(\d+)\.json")]

    def version(self, number: int) -> Version:
        numbers = self._numbers(r"v(\d+)\.json")
        if number not in numbers:
            raise ConfigurationError(
                f"There is no version v{number} of '{self.name}' in {self.store.uri}; "
                f"{f'the newest is v{numbers[-1]}' if numbers else 'none is registered'}."
            )
        return self._version(number)

    def open(self, version: Version) -> Artifact:
        """The model of a version. Raises DataError when it is not the one that was registered."""
        folder = self.store.child(version.artifact)
        artifact = open_artifact(folder.uri, "model", folder)
        if artifact.sha256 != version.sha256:
            raise DataError(
                f"The model {version.reference} at {artifact.uri} was changed after registration; register it again."
            )
        return artifact

    def decision(self, version: Version) -> Artifact | None:
        """What the gate recorded of a version. Raises DataError when it is not what was recorded then."""
        if version.decision is None:
            return None
        return open_reference(version.decision, self.store.uri, "decision")

    def register(self, model: Artifact, now: datetime, decision: Artifact | None = None) -> Version:
        """Give `model` the next version, or find the one that it has."""
        if model.root != self.store.uri:
            raise ConfigurationError(f"The model at {model.uri} lies outside {self.store.uri}; register it there.")
        for _ in range(ATTEMPTS):
            versions = self.versions()
            same = [version for version in versions if version.sha256 == model.sha256]
            if same:
                return same[0]
            version = Version(
                name=self.name,
                number=max((version.number for version in versions), default=0) + 1,
                artifact=relative(model.uri, self.store.uri),
                sha256=model.sha256,
                registered_at=now,
                decision=decision.reference_from(self.store.uri) if decision else None,
            )
            if self._create(f"v{version.number}.json", version):
                return version
        raise TryAgain(f"{ATTEMPTS} other registrations of '{self.name}' were faster; run again.")

    def promote(self, number: int, now: datetime) -> Promotion:
        """Make a version the champion. The present champion stays it, without a new record."""
        version = self.version(number)
        self.open(version)
        for _ in range(ATTEMPTS):
            numbers = self._numbers(r"promotions/(\d+)\.json")
            last = self._promotion(numbers[-1]) if numbers else None
            if last is not None and last.version == number:
                return last
            promotion = Promotion(version=number, before=last.version if last else None, promoted_at=now)
            if self._create(f"promotions/{(numbers[-1] if numbers else 0) + 1:05d}.json", promotion):
                return promotion
        raise TryAgain(f"{ATTEMPTS} other promotions of '{self.name}' were faster; run again.")

    def champion(self) -> Version | None:
        numbers = self._numbers(r"promotions/(\d+)\.json")
        return self.version(self._promotion(numbers[-1]).version) if numbers else None

    def _version(self, number: int) -> Version:
        version = self._read(f"v{number}.json", Version)
        if (version.name, version.number) != (self.name, number):
            raise DataError(
                f"The record '{self.folder}/v{number}.json' of {self.store.uri} is the one of {version.reference}; "
                "restore it, or use a new store."
            )
        return version

    def _promotion(self, number: int) -> Promotion:
        return self._read(f"promotions/{number:05d}.json", Promotion)

    def _numbers(self, pattern: str) -> list[int]:
        keys = (key.removeprefix(f"{self.folder}/") for key in self.store.keys(self.folder))
        return sorted(int(found[1]) for key in keys if (found := re.fullmatch(pattern, key)))

    def _create(self, key: str, record: BaseModel) -> bool:
        return self.store.create(f"{self.folder}/{key}", sealed(record.model_dump(mode="json")))

    def _read(self, key: str, kind: type[R]) -> R:
        try:
            return kind.model_validate(read_sealed(self.store, f"{self.folder}/{key}"))
        except ValidationError:
            why = "is of another version"
        except ValueError:
            why = "is damaged, was changed, or was made by an older version"
        raise DataError(f"The record '{self.folder}/{key}' of {self.store.uri} {why}; restore it, or use a new store.")


def names(store: Store) -> list[str]:
    """Names under which something is registered."""
    keys = (re.fullmatch(rf"{FOLDER}/([^/]+)/v\d+\.json", key) for key in store.keys(FOLDER))
    return sorted({found[1] for found in keys if found})


def default_model(store: Store) -> Version:
    """What is meant where nobody names a model: the champion of DEFAULT_NAME, else its newest version."""
    registry = Registry(store, DEFAULT_NAME)
    versions = registry.versions()
    if not versions:
        if not (others := ", ".join(names(store))):
            raise ConfigurationError(f"No model is registered in {store.uri}; run `comface run`, or give --store.")
        raise ConfigurationError(
            f"No model '{DEFAULT_NAME}' is registered in {store.uri}; those that are: {others}; name one."
        )
    return registry.champion() or versions[-1]


def resolve_model(store: Store, reference: str | None) -> tuple[str, Artifact]:
    """The model that a person names: None (default_model), NAME, NAME@v3, NAME@champion, or the URI or path of a model
    artifact. Gives how it is called and the artifact."""
    if reference is None:
        version = default_model(store)
    elif (uri := place_of(reference)) is not None:
        return uri, open_artifact(uri, "model")
    else:
        version = _named(store, reference)
    return version.reference, Registry(store, version.name).open(version)


def resolve_backbone(store: Store, reference: str) -> Artifact:
    """The backbone that a person names: as a model is named (then the one that it was made from), or by the URI or path
    of a backbone artifact."""
    uri = place_of(reference)
    artifact = open_artifact(uri) if uri is not None else resolve_model(store, reference)[1]
    if artifact.manifest.kind == "model":
        return artifact.input("backbone", "backbone")
    if artifact.manifest.kind != "backbone":
        raise DataError(
            f"{artifact.uri} is an artifact of kind '{artifact.manifest.kind}', neither a backbone nor a model; "
            "pass one of these."
        )
    return artifact


def place_of(reference: str) -> str | None:
    """The URI that a reference is, or of the path that it is; None for a name in the registry. Raises
    ConfigurationError for what cannot be either."""
    if len(reference) > LONGEST_PLACE or not reference.isprintable():
        raise ConfigurationError(f"{quoted(reference)} is neither a name nor a place of a model; check it.")
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
            raise ConfigurationError(f"No model '{name}' is registered in {store.uri}; those that are: {known}.")
        return versions[-1]
    if which == "champion":
        champion = registry.champion()
        if champion is None:
            raise ConfigurationError(
                f"No version of '{name}' is the champion; make one so with `comface models promote {name}@v1`."
            )
        return champion
    if not re.fullmatch(r"v\d{1,9}", which):
        raise ConfigurationError(
            f"{quoted(reference)} does not name a model; write NAME, NAME@v3, NAME@champion, a URI or a path."
        )
    return registry.version(int(which[1:]))
