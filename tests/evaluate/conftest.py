"""Published `transfer` artifacts with predictions of known quality, made of the artifacts that lie before them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from protocols import make_protocol, protocol_sha256

from comface.artifacts.manifest import Artifact, Draft
from comface.store import FileStore


@pytest.fixture
def results(tmp_path) -> Callable[..., list[Artifact]]:
    store = FileStore(tmp_path / "store")

    def publish(kind: str, config: dict, inputs: dict, facts: dict, columns: dict | None = None) -> Artifact:
        draft = Draft(store, kind, config, inputs, {"test": 1})
        draft.write_json("predictions.json" if columns else "data.json", columns or {})
        return draft.publish(facts)

    def make(
        tasks, methods, modes, direction=False, noise=None, seed=0, rehearsal=True, kind="change", classes=()
    ) -> list[Artifact]:
        """12 subjects, 10 pairs each; the estimate is the change plus noise of the given size. With `classes`, the
        label numbers a class, and the estimate is right in two of three photos."""
        made = []
        for task in tasks:
            rng = np.random.default_rng([seed, len(task)])
            change = np.round(rng.normal(size=120) * 3)
            wrong = rng.normal(size=120)
            if classes:
                change = rng.integers(0, len(classes), 120).astype(float)
            faces = publish("faces", {"task": task, "seed": seed}, {}, {
                "dataset": f"set-{task}", "rehearsal": rehearsal, "subjects": 12, "found": 90,
                "missed": {"no face": 7},
            })  # fmt: skip
            subjects = [f"s{i // 10:03d}" for i in range(120)]
            protocol = make_protocol(store, task, subjects, change, {"faces": faces}, mark=f"{seed:x}")
            for method in methods:
                for mode in modes:
                    predicted = change + (noise or {}).get(method, 2.0) * wrong
                    if classes:
                        predicted = np.where(rng.random(120) < 2 / 3, change, (change + 1) % len(classes))
                    columns = {"fold": [0] * 120, "predicted": predicted.tolist()}
                    facts = {
                        "task": task, "method": method, "mode": mode, "unit": "kg", "direction_accuracy": direction,
                        "dataset": f"set-{task}", "rehearsal": rehearsal, "pairs": 120, "subjects": 12,
                        "protocol_sha256": protocol_sha256(f"{seed:x}"), "kind": kind, "classes": list(classes),
                    }  # fmt: skip
                    address = {"method": method, "mode": mode, "seed": seed}
                    made.append(publish("transfer", address, {"protocol": protocol, "faces": faces}, facts, columns))
        return made

    return make
