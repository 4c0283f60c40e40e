"""Artifacts and their manifests: how steps meet, and how every number is traced back.

An artifact is a folder of the store whose address is a hash of what decides its bytes: the fields that matter, the
addresses of its inputs, and the REVISION of each piece of code that makes it, a number that is raised when what the
code makes changes. So a step that finds its artifact published has nothing to do, two runs share what is equal, and a
reworded text makes nothing anew. Data are written first and `manifest.json` last, and only where there is none yet; a
reader that finds no manifest finds nothing. The manifest is sealed, and who refers to it names its sha256
(`URI#sha256=HEX`); what it names is checked against size and sha256.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comface import __version__
from comface.artifacts.code_digest import code_digest
from comface.artifacts.facts import Facts
from comface.artifacts.objects import SHA256, differs, own_key
from comface.artifacts.objects import StoredObject as StoredObject
from comface.artifacts.objects import file_sha256 as file_sha256
from comface.artifacts.objects import local_copy as local_copy
from comface.artifacts.sealed import json_bytes, read_sealed, sealed
from comface.config.canonical import canonical_json
from comface.errors import ConfigurationError, DataError
from comface.store import READINGS, REMAKE, FileStore, Store, TooLargeError, open_store

MANIFEST = "manifest.json"
MANIFEST_BYTES = 64 << 20
ADOPTED_BYTES = 64 << 30
"""The largest object of an interrupted run that is looked at; nothing names its size."""
SCHEMA = "comface/manifest/3"
"""What is written. 2 is read too: it names no revisions."""
PIN = "#sha256="

T = TypeVar("T")
F = TypeVar("F", bound=Facts)
logger = logging.getLogger(__name__)


class Reference(BaseModel):
    """An artifact as another manifest names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    artifact: str = Field(description="KIND/ADDRESS in the same store; the whole URI where it lies in another")
    sha256: str = Field(pattern=SHA256, description="of its manifest")


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_name: str = Field(alias="schema", pattern="^comface/manifest/[23]$")
    kind: str
    config: dict[str, Any]
    revisions: dict[str, int] = Field(default={}, description="step or package → its REVISION")
    code: dict[str, str] = Field(description="version and digest of the package, as provenance")
    inputs: dict[str, Reference]
    objects: dict[str, StoredObject]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """A published artifact, open for reading. `store` is its own folder."""

    store: Store
    manifest: Manifest
    sha256: str
    _keys: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def uri(self) -> str:
        return self.store.uri

    @property
    def pinned(self) -> str:
        """How one step names it to the next."""
        return f"{self.uri}{PIN}{self.sha256}"

    @property
    def root(self) -> str:
        """URI of the store in which it lies at KIND/ADDRESS."""
        return self.uri.rsplit("/", 2)[0]

    @property
    def address(self) -> str:
        """KIND/ADDRESS, the same in every store."""
        return relative(self.uri, self.root)

    @property
    def facts(self) -> dict[str, Any]:
        return self.manifest.facts

    def facts_as(self, kind: type[F]) -> F:
        """Its facts, read as those of its kind. Raises DataError where they are not."""
        try:
            return kind.model_validate(self.facts)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))[:80]
            told = f"The facts of {self.uri} cannot be used ({where}: {first['msg'][:80]})"
            raise DataError(f"{told}; make that artifact again.") from None

    def reference_from(self, root: str) -> Reference:
        """As a manifest or a record of the store at `root` names it."""
        return Reference(artifact=relative(self.uri, root), sha256=self.sha256)

    def input(self, name: str, kind: str | None = None) -> Artifact:
        """What it was made from, checked. Raises DataError when that is not what it was then."""
        if name not in self.manifest.inputs:
            raise DataError(f"The artifact at {self.uri} was not made from a '{name}'; pass the right artifact.")
        return open_reference(self.manifest.inputs[name], self.root, kind)

    def inputs(self) -> dict[str, Artifact]:
        return {name: self.input(name) for name in self.manifest.inputs}

    def read(self, name: str) -> bytes:
        """The bytes of one object, checked. Raises DataError when it is not what the manifest names."""
        entry = self._entry(name)
        with contextlib.suppress(TooLargeError):
            for _ in range(READINGS):
                data = self.store.read(self.key(name), entry.size_bytes, is_checked=True)
                if StoredObject.of(data) == entry:
                    return data
        raise differs(self.uri, name)

    def check(self, name: str) -> None:
        """Raises DataError when an object is not what the manifest names."""
        if isinstance(self.store, FileStore):
            self.local(name, self.store.root)  # read in pieces: a shard is large
        else:
            self.read(name)

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def read_range(self, name: str, offset: int, size_bytes: int) -> bytes:
        """Bytes of one object, which the caller checks."""
        return self.store.read_range(self.key(name), offset, size_bytes)

    def local(self, name: str, cache: Path, checked: bool = False) -> Path:
        """A checked file on this machine with the object's content: the object itself on file://, a copy in `cache`
        on s3://. A copy that is kept is checked again at the next call and fetched again when it does not hold;
        several processes may share a cache (each downloads under a name of its own, then renames). `checked`: another
        process has just done so, and the content is not read again."""
        return local_copy(self.store, self.key(name), self._entry(name), cache, checked=checked)

    def key(self, name: str) -> str:
        """Where an object lies (Draft.write says why there are two places)."""
        if name not in self._keys:
            own = own_key(name, self._entry(name))
            self._keys[name] = own if self.store.exists(own) else name
        return self._keys[name]

    def _entry(self, name: str) -> StoredObject:
        if name not in self.manifest.objects:
            raise DataError(f"The artifact at {self.uri} holds no '{name}'; its manifest does not name it.")
        return self.manifest.objects[name]


