"""Every number back to its inputs: the manifests behind an artifact, walked and checked.

In: references. Out: each artifact that was reached, once, after all of its objects were compared with its manifest.
References are relative to the store that is looked at, so a copy of a store verifies itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from comface.artifacts.manifest import PIN, Artifact, changed, located, open_artifact, split_pin


def verify(*references: str) -> Iterator[Artifact]:
    """Walk the manifests from `references` back to the first inputs and check every hash. Raises DataError at the first
    that does not hold."""
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
