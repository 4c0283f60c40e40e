"""What is in a store: artifacts with size, age and references, and what is no finished artifact.

In: a store. Out: an Inventory. It reads every manifest once, and the sizes that the store lists.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from comface.artifacts.manifest import MANIFEST, OPENERS, Artifact, open_artifact
from comface.artifacts.plans import FOLDER as PLANS
from comface.errors import DataError
from comface.models.registry import Registry, Version, names
from comface.runtime.progress import shown
from comface.store import Store
from comface.store.upkeep import Entry, entries

KINDS = (
    "backbone", "dataset", "decision", "evaluation", "faces", "features", "model", "part", "patients", "protocol",
    "screening", "shards", "tracks", "transfer",
)  # fmt: skip
NAMED = re.compile(r"(?P<kind>[a-z]+)/(?P<address>[0-9a-f]{20})(?=[/#\"]|$)")


@dataclass
class Folder:
    """KIND/ADDRESS of a store. `artifact`: None if it is not finished."""

    address: str
    objects: dict[str, Entry]
    artifact: Artifact | None = None
    inputs: tuple[str, ...] = ()
    """Addresses in the same store."""
    used_by: list[str] = field(default_factory=list)
    """Addresses of what was made from it."""

    @property
    def kind(self) -> str:
        return self.address.partition("/")[0]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.objects.values())

    @property
    def modified(self) -> float:
        return max((entry.modified for entry in self.objects.values()), default=0.0)


@dataclass(frozen=True)
class Inventory:
    store: Store
    folders: dict[str, Folder]
    versions: tuple[Version, ...]
    champions: frozenset[str]
    """References, as comface@v3."""
    runs: dict[str, Entry]
    """Run -> size of its plans and its newest object."""

    def closure(self, addresses: Iterable[str]) -> set[str]:
        """These addresses and all their inputs."""
        found, todo = set[str](), list(addresses)
        while todo:
            address = todo.pop()
            if address not in found and address in self.folders:
                found.add(address)
                todo += self.folders[address].inputs
        return found

    def made_from(self, addresses: Iterable[str]) -> set[str]:
        """What was made from these addresses, at any distance; without them."""
        found, todo = set[str](), list(addresses)
        while todo:
            for user in self.folders[todo.pop()].used_by:
                if user not in found:
                    found.add(user)
                    todo.append(user)
        return found

    def models_of(self, version: Version) -> list[str]:
        """The addresses that a registered version names: its model, and the decision on it."""
        named = [version.artifact, *([version.decision.artifact] if version.decision else [])]
        return [address for address in named if address in self.folders]


def take_inventory(store: Store) -> Inventory:
    """Raises DataError for a registry record that is damaged. A damaged manifest makes an unfinished folder."""
    objects: dict[str, dict[str, Entry]] = {}
    runs: dict[str, Entry] = {}
    for key, entry in entries(store).items():
        parts = key.split("/")
        if parts[0] in KINDS and len(parts) > 2:
            objects.setdefault("/".join(parts[:2]), {})["/".join(parts[2:])] = entry
        elif parts[0] == PLANS and len(parts) == 3:
            before = runs.get(parts[1], Entry(0, 0.0))
            runs[parts[1]] = Entry(before.size_bytes + entry.size_bytes, max(before.modified, entry.modified))
    folders = {address: Folder(address, found) for address, found in objects.items()}
    finished = [folder for folder in folders.values() if MANIFEST in folder.objects]
    with ThreadPoolExecutor(OPENERS) as openers:
        for folder, artifact in zip(
            finished, shown(openers.map(lambda each: _opened(store, each.address), finished), "reading manifests",
                            len(finished), "manifest"), strict=True,
        ):  # fmt: skip
            folder.artifact = artifact
    for folder in finished:
        if folder.artifact is not None:
            made_of = (each.artifact for each in folder.artifact.manifest.inputs.values())
            folder.inputs = tuple(address for address in made_of if address in folders)
            for address in folder.inputs:
                folders[address].used_by.append(folder.address)
    registries = [Registry(store, name) for name in names(store)]
    champions = [champion.reference for each in registries if (champion := each.champion())]
    versions = tuple(version for each in registries for version in each.versions())
    return Inventory(store, folders, versions, frozenset(champions), runs)


def named_by_run(store: Store, run: str) -> Iterator[str]:
    """Addresses of the artifacts that the records of a run name."""
    for key in store.keys(f"{PLANS}/{run}"):
        with contextlib.suppress(DataError):
            data = store.read(key)
            for found in NAMED.finditer(data.decode("utf-8", "replace")):
                yield f"{found['kind']}/{found['address']}"


def _opened(store: Store, address: str) -> Artifact | None:
    folder = store.child(address)
    try:
        return open_artifact(folder.uri, store=folder)
    except DataError:
        return None
