"""Artifacts and their manifests: how steps meet, and how every number is traced back.

An artifact is a folder of the store whose address is a function of what makes it: step, configuration, the inputs'
manifests and the code. So a step that finds its artifact published has nothing to do, and two runs share what
is equal. Data are written first and `manifest.json` last; a reader that finds no manifest finds nothing, and what
it reads is checked against the manifest's sha256.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comface import __version__
from comface.code_digest import code_digest
from comface.errors import DataError
from comface.store import FileStore, Store, make_private_folder, open_store

MANIFEST = "manifest.json"
SCHEMA = "comface/manifest/1"
REMAKE = "delete the artifact and make it again"


class StoredObject(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Reference(BaseModel):
    """An artifact as another manifest names it: where it lies and the sha256 of its manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    uri: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_name: str = Field(alias="schema", pattern=f"^{SCHEMA}$")
    kind: str
    config: dict[str, Any]
    code: dict[str, str]
    inputs: dict[str, Reference]
    objects: dict[str, StoredObject]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """A published artifact, open for reading. `store` is its own folder."""

    store: Store
    manifest: Manifest
    sha256: str

    @property
    def uri(self) -> str:
        return self.store.uri

    @property
    def reference(self) -> Reference:
        return Reference(uri=self.uri, sha256=self.sha256)

    @property
    def facts(self) -> dict[str, Any]:
        return self.manifest.facts

    def read(self, name: str) -> bytes:
        """The bytes of one object, checked. Raises DataError when it is not what the manifest names."""
        entry = self._entry(name)
        data = self.store.read(name)
        _check(self.uri, name, entry, len(data), hashlib.sha256(data).hexdigest())
        return data

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def local(self, name: str, cache: Path, checked: bool = False) -> Path:
        """A checked file on this machine with the object's content: the object itself on file://, a copy in `cache`
        on s3://. A copy that is kept is checked again at the next call and fetched again when it does not hold;
        several processes may share a cache (each downloads under a name of its own, then renames). `checked`: another
        process has just done so, and the content is not read again."""
        return local_copy(self.store, name, self._entry(name), cache, checked=checked)

    def _entry(self, name: str) -> StoredObject:
        if name not in self.manifest.objects:
            raise DataError(f"{self.uri} holds no '{name}'; its manifest names {len(self.manifest.objects)} objects.")
        return self.manifest.objects[name]


