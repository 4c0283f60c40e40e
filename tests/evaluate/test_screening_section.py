"""The report shows what screening found, and says whether anything was left out for it."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from whole_facts import shards_facts, tracks_facts

from comface.artifacts.manifest import Artifact, Draft
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.pretrainings import pretraining
from comface.evaluate.step import evaluate
from comface.faces.lightness import counted
from comface.store import FileStore

VERDICTS = [
    {
        "generator": "dcgan", "attribute": name, "kept": kept, "low": -5.0, "high": 3.0, "reason": reason,
        "face_found_least": 0.71, "identity_least": 0.9, "own_sd_per_5_alpha": own, "rank_correlation": own,
        "tracks": 8, "face_found_unedited": 1.0, "moves_sd_per_5_alpha": {},
        "measured_by": by, "also_moves": moves,
    }
    for name, kept, reason, own, by, moves in (
        ("smile", True, "lost: face at alpha +4 (55%)", 1.61, "smile", {"mouth-open": -0.8}),
        ("age", False, "goes backwards", -0.9, "age", {}),
        ("mole", True, "", None, "not measured: no scorer is available", {}),
    )
]  # fmt: skip
LIGHTNESS = {"dcgan": counted([(20.0, i % 2 == 0) for i in range(300)] + [(80.0, True)] * 300)}
FACTS = {
    "attributes": VERDICTS, "method": "imagenet", "others": 20, "rehearsal": False,
    "faces_by_lightness": LIGHTNESS,
}  # fmt: skip


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (20, 90, 200)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path) -> FileStore:
    return FileStore(tmp_path / "screened")


def published(store: FileStore, kind: str, inputs: dict, facts: dict, **objects: bytes) -> Artifact:
    draft = Draft(store, kind, {"facts": sorted(facts)}, inputs, {"test": 1})
    for name, data in objects.items():
        draft.write(name.replace("_", "-", name.count("_") - 1).replace("_", "."), data)
    return draft.publish(facts)


def backbone(store: FileStore, screened: bool, shard_facts: dict) -> Artifact:
    tracks = published(store, "tracks", {}, tracks_facts())
    inputs = {"tracks-00000": tracks}
    if screened:
        inputs["screening"] = published(store, "screening", inputs, FACTS, screening_png=picture("PNG"))
    sheets = {f"sheet_{number}_jpg": picture("JPEG") for number in range(2)}
    shards = published(store, "shards", inputs, shards_facts(**shard_facts), **sheets)
    return published(store, "backbone", {"shards": shards}, {})


def report(store: FileStore, trained: Artifact, results) -> str:
    made = results(("smile",), ("scratch", "comface"), ("linear",))
    mine = Draft(store, "transfer", {}, {"backbone": trained, "protocol": made[1].input("protocol")}, {"test": 1})
    mine.write("predictions.json", made[1].read("predictions.json"))
    made[1] = mine.publish(made[1].facts)
    return evaluate(store, EvaluateConfig(bootstrap=50), made, backbones=[trained]).read("report.html").decode()


def test_the_report_has_verdicts_reasons_and_the_picture(store, results):
    html = report(store, backbone(store, True, {}), results)
    assert "2 of 3 attributes passed screening." in html
    for text in ("lost: face at alpha +4 (55%)", "goes backwards", "not measured", "−5 … +3", "mouth-open −0.8"):
        assert text in html
    assert "This run excluded nothing because of screening." in html
    assert "50% of the darkest tenth, 100% of the lightest" in html
    assert 'alt="Screening. Per attribute: one example track' in html
    assert "3 attributes, imagenet" in html, "its artifact is among the origins"
    assert "smile, 1 fold, 120 test pairs of 12 subjects, digest 000000000000" in html


def test_the_report_says_what_was_left_out(store, results):
    html = report(store, backbone(store, True, {"alpha_ranges": {}, "screened_out_tracks": 312}), results)
    assert "The rest was excluded from training: 312 tracks, and every alpha outside the accepted range." in html


def test_without_screening_the_report_has_no_such_section_and_the_contact_sheet_is_found(store, results):
    trained = backbone(store, False, {})
    made = pretraining(trained)
    assert made.screening is None
    assert [sheet.generator for sheet in made.sheets] == ["dcgan", "procedural"]
    assert "Do the edits change what they should?" not in report(store, trained, results)
