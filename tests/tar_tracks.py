"""The tracks of tar files as any reader of tar finds them: by the members' names, without our index."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

from comface.artifacts.manifest import Artifact
from comface.tracks.tar import Track

Stored = dict[str, tuple[Track, list[bytes]]]


def tracks_in(artifact: Artifact, names: Iterable[str]) -> Stored:
    """Key -> the track and its images in the order of their names."""
    members: dict[str, dict[str, bytes]] = {}
    for name in names:
        with tarfile.open(fileobj=io.BytesIO(artifact.read(name))) as tar:
            for info in tar:
                key, _, what = info.name.partition(".")
                members.setdefault(key, {})[what] = tar.extractfile(info).read()  # type: ignore[union-attr]
    return {
        key: (Track.model_validate_json(held.pop("json")), [held[what] for what in sorted(held)])
        for key, held in members.items()
    }


def tracks_of_part(part: Artifact) -> Stored:
    """Those of all its blocks."""
    return {key: held for block in part.inputs().values() for key, held in tracks_in(block, ["tracks.tar"]).items()}