class Draft:
    """An artifact being made. Its address is known before any work; `publish` makes it visible in one step."""

    def __init__(
        self,
        store: Store,
        kind: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Artifact],
        revisions: Mapping[str, int],
    ) -> None:
        self.kind, self.config, self.inputs, self.revisions = kind, dict(config), dict(inputs), dict(revisions)
        self.root, self.store = store.uri, self._place(store, {name: each.address for name, each in inputs.items()})
        self.objects: dict[str, StoredObject] = {}
        self._keys: dict[str, str] = {}
        self._before: list[str] | None = None
        self._published: Artifact | None = None
        if (found := self.published() if inputs else None) is not None and self._is_stale(found):
            self._published = None
            self.store = self._place(store, {name: each.sha256 for name, each in inputs.items()})

    @property
    def uri(self) -> str:
        return self.store.uri

    def published(self) -> Artifact | None:
        """The artifact, where an earlier run has published it whole."""
        if self._published is None and self.store.exists(MANIFEST):
            logger.debug(f"{self.uri} is published already and is reused")
            self._published = open_artifact(self.store.uri, self.kind, self.store)
        return self._published

    def _place(self, store: Store, made_from: Mapping[str, str]) -> Store:
        words = [self.kind, self.config, made_from, self.revisions]
        return store.child(f"{self.kind}/{hashlib.sha256(canonical_json(words).encode()).hexdigest()[:20]}")

    def _is_stale(self, found: Artifact) -> bool:
        """Whether an input was deleted and made again since: its address is the same, its manifest another. What was
        made from it then stays as it is; what is made from it now lies beside, at an address of the manifests."""
        return any(found.manifest.inputs[name].sha256 != each.sha256 for name, each in self.inputs.items())

    def write(self, name: str, data: bytes) -> None:
        """Another run may make the same artifact at the same time, with other bits (another number of threads, a GPU),
        and either may publish. So no object is ever replaced: on file:// the first takes the plain name; any other
        content, and all on s3:// (not every server can refuse to replace), lies under a name with its own digest."""
        entry = StoredObject.of(data)
        key = name
        if not isinstance(self.store, FileStore) or not (self.store.create(name, data) or self._lies(name, entry)):
            key = own_key(name, entry)
            self.store.write(key, data)
        self.objects[name], self._keys[name] = entry, key

    def write_json(self, name: str, value: Any) -> None:
        """Numbers that are not finite become null: JSON has no NaN."""
        self.write(name, json_bytes(value))

    def upload(self, name: str, path: Path) -> None:
        self.write(name, path.read_bytes())

    def adopt(self, names: Sequence[str], accept: Callable[..., T | None]) -> T | None:
        """What an interrupted run of the same work had written (writes are atomic), if `accept`, which is given the
        objects `names`, takes it: gives back what `accept` made of them. None: they are to be made."""
        for keys in itertools.product(*map(self._stored, names)):
            found = [self._content(key) for key in keys]
            entries = [StoredObject.of(data or b"") for data in found]
            sound = all(k in (n, own_key(n, e)) for n, k, e in zip(names, keys, entries, strict=True))
            if sound and None not in found and (accepted := accept(*found)) is not None:
                self.objects.update(zip(names, entries, strict=True))
                self._keys.update(zip(names, keys, strict=True))
                return accepted
        return None

    def publish(self, facts: Mapping[str, Any]) -> Artifact:
        """Make the artifact visible. Where another run was faster, its artifact is the one, whatever its bits."""
        manifest = Manifest(
            schema=SCHEMA,
            kind=self.kind,
            config=self.config,
            revisions=self.revisions,
            code={"version": __version__, "digest": code_digest()},
            inputs={name: artifact.reference_from(self.root) for name, artifact in self.inputs.items()},
            objects=dict(sorted(self.objects.items())),
            facts=dict(facts),
        )
        data = sealed(manifest.model_dump(by_alias=True))
        if len(data) > MANIFEST_BYTES:
            raise ConfigurationError(
                f"The manifest of {self.uri} would have {len(data) / 1e6:,.0f} MB; make it of fewer, larger objects."
            )
        mine = self.store.create(MANIFEST, data)
        artifact = open_artifact(self.uri, self.kind, self.store)
        logger.debug(f"{self.uri} is published{'' if mine else ', by another run that was faster'}")
        if not mine:
            for name, key in self._keys.items():
                if name not in artifact.manifest.objects or artifact.key(name) != key:
                    self.store.delete(key)
        return artifact

    def _lies(self, name: str, entry: StoredObject) -> bool:
        try:
            return StoredObject.of(self.store.read(name, entry.size_bytes)) == entry
        except DataError:  # larger, or no regular file
            return False

    def _content(self, key: str) -> bytes | None:
        try:
            return self.store.read(key, ADOPTED_BYTES)
        except DataError:
            return None

    def _stored(self, name: str) -> list[str]:
        """Keys at which `name` lies since before this run began to write."""
        if self._before is None:
            self._before = list(self.store.keys())
        pattern = re.escape(own_key(name, None)).replace(re.escape("*"), "[0-9a-f]{16}")
        return [key for key in self._before if key == name or re.fullmatch(pattern, key)]