class Draft:
    """An artifact being made. Its address is known before any work; `publish` makes it visible in one step."""

    def __init__(
        self, store: Store, kind: str, config: Mapping[str, Any], inputs: Mapping[str, Artifact], step: str
    ) -> None:
        self.kind, self.config, self.inputs = kind, dict(config), dict(inputs)
        self.code = {"version": __version__, "digest": code_digest(step)}
        made_from = {name: artifact.sha256 for name, artifact in self.inputs.items()}
        digest = hashlib.sha256(canonical_json([kind, self.config, made_from, self.code]).encode()).hexdigest()
        self.store = store.child(f"{kind}/{digest[:20]}")
        self.objects: dict[str, StoredObject] = {}

    @property
    def uri(self) -> str:
        return self.store.uri

    def published(self) -> Artifact | None:
        """The artifact, where an earlier run has published it whole."""
        return open_artifact(self.store.uri, self.kind, self.store) if self.store.exists(MANIFEST) else None

    def write(self, name: str, data: bytes) -> None:
        self.store.write(name, data)
        self.objects[name] = StoredObject(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def write_json(self, name: str, value: Any) -> None:
        """Numbers that are not finite become null: JSON has no NaN."""
        self.write(name, _json_bytes(value))

    def upload(self, name: str, path: Path) -> None:
        self.store.upload(name, path)
        self.objects[name] = StoredObject(size_bytes=path.stat().st_size, sha256=file_sha256(path))

    def adopt(self, name: str) -> bytes | None:
        """The object, if an interrupted run of the same work had already written it (writes are atomic)."""
        if not self.store.exists(name):
            return None
        data = self.store.read(name)
        self.objects[name] = StoredObject(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        return data

    def publish(self, facts: Mapping[str, Any]) -> Artifact:
        manifest = Manifest(
            schema=SCHEMA,
            kind=self.kind,
            config=self.config,
            code=self.code,
            inputs={name: artifact.reference for name, artifact in self.inputs.items()},
            objects=dict(sorted(self.objects.items())),
            facts=dict(facts),
        )
        data = _json_bytes(manifest.model_dump(by_alias=True))
        self.store.write(MANIFEST, data)
        as_read = Manifest.model_validate_json(data)  # what every later reader sees (lists for tuples, null for NaN)
        return Artifact(self.store, as_read, hashlib.sha256(data).hexdigest())


def open_artifact(uri: str, kind: str | None = None, store: Store | None = None) -> Artifact:
    """The artifact at `uri`. Raises DataError when it is absent, not a manifest, or of another kind."""
    store = store or open_store(uri)
    if not store.exists(MANIFEST):
        raise DataError(f"There is no finished artifact at {uri} (no {MANIFEST}); run the step that makes it.")
    data = store.read(MANIFEST)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or MANIFEST
        raise DataError(f"The manifest at {uri} cannot be read ({where}: {first['msg']}); make it again.") from None
    if kind is not None and manifest.kind != kind:
        raise DataError(f"{uri} is an artifact of kind '{manifest.kind}', not '{kind}'; pass the right one.")
    return Artifact(store, manifest, hashlib.sha256(data).hexdigest())


def verify(uri: str, expected_sha256: str | None = None) -> Iterator[tuple[str, int]]:
    """Walk the manifests from `uri` back to the first inputs and check every hash.

    Yields (uri, number of objects checked) per artifact; raises DataError at the first that does not hold."""
    todo: list[tuple[str, str | None]] = [(uri, expected_sha256)]
    checked: dict[str, str] = {}
    while todo:
        uri, expected = todo.pop()
        if uri not in checked:
            artifact = open_artifact(uri)
            for name in artifact.manifest.objects:
                artifact.read(name)
            checked[uri] = artifact.sha256
            todo += [(i.uri, i.sha256) for i in artifact.manifest.inputs.values()]
            yield uri, len(artifact.manifest.objects)
        if expected is not None and checked[uri] != expected:
            raise DataError(
                f"The manifest at {uri} is not the one that its user names; it was changed afterwards, "
                "so make what was built on it again."
            )


def local_copy(
    store: Store, name: str, entry: StoredObject, cache: Path, remedy: str = REMAKE, checked: bool = False
) -> Path:
    """A checked file on this machine with the object's content, as Artifact.local gives it. `remedy`: what to do
    where the object is not `entry`."""
    if isinstance(store, FileStore):
        path = store.path(name)
        if not path.is_file():
            raise DataError(f"The object '{name}' of {store.uri} is gone; run the step that makes it again.")
    else:
        make_private_folder(cache)
        path = cache / f"{entry.sha256[:32]}-{Path(name).name}"
    if checked and path.is_file() and path.stat().st_size == entry.size_bytes:
        return path
    if not isinstance(store, FileStore):
        if path.is_file() and (path.stat().st_size, file_sha256(path)) == (entry.size_bytes, entry.sha256):
            return path
        store.download(name, path)
    _check(store.uri, name, entry, path.stat().st_size, file_sha256(path), remedy)
    return path


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(_finite(value), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(uri: str, name: str, entry: StoredObject, size_bytes: int, sha256: str, remedy: str = REMAKE) -> None:
    if size_bytes != entry.size_bytes or sha256 != entry.sha256:
        raise DataError(
            f"The object '{name}' of {uri} is not what its manifest names (size or sha256 differ); {remedy}."
        )
