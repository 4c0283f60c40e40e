"""A weights location as a user fills it: small StyleGANs with random weights, and directions, under published names."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from comface.directions.published import catalogue
from comface.generators.conversion import convert
from comface.store import FileStore, Store
from comface.tracks.config import CELEBA

GOLDEN = Path(__file__).parent / "data" / "generators"
SOURCES = {"stylegan": "sg1_tiny_tfpkl_old.pkl", "stylegan3": "sg3t_tiny_nvpkl_old.pkl"}
WIDTH = 32
ATTRIBUTES = {"stylegan": ("age", "smile", "weight"), "stylegan3": CELEBA}

Directions = Mapping[str, np.ndarray]


@functools.cache
def converted() -> dict[str, bytes]:
    """What `comface convert` makes of both, by name."""
    with tempfile.TemporaryDirectory() as folder:
        for generator, source in SOURCES.items():
            convert(GOLDEN / source, Path(folder) / f"{generator}.safetensors", "for tests")
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def fill(store: Store, changes: Directions | None = None, without: Sequence[str] = ()) -> None:
    """Converted weights and all 43 directions, none of unit norm; `changes`: other arrays by file name, `without`:
    names left out."""
    objects = {name: data for name, data in converted().items() if name not in without}
    rng = np.random.default_rng(0)
    for generator, entries in catalogue().items():
        for entry in entries.values():
            array = rng.standard_normal((1, WIDTH)).astype(np.float32)
            array = (changes or {}).get(entry.file, 2 * array / np.linalg.norm(array))
            if entry.file not in without:
                objects[f"directions/{generator}/{entry.file}"] = npy(array)
    for key, data in objects.items():
        if isinstance(store, FileStore):  # not through the store, which waits for the disk each time
            store.path(key).parent.mkdir(parents=True, exist_ok=True)
            store.path(key).write_bytes(data)
        else:
            store.write(key, data)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def put(store: Store, key: str, array: np.ndarray, generator: str | None = None) -> None:
    """An array, and where `generator` is named, what `directions fit` says beside it."""
    data = npy(array)
    store.write(key, data)
    if generator is not None:
        facts = {"generator": generator, "sha256": hashlib.sha256(data).hexdigest()}
        store.write(f"{key}.json", json.dumps(facts).encode())