def relative(uri: str, root: str) -> str:
    """`uri` as it is written down in the store at `root`: below it without the root, so that a store may be copied."""
    return uri.removeprefix(f"{root}/")


def open_reference(reference: Reference, root: str, kind: str | None = None) -> Artifact:
    return open_artifact(f"{located(reference, root)}{PIN}{reference.sha256}", kind)


def located(reference: Reference, root: str) -> str:
    """The URI that a reference in the store at `root` means."""
    return reference.artifact if "://" in reference.artifact else f"{root}/{reference.artifact}"


def split_pin(reference: str) -> tuple[str, str | None]:
    """URI and sha256 of what `Artifact.pinned` gives; a plain URI has no sha256."""
    uri, pin, sha256 = reference.rpartition(PIN)
    if not pin:
        return reference, None
    if not re.fullmatch(SHA256, sha256):
        raise ConfigurationError(f"The reference '{reference}' does not end in a whole sha256; copy it again.")
    return uri, sha256


def open_artifact(reference: str, kind: str | None = None, store: Store | None = None) -> Artifact:
    """The artifact at a URI, with or without `#sha256=` of its manifest. Raises DataError when it is absent, damaged,
    another than the sha256 says, or of another kind."""
    uri, expected = split_pin(reference)
    store = store or open_store(uri)
    if not store.exists(MANIFEST):
        raise DataError(f"There is no finished artifact at {uri} (no {MANIFEST}); run the step that makes it.")
    manifest, sha256 = _read_manifest(uri, store)
    if expected is not None and sha256 != expected:
        raise changed(uri)
    if kind is not None and manifest.kind != kind:
        raise DataError(f"The artifact at {uri} is of kind '{manifest.kind}', not '{kind}'; pass the right one.")
    return Artifact(store, manifest, sha256)


def changed(uri: str) -> DataError:
    return DataError(
        f"The manifest at {uri} is not the one that its user names; it was changed afterwards, "
        "so make what was built on it again."
    )


def _read_manifest(uri: str, store: Store) -> tuple[Manifest, str]:
    try:
        content = read_sealed(store, MANIFEST, MANIFEST_BYTES)
    except ValueError:
        if f'"schema": "{SCHEMA[:-1]}1"'.encode() in store.read(MANIFEST, MANIFEST_BYTES):
            raise DataError(f"The artifact at {uri} was made by an older version; run its step again.") from None
        raise DataError(f"The manifest at {uri} is damaged or was changed (its seal is not valid); {REMAKE}.") from None
    try:
        return Manifest.model_validate(content), hashlib.sha256(sealed(content)).hexdigest()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or MANIFEST
        raise DataError(f"The manifest at {uri} is of another version ({where}: {first['msg']}); {REMAKE}.") from None
