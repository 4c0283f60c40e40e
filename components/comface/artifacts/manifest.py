"""Artifacts and their manifests: the interface between steps, and the provenance of every number.

An artifact is a folder of the store. Its address is a hash of everything that determines its content: the relevant
settings, the addresses of its inputs, and the REVISION of each package that makes it, a number that is raised when the
package's output changes. So a step whose artifact is published has nothing to do, runs share equal artifacts, and a
reworded text does not change an address. Data are written first and `manifest.json` last, and only if there is none
yet; without a manifest there is no artifact. The manifest is sealed, and a reference contains its sha256
(`URI#sha256=HEX`). Objects are checked against the size and sha256 in the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comface import __version__
from comface.artifacts.code_digest import code_digest
from comface.artifacts.facts import Facts
from comface.artifacts.made import write_made
from comface.artifacts.objects import SHA256, differs, own_key
from comface.artifacts.objects import StoredObject as StoredObject
from comface.artifacts.objects import file_sha256 as file_sha256
from comface.artifacts.objects import local_copy as local_copy
from comface.artifacts.removal import removal_of
from comface.artifacts.sealed import json_bytes, read_sealed, sealed
from comface.config.canonical import canonical_json
from comface.errors import ConfigurationError, DataError
from comface.store import READINGS, REMAKE, FileStore, Store, TooLargeError, missing, open_store

MANIFEST = "manifest.json"
MANIFEST_BYTES = 64 << 20
OPENERS = 8
"""Inputs opened at once: shards have thousands, each of which takes a store's latency twice."""
ADOPTED_BYTES = 64 << 30
"""Size limit of an object from an interrupted run, whose size no manifest gives."""
OLDEST, NEWEST = 2, 3
SCHEMA = f"comface/manifest/{NEWEST}"
"""The schema that is written. Schema 2, which has no revisions, can be read, too."""
PIN = "#sha256="

T = TypeVar("T")
F = TypeVar("F", bound=Facts)
logger = logging.getLogger(__name__)


class Reference(BaseModel):
    """A reference to an artifact in another manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    artifact: str = Field(description="KIND/ADDRESS in the same store; the full URI in another store")
    sha256: str = Field(pattern=SHA256, description="sha256 of its manifest")


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
    """A published artifact, open for reading. `store` is the artifact's folder."""

    store: Store
    manifest: Manifest
    sha256: str
    _keys: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def uri(self) -> str:
        return self.store.uri

    @property
    def pinned(self) -> str:
        """The URI with the manifest's sha256, as steps pass it on."""
        return f"{self.uri}{PIN}{self.sha256}"

    @property
    def root(self) -> str:
        """URI of the store that contains it at KIND/ADDRESS."""
        return self.uri.rsplit("/", 2)[0]

    @property
    def address(self) -> str:
        """KIND/ADDRESS, the same in every store."""
        return relative(self.uri, self.root)

    @property
    def facts(self) -> dict[str, Any]:
        return self.manifest.facts

    def facts_as(self, kind: type[F]) -> F:
        """The facts as the model `kind`. Raises DataError if they do not fit it."""
        try:
            return kind.model_validate(self.facts)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))[:80]
            problem = f"The facts of {self.uri} cannot be used ({where}: {first['msg'][:80]})"
            raise DataError(f"{problem}; rerun the step that makes it.") from None

    def reference_from(self, root: str) -> Reference:
        """The reference to it for a manifest or record in the store at `root`."""
        return Reference(artifact=relative(self.uri, root), sha256=self.sha256)

    def input(self, name: str, kind: str | None = None) -> Artifact:
        """The input `name`, verified. Raises DataError if it was changed since."""
        if name not in self.manifest.inputs:
            raise DataError(f"The artifact at {self.uri} was not made from a '{name}'; pass the right artifact.")
        return open_reference(self.manifest.inputs[name], self.root, kind)

    def inputs(self) -> dict[str, Artifact]:
        names = list(self.manifest.inputs)
        with ThreadPoolExecutor(OPENERS) as openers:
            return dict(zip(names, openers.map(self.input, names), strict=True))

    def read(self, name: str) -> bytes:
        """The bytes of one object, verified. Raises DataError if it does not match the manifest."""
        entry = self._entry(name)
        with contextlib.suppress(TooLargeError), self._unless_removed(name):
            for _ in range(READINGS):
                data = self.store.read(self.key(name), entry.size_bytes, is_checked=True)
                if StoredObject.of(data) == entry:
                    return data
        raise differs(self.uri, name)

    def check(self, name: str) -> None:
        """Raises DataError if an object does not match the manifest."""
        if isinstance(self.store, FileStore):
            self.local(name, self.store.root)  # reads in chunks, because a shard is large
        else:
            self.read(name)

    def expect(self, name: str) -> None:
        """Raises DataError if an object is absent or truncated; of its content, only the last byte is read."""
        size_bytes = self._entry(name).size_bytes
        with self._unless_removed(name):
            if not self.store.exists(self.key(name)):
                raise missing(self.uri, name)
            if size_bytes:
                self.store.read_range(self.key(name), size_bytes - 1, 1)

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def read_range(self, name: str, offset: int, size_bytes: int) -> bytes:
        """A range of bytes of one object; the caller verifies it."""
        with self._unless_removed(name):
            return self.store.read_range(self.key(name), offset, size_bytes)

    def local(self, name: str, cache: Path, checked: bool = False) -> Path:
        """A verified local file with the object's content: the object itself on file://, a copy in `cache` on s3://. A
        cached copy is verified again at the next call and downloaded again if it does not match. Several processes may
        share a cache (each downloads to a temporary name, then renames). `checked`: another process has just verified
        the file, so its content is not read again."""
        with self._unless_removed(name):
            return local_copy(self.store, self.key(name), self._entry(name), cache, checked=checked)

    def key(self, name: str) -> str:
        """The key of an object (Draft.write explains why there are two possible keys)."""
        if name not in self._keys:
            own = own_key(name, self._entry(name))
            self._keys[name] = own if self.store.exists(own) else name
        return self._keys[name]

    @contextlib.contextmanager
    def _unless_removed(self, name: str) -> Iterator[None]:
        """Turns the error of an object that was removed on purpose into RemovedError."""
        try:
            yield
        except DataError:
            removal = removal_of(self.store)
            if removal is None or name not in removal.objects or self.store.exists(self.key(name)):
                raise
            raise removal.error(self.uri, name) from None

    def _entry(self, name: str) -> StoredObject:
        if name not in self.manifest.objects:
            raise DataError(f"The artifact at {self.uri} has no object '{name}'; pass the right artifact.")
        return self.manifest.objects[name]


