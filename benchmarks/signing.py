"""What verifying a signed model costs beside reading its bytes: python benchmarks/signing.py [--megabytes 100]

A model of the given size lies in a folder. Each round reads all files, hashes what was read, and verifies the model
(signature, manifest, every file), in an order that alternates. Prints medians and the median of the ratios.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from comface.artifacts.manifest import Artifact, Draft
from comface.models.registry import Registry
from comface.models.signing import public_text, sign, trust
from comface.store import FileStore

FILES = 4


def signed_model(store: FileStore, size_bytes: int) -> Artifact:
    draft = Draft(store, "model", {}, {}, {"benchmark": 1})
    for number in range(FILES):
        draft.write(f"part-{number}.safetensors", os.urandom(size_bytes // FILES))
    model = draft.publish({})
    private = Ed25519PrivateKey.generate()
    sign(model, private)
    trust([public_text(private)])
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(Path(folder))
        model = signed_model(store, chosen.megabytes * 1_000_000)
        registry = Registry(store, "comface")
        version = registry.register(model, datetime.now(UTC))
        names = list(model.manifest.objects)

        def read() -> None:
            for name in names:
                model.store.read(name)

        def hashed() -> None:
            for name in names:
                hashlib.sha256(model.store.read(name)).hexdigest()

        ways: dict[str, Callable[[], object]] = {
            "read": read,
            "read and hash": hashed,
            "verify": lambda: registry.check(version),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for each in range(chosen.rounds):
            for name in list(ways)[:: 1 if each % 2 else -1]:
                started = time.perf_counter()
                ways[name]()
                times[name].append(time.perf_counter() - started)
        for name, seconds in times.items():
            ratio = statistics.median(a / b for a, b in zip(seconds, times["read"], strict=True))
            print(f"{name:<14} {1000 * statistics.median(seconds):8.1f} ms, {ratio:.2f} times reading")


if __name__ == "__main__":
    main()
