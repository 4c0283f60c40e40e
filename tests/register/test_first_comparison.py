"""The picture after a run shows two photos of one person, not those that merely change most."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from comface.artifacts.manifest import Artifact, Draft
from comface.models.compare import Comparison
from comface.run import first_comparison
from comface.run.first_comparison import compare_first_pair
from comface.store import Store
from comface.weights.fetched import DCGAN, FACE_RECOGNITION, LANDMARKS, available

pytestmark = pytest.mark.skipif(
    not {DCGAN, LANDMARKS, FACE_RECOGNITION} <= set(available()),
    reason="needs what `comface fetch` takes from packages",
)


def evaluation_of(store: Store, rows: list[tuple[str, Path, float]]) -> Artifact:
    """An evaluation of a cohort of these photos: subject, photo, smile."""
    cohort = Draft(store, "dataset", {"rows": str(rows)}, {}, {"test": 1})
    lines = ["subject,file,smile"]
    for number, (subject, photo, smile) in enumerate(rows):
        cohort.write(f"{number}.png", photo.read_bytes())
        lines.append(f"{subject},{number}.png,{smile}")
    cohort.write("labels.csv", "\n".join(lines).encode())
    dataset = cohort.publish({"dataset": "cohort", "rehearsal": True})
    faces = Draft(store, "faces", {}, {"dataset": dataset}, {"test": 1}).publish({"dataset": "cohort"})
    transfer = Draft(store, "transfer", {}, {"faces": faces}, {"test": 1}).publish({})
    return Draft(store, "evaluation", {}, {"transfer": transfer}, {"test": 1}).publish({})


def test_of_two_people_the_one_whose_photos_pass_for_one_person_is_shown(
    registered, photos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, chain = registered
    shown: list[Comparison] = []

    def drawn(comparison: Comparison) -> bytes:
        shown.append(comparison)
        return b"\x89PNG"

    monkeypatch.setattr(first_comparison, "picture", drawn)
    rows = [
        ("p1", photos["one"], -9.0), ("p1", photos["stranger"], 9.0),
        ("p2", photos["one"], 0.0), ("p2", photos["smiling"], 1.0),
        ("p3", photos["none"], -20.0), ("p3", photos["one"], 20.0),
    ]  # fmt: skip
    output = compare_first_pair(evaluation_of(chain.store, rows), result.model, "comface@v1", tmp_path)
    assert output == tmp_path / "comparison.png"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert not shown[0].caveats.reasons
    strangers = evaluation_of(chain.store, rows[:2])
    assert compare_first_pair(strangers, result.model, "comface@v1", tmp_path) == output
    assert shown[1].caveats.refused, "said in the picture where nobody passes"
    assert compare_first_pair(evaluation_of(chain.store, rows[4:]), result.model, "comface@v1", tmp_path) is None
