"""Verify an artifact and everything that it was made from.

In: references to artifacts. Out: each artifact reached, once, after all its objects were compared with its manifest.
References between manifests are relative to the store, so a copy of a store can be verified without the original.
"""

from __future__ import annotations

from collections.abc import Iterator

from comface.artifacts.manifest import PIN, Artifact, changed, located, open_artifact, split_pin


def verify(*references: str) -> Iterator[Artifact]:
    """Follow the manifests from `references` back to the first inputs and check every hash. Raises DataError at the
    first mismatch."""
    todo = list(reversed(references))
    checked: dict[str, str] = {}
    while todo:
        uri, expected = split_pin(todo.pop())
        if uri not in checked:
            artifact = open_artifact(uri)
            for name in artifact.manifest.objects:
                artifact.check(name)
            checked[uri] = artifact.sha256
            inputs = artifact.manifest.inputs.values()
            todo += [f"{located(each, artifact.root)}{PIN}{each.sha256}" for each in inputs]
            yield artifact
        if expected is not None and checked[uri] != expected:
            raise changed(uri)
