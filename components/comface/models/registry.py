"""The model registry: versions of a model in the object store, below registry/NAME/.

    v1.json, v2.json, …            the `model` artifact of each version and the sha256 of its manifest; never changed
    promotions/00001.json, …       which version became champion, when and why; the last record is valid
    aliases/ALIAS/00001.json, …    the same for every other alias

In: model artifacts of the same store. Out: versions. A record is created and never replaced (Store.create), so two
processes cannot take the same number and a record is always complete. A record has a seal, so a changed record is
detected when it is read. Paths are relative to the store, so the store can be moved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from comface.artifacts.manifest import Artifact, Reference, open_artifact, open_reference, relative
from comface.artifacts.sealed import read_sealed, sealed
from comface.config.names import quoted
from comface.errors import ConfigurationError, DataError, TryAgain
from comface.models.aliases import (
    ALIAS,
    CHAMPION,
    Promotion,
    Record,
    alias_folder,
    check_why,
    previous_champion,
)
from comface.models.shipped import NAME as SHIPPED
from comface.models.signing import check_signature
from comface.store import Store

FOLDER = "registry"
ATTEMPTS = 50
"""Maximum number of attempts if other processes register at the same time."""

R = TypeVar("R", bound=Record)


class Version(Record):
    name: str
    number: int = Field(ge=1)
    artifact: str = Field(description="key of the model artifact in the same store")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="sha256 of its manifest")
    registered_at: datetime
    decision: Reference | None = Field(default=None, description="the `decision` artifact of the gate that passed")

    @property
    def reference(self) -> str:
        return f"{self.name}@v{self.number}"


class Registry:
    """The versions of the model `name` in `store`."""

    def __init__(self, store: Store, name: str) -> None:
        if not re.fullmatch("[a-z0-9][a-z0-9-]{0,99}", name):
            raise ConfigurationError(
                f"{quoted(name)} is not a valid model name; use at most 100 lower-case letters, digits and hyphens."
            )
        if name == SHIPPED:
            raise ConfigurationError(f"'{name}' is the model that ships with the package; choose another name.")
        self.store, self.name = store, name
        self.folder = f"{FOLDER}/{name}"

    def versions(self) -> list[Version]:
        """Return all versions, oldest first."""
        return [self._version(number) for number in self._numbers(r"v(\d+)\.json")]

    def version(self, number: int) -> Version:
        numbers = self._numbers(r"v(\d+)\.json")
        if number not in numbers:
            raise ConfigurationError(
                f"There is no version v{number} of '{self.name}' in {self.store.uri}; "
                f"{f'the newest is v{numbers[-1]}' if numbers else 'it has no versions'}; see `comface models list`."
            )
        return self._version(number)

    def open(self, version: Version) -> Artifact:
        """Open the model of a version. Raises DataError if it differs from the one that was registered, or if no
        trusted key signed it."""
        artifact = self.unchecked(version)
        check_signature(artifact)
        return artifact

    def unchecked(self, version: Version) -> Artifact:
        """Open the model of a version to list or sign it, whoever signed it."""
        folder = self.store.child(version.artifact)
        artifact = open_artifact(folder.uri, "model", folder)
        if artifact.sha256 != version.sha256:
            raise DataError(
                f"The model {version.reference} at {artifact.uri} was changed after registration; register it again."
            )
        return artifact

    def decision(self, version: Version) -> Artifact | None:
        """Open the gate's decision on a version. Raises DataError if it was changed after registration."""
        if version.decision is None:
            return None
        return open_reference(version.decision, self.store.uri, "decision")

    def register(self, model: Artifact, now: datetime, decision: Artifact | None = None) -> Version:
        """Register `model` as the next version, or return its version if it has one. Raises TryAgain if other processes
        keep registering at the same time."""
        if model.root != self.store.uri:
            raise ConfigurationError(
                f"The model at {model.uri} is not in the store {self.store.uri}; register it in its own store."
            )
        check_signature(model)
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
        raise TryAgain(
            f"Other processes registered '{self.name}' at the same time ({ATTEMPTS} attempts failed); run again."
        )

    def promote(self, number: int, now: datetime, why: str = "", instead_of: str | None = None) -> Promotion:
        """Make a version the champion, after its files were verified. If it is the champion already, no record is
        added. `instead_of`: reference of the champion that it was compared with (empty: there was none). Raises
        TryAgain if another one is the champion."""
        self.check(self.version(number))

        def replacing(history: Sequence[Promotion]) -> tuple[int, bool]:
            last = history[-1].version if history else None
            champion = f"{self.name}@v{last}" if last is not None else ""
            if instead_of is not None and champion != instead_of and last != number:
                raise TryAgain(
                    f"{self.name}@v{number} was compared with {instead_of or 'no champion'}, but "
                    f"{champion or 'nothing'} is the champion now; run again to compare it with that."
                )
            return number, False

        return self._recorded(CHAMPION, replacing, now, why)

    def point(self, alias: str, number: int | None, now: datetime, why: str = "") -> Promotion:
        """Let an alias name a version, after its files were verified; None removes the alias. If the alias names this
        version already, no record is added."""
        if number is not None:
            self.check(self.version(number))
        elif self.named(alias) is None:
            known = ", ".join(self.aliases()) or "none"
            raise ConfigurationError(f"'{self.name}' has no alias '{alias}'; its aliases: {known}.")
        return self._recorded(alias, lambda _: (number, False), now, why)

    def rollback(self, now: datetime, why: str = "") -> Promotion:
        """Return to the previous champion, by a new record. A second rollback returns to the one before that."""

        def previous(history: Sequence[Promotion]) -> tuple[int, bool]:
            number = previous_champion(history)
            if number is None:
                raise ConfigurationError(
                    f"'{self.name}' has no previous champion to return to; "
                    f"choose a version with `comface models promote {self.name}@v1`."
                )
            self.check(self.version(number))
            return number, True

        return self._recorded(CHAMPION, previous, now, why)

    def champion(self) -> Version | None:
        return self.named(CHAMPION)

    def named(self, alias: str) -> Version | None:
        """Return the version that an alias names."""
        folder = alias_folder(alias)
        numbers = self._numbers(rf"{folder}/(\d+)\.json")
        version = self._promotion(folder, numbers[-1]).version if numbers else None
        return self.version(version) if version is not None else None

    def aliases(self) -> dict[str, Version]:
        """Return all aliases and their versions, the champion first."""
        versions = {alias: self.named(alias) for alias in self.alias_names()}
        return {alias: version for alias, version in versions.items() if version is not None}

    def alias_names(self) -> list[str]:
        """Return all aliases that name a version or once did, the champion first."""
        keys = (key.removeprefix(f"{self.folder}/") for key in self.store.keys(self.folder))
        found = {match[1] for key in keys if (match := re.fullmatch(rf"aliases/({ALIAS})/\d+\.json", key))}
        return [CHAMPION, *sorted(found)]

    def history(self, alias: str = CHAMPION) -> list[Promotion]:
        """Return all changes of an alias, oldest first. Raises DataError if a record is missing."""
        folder = alias_folder(alias)
        numbers = self._numbers(rf"{folder}/(\d+)\.json")
        if numbers != list(range(1, len(numbers) + 1)):
            raise DataError(
                f"A record in '{self.folder}/{folder}' of {self.store.uri} is missing; restore it from a backup."
            )
        return [self._promotion(folder, number) for number in numbers]

    def check(self, version: Version) -> Artifact:
        """Open the model of a version after every file was compared with its manifest."""
        artifact = self.open(version)
        for name in artifact.manifest.objects:
            artifact.check(name)
        return artifact

    def _recorded(
        self,
        alias: str,
        choose: Callable[[Sequence[Promotion]], tuple[int | None, bool]],
        now: datetime,
        why: str,
    ) -> Promotion:
        """Add a record to the history of an alias. `choose`: returns, for the history so far, the version and whether
        it is a rollback."""
        check_why(why)
        folder = alias_folder(alias)
        for _ in range(ATTEMPTS):
            history = self.history(alias)
            version, rolled_back = choose(history)
            before = history[-1].version if history else None
            if history and before == version:
                return history[-1]
            move = Promotion(version=version, before=before, promoted_at=now, why=why, rolled_back=rolled_back)
            if self._create(f"{folder}/{len(history) + 1:05d}.json", move):
                return move
        raise TryAgain(
            f"Other processes promoted '{self.name}' at the same time ({ATTEMPTS} attempts failed); run again."
        )

    def _version(self, number: int) -> Version:
        version = self._read(f"v{number}.json", Version)
        if (version.name, version.number) != (self.name, number):
            raise DataError(
                f"The record '{self.folder}/v{number}.json' of {self.store.uri} belongs to {version.reference}; "
                "restore it, or use a new store."
            )
        return version

    def _promotion(self, folder: str, number: int) -> Promotion:
        return self._read(f"{folder}/{number:05d}.json", Promotion)

    def _numbers(self, pattern: str) -> list[int]:
        keys = (key.removeprefix(f"{self.folder}/") for key in self.store.keys(self.folder))
        return sorted(int(found[1]) for key in keys if (found := re.fullmatch(pattern, key)))

    def _create(self, key: str, record: BaseModel) -> bool:
        return self.store.create(f"{self.folder}/{key}", sealed(record.model_dump(mode="json")))

    def _read(self, key: str, kind: type[R]) -> R:
        try:
            return kind.model_validate(read_sealed(self.store, f"{self.folder}/{key}"))
        except ValidationError:
            why = "has the format of another version"
        except ValueError:
            why = "is damaged, was changed, or was made by an older version"
        raise DataError(f"The record '{self.folder}/{key}' of {self.store.uri} {why}; restore it, or use a new store.")


def names(store: Store) -> list[str]:
    """Return the names of all registered models."""
    keys = (re.fullmatch(rf"{FOLDER}/([^/]+)/v\d+\.json", key) for key in store.keys(FOLDER))
    return sorted({found[1] for found in keys if found})
