"""Verify an artifact and everything that it was made from.

In: references to artifacts. Out: each artifact reached, once, after all its objects were compared with its manifest
(quick: after its manifest was compared with the reference to it, and all its objects are there).
References between manifests are relative to the store, so a copy of a store can be verified without the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from comface.artifacts.manifest import PIN, Artifact, Reference, changed, located, open_artifact, split_pin
from comface.artifacts.removal import RemovedError, removal_of
from comface.store import open_store

OnRemoved = Callable[[str, str, int], object]
"""Gets the URI of an artifact, when and why objects of it were removed, and how many; 0: the whole artifact."""


def verify(*references: str, on_removed: OnRemoved = lambda *_: None, quick: bool = False) -> Iterator[Artifact]:
    """Follow the manifests from `references` back to the first inputs and check every hash (quick: of the manifests
    only). What was removed on purpose is told to `on_removed`. Raises DataError at the first mismatch."""
    todo = list(reversed(references))
    checked: dict[str, str] = {}
    while todo:
        uri, expected = split_pin(todo.pop())
        if uri not in checked:
            root = uri.rsplit("/", 2)[0]
            try:
                artifact = open_artifact(uri)
            except RemovedError:
                removal = removal_of(open_store(uri))
                assert removal is not None
                checked[uri], inputs = removal.manifest_sha256, [Reference(**each) for each in removal.inputs.values()]
                on_removed(uri, removal.told(), 0)
            else:
                _check(artifact, on_removed, quick)
                checked[uri], inputs = artifact.sha256, list(artifact.manifest.inputs.values())
                yield artifact
            todo += [f"{located(each, root)}{PIN}{each.sha256}" for each in inputs]
        if expected is not None and checked[uri] != expected:
            raise changed(uri)


def _check(artifact: Artifact, on_removed: OnRemoved, quick: bool) -> None:
    removed = 0
    for name in artifact.manifest.objects:
        try:
            artifact.expect(name) if quick else artifact.check(name)
        except RemovedError:
            removed += 1
    if removed and (removal := removal_of(artifact.store)):
        on_removed(artifact.uri, removal.told(), removed)
