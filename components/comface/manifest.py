"""Artifacts and their manifests: how steps meet, and how every number is traced back.

An artifact is a folder of the store whose address is a function of what makes it: step, configuration, the inputs'
manifests and the code. So a step that finds its artifact published has nothing to do, and two runs share what
is equal. Data are written first and `manifest.json` last; a reader that finds no manifest finds nothing, and what
it reads is checked against the manifest's sha256.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comface import __version__
from comface.errors import DataError
from comface.store import FileStore, Store, open_store

MANIFEST = "manifest.json"
SCHEMA = "comface/manifest/1"


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

    def local(self, name: str, cache: Path) -> Path:
        """A checked file on this machine with the object's content: the object itself on file://, a copy in `cache`
        (kept and checked again at the next call) on s3://."""
        entry = self._entry(name)
        if isinstance(self.store, FileStore):
            path = self.store.path(name)
        else:
            path = cache / f"{entry.sha256[:16]}-{Path(name).name}"
            if not path.exists():
                cache.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(path.suffix + ".part")
                self.store.download(name, partial)
                partial.rename(path)
        if not path.exists():
            raise DataError(f"The object '{name}' of {self.uri} is gone; run the step that makes it again.")
        _check(self.uri, name, entry, path.stat().st_size, file_sha256(path))
        return path

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
        self.write(name, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

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
        data = (json.dumps(manifest.model_dump(by_alias=True), indent=1, sort_keys=True) + "\n").encode()
        self.store.write(MANIFEST, data)
        return Artifact(self.store, manifest, hashlib.sha256(data).hexdigest())


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


def verify(uri: str, expected_sha256: str | None = None, seen: set[str] | None = None) -> Iterator[tuple[str, int]]:
    """Walk the manifests from `uri` back to the first inputs and check every hash.

    Yields (uri, number of objects checked) per artifact; raises DataError at the first that does not hold."""
    seen = set() if seen is None else seen
    if uri in seen:
        return
    seen.add(uri)
    artifact = open_artifact(uri)
    if expected_sha256 is not None and artifact.sha256 != expected_sha256:
        raise DataError(f"The manifest at {uri} is not the one that its user names; it was changed afterwards.")
    for name in artifact.manifest.objects:
        artifact.read(name)
    yield uri, len(artifact.manifest.objects)
    for reference in artifact.manifest.inputs.values():
        yield from verify(reference.uri, reference.sha256, seen)


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_digest(module: str) -> str:
    """The digest of a module's source and of all modules of this package that it imports, directly or not."""
    root = Path(__file__).parent
    todo, sources = [module], {}
    while todo:
        name = todo.pop()
        spec = None if name in sources else importlib.util.find_spec(name)
        if spec is None or not spec.origin or not Path(spec.origin).is_relative_to(root):
            continue
        sources[name] = Path(spec.origin).read_bytes()
        todo.extend(_imports(sources[name]))
    joined = b"".join(name.encode() + b"\0" + sources[name] + b"\0" for name in sorted(sources))
    return hashlib.sha256(joined).hexdigest()


def _imports(source: bytes) -> Sequence[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("comface")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("comface"):
            assert node.module is not None
            names += [node.module, *(f"{node.module}.{a.name}" for a in node.names if a.name[:1].islower())]
    return [name for name in names if _is_module(name)]


def _is_module(name: str) -> bool:
    parts = name.split(".")[1:]
    path = Path(__file__).parent.joinpath(*parts)
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _check(uri: str, name: str, entry: StoredObject, size_bytes: int, sha256: str) -> None:
    if size_bytes != entry.size_bytes or sha256 != entry.sha256:
        raise DataError(
            f"The object '{name}' of {uri} is not what its manifest names (size or sha256 differ); "
            "delete the artifact and make it again."
        )