class Draft:
    """An artifact that is being made. Its address is known before any work; `publish` makes it visible atomically."""

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
        self._started = time.time()
        if (found := self.published() if inputs else None) is not None and self._is_stale(found):
            self._published = None
            self.store = self._place(store, {name: each.sha256 for name, each in inputs.items()})

    @property
    def uri(self) -> str:
        return self.store.uri

    def published(self) -> Artifact | None:
        """The artifact if an earlier run has published it, else None."""
        if self._published is None and self.store.exists(MANIFEST):
            logger.debug(f"{self.uri} is already published and is reused")
            self._published = open_artifact(self.store.uri, self.kind, self.store)
        return self._published

    def _place(self, store: Store, made_from: Mapping[str, str]) -> Store:
        words = [self.kind, self.config, made_from, self.revisions]
        return store.child(f"{self.kind}/{hashlib.sha256(canonical_json(words).encode()).hexdigest()[:20]}")

    def _is_stale(self, found: Artifact) -> bool:
        """Whether an input was deleted and made again with another manifest at the same address. The old artifact then
        remains unchanged; the new one gets an address from the sha256 of its inputs' manifests."""
        return any(found.manifest.inputs[name].sha256 != each.sha256 for name, each in self.inputs.items())

    def write(self, name: str, data: bytes) -> None:
        """Write an object. Another run may make the same artifact at the same time with other bits (another number of
        threads, a GPU), and either may publish. Therefore no object is ever replaced: on file:// the first writer gets
        the plain name. Any other content, and all content on s3:// (not every server has conditional puts), is stored
        under a name with its digest."""
        entry = StoredObject.of(data)
        key = name
        if not isinstance(self.store, FileStore) or not (self.store.create(name, data) or self._lies(name, entry)):
            key = own_key(name, entry)
            self.store.write(key, data)
        self.objects[name], self._keys[name] = entry, key

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON object. Non-finite numbers become null because JSON has no NaN."""
        self.write(name, json_bytes(value))

    def upload(self, name: str, path: Path) -> None:
        self.write(name, path.read_bytes())

    def adopt(self, names: Sequence[str], accept: Callable[..., T | None]) -> T | None:
        """Reuse the objects `names` that an interrupted run of the same work wrote (writes are atomic). Returns the
        result of `accept`, which gets their bytes and returns None to refuse them; None if they must be made."""
        for keys in itertools.product(*map(self._stored, names)):
            found = [self._content(key) for key in keys]
            entries = [StoredObject.of(data or b"") for data in found]
            sound = all(k in (n, own_key(n, e)) for n, k, e in zip(names, keys, entries, strict=True))
            if sound and None not in found and (accepted := accept(*found)) is not None:
                self.objects.update(zip(names, entries, strict=True))
                self._keys.update(zip(names, keys, strict=True))
                return accepted
        return None

    def publish(self, facts: Mapping[str, Any], working: Collection[str] = (), processes: int = 1) -> Artifact:
        """Make the artifact visible. If another run has published it first, return that one, whatever its bits.
        `working`: objects that only helped to resume; they are left out and deleted. `processes`: how many made it."""
        for name in working:
            del self.objects[name]
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
                f"The manifest of {self.uri} would have {len(data) / 1e6:,.0f} MB, too many; use fewer, larger objects."
            )
        write_made(self.store, self._started, processes)
        mine = self.store.create(MANIFEST, data)
        artifact = open_artifact(self.uri, self.kind, self.store)
        logger.debug(f"{self.uri} is published{'' if mine else ' by another run'}")
        for name, key in self._keys.items():
            if name not in artifact.manifest.objects or (not mine and artifact.key(name) != key):
                self.store.delete(key)
        return artifact

    def _lies(self, name: str, entry: StoredObject) -> bool:
        try:
            return StoredObject.of(self.store.read(name, entry.size_bytes)) == entry
        except DataError:  # larger, or not a regular file
            return False

    def _content(self, key: str) -> bytes | None:
        try:
            return self.store.read(key, ADOPTED_BYTES)
        except DataError:
            return None

    def _stored(self, name: str) -> list[str]:
        """Keys of `name` that existed before this run began to write."""
        if self._before is None:
            self._before = list(self.store.keys())
        pattern = re.escape(own_key(name, None)).replace(re.escape("*"), "[0-9a-f]{16}")
        return [key for key in self._before if key == name or re.fullmatch(pattern, key)]


def relative(uri: str, root: str) -> str:
    """`uri` relative to the store at `root` if it is in that store, so that a store can be copied; else unchanged."""
    return uri.removeprefix(f"{root}/")


def open_reference(reference: Reference, root: str, kind: str | None = None) -> Artifact:
    return open_artifact(f"{located(reference, root)}{PIN}{reference.sha256}", kind)


def located(reference: Reference, root: str) -> str:
    """The URI of a reference in the store at `root`."""
    return reference.artifact if "://" in reference.artifact else f"{root}/{reference.artifact}"


def with_inputs(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """Return these artifacts and all their direct and indirect inputs, each once."""
    found: dict[str, Artifact] = {}
    todo = list(artifacts)
    while todo:
        artifact = todo.pop()
        if artifact.uri not in found:
            found[artifact.uri] = artifact
            todo += artifact.inputs().values()
    return list(found.values())


def split_pin(reference: str) -> tuple[str, str | None]:
    """(URI, sha256) of a pinned URI; the sha256 of a plain URI is None. Raises ConfigurationError for a truncated
    sha256."""
    uri, pin, sha256 = reference.rpartition(PIN)
    if not pin:
        return reference, None
    if not re.fullmatch(SHA256, sha256):
        raise ConfigurationError(f"The reference '{reference}' does not end in a complete sha256; copy it again.")
    return uri, sha256


def open_artifact(reference: str, kind: str | None = None, store: Store | None = None) -> Artifact:
    """The artifact at a URI, with or without `#sha256=` of its manifest. Raises DataError if it is absent, damaged, of
    another kind, or does not match the sha256."""
    uri, expected = split_pin(reference)
    store = store or open_store(uri)
    if not store.exists(MANIFEST):
        if removal := removal_of(store):
            raise removal.error(uri, MANIFEST)
        raise DataError(f"There is no finished artifact at {uri} (no {MANIFEST}); run the step that makes it.")
    manifest, sha256 = _read_manifest(uri, store)
    if expected is not None and sha256 != expected:
        raise changed(uri)
    if kind is not None and manifest.kind != kind:
        raise DataError(f"The artifact at {uri} is of kind '{manifest.kind}', not '{kind}'; pass the right one.")
    return Artifact(store, manifest, sha256)


def changed(uri: str) -> DataError:
    return DataError(
        f"The manifest at {uri} does not match the sha256 in the reference to it, because it was changed later; rerun "
        "the steps that used it."
    )


def _read_manifest(uri: str, store: Store) -> tuple[Manifest, str]:
    try:
        content = read_sealed(store, MANIFEST, MANIFEST_BYTES)
    except ValueError:
        data = store.read(MANIFEST, MANIFEST_BYTES)
        if (schema := re.search(rb'"schema": "comface/manifest/(\d{1,9})"', data)) is not None:
            _check_schema(uri, int(schema[1]), "")
        raise DataError(f"The manifest at {uri} is damaged or was changed (its seal is not valid); {REMAKE}.") from None
    if (named := re.fullmatch(r"comface/manifest/(\d{1,9})", str(content.get("schema")))) is not None:
        code = content.get("code")
        _check_schema(uri, int(named[1]), str(code.get("version", "")) if isinstance(code, dict) else "")
    try:
        return Manifest.model_validate(content), hashlib.sha256(sealed(content)).hexdigest()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or MANIFEST
        raise DataError(f"The manifest at {uri} is of another version ({where}: {first['msg']}); {REMAKE}.") from None


def _check_schema(uri: str, number: int, version: str) -> None:
    """Raises DataError for a schema that this version does not read. `version`: of comface, which wrote it."""
    if number < OLDEST:
        raise DataError(f"The artifact at {uri} was made by an older version; run its step again.")
    if number > NEWEST:
        raise newer(f"The artifact at {uri}", version, f"manifest schema {number}; this version reads up to {NEWEST}")


def newer(what: str, version: str, why: str) -> DataError:
    """The error for something that a newer version of comface made."""
    by = re.sub(r"[^0-9A-Za-z.+-]", "", version)[:40] if version != __version__ else ""
    made_by = f"comface {by}, a newer version" if by else "a newer version of comface"
    return DataError(
        f"{what} was made by {made_by} ({why}); install {f'comface {by}' if by else 'that version'} or later."
    )
