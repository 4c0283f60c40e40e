"""Tasks of single photos in the evaluation: a section of their own, in every file."""

from __future__ import annotations

import pytest

from comface.evaluate.config import EvaluateConfig
from comface.evaluate.from_plan import named_metrics
from comface.evaluate.step import evaluate
from comface.store import FileStore

CONFIG = EvaluateConfig(bootstrap=50)


@pytest.fixture
def photos(results):
    quantity = results(["years"], ["scratch", "comface"], ["linear"], kind="single", noise={"comface": 0.5})
    classes = ("neutral", "smile")
    return [
        *quantity,
        *results(["smiling"], ["comface", "scratch"], ["linear", "finetune"], kind="single", classes=classes),
    ]


def test_quantities_and_classes_of_single_photos_have_a_section_of_their_own(results, photos, tmp_path) -> None:
    evaluation = evaluate(
        FileStore(tmp_path / "store"), CONFIG, [*results(["age"], ["scratch", "comface"], ["linear"]), *photos]
    )
    html, summary = evaluation.read("report.html").decode(), evaluation.read("summary.md").decode()
    section = html.partition('<h2 id="photos">')[2].partition("</section>")[0]
    for words in ("smiling (classes neutral, smile)", "Balanced acc. % ↑", "always the most frequent class",
                  "always the median", "ComFace (ours), fine-tuning"):  # fmt: skip
        assert words in section
    assert "always the median" in summary
    before = html.partition('<h2 id="photos">')[0].rpartition("</nav>")[2]
    assert "smiling" not in before, "sections of changes do not name it"
    rows = evaluation.read_json("table-single-smiling.json")
    assert [row["method"] for row in rows][:2] == ["Scratch, linear", "ComFace (ours), linear"]
    assert 50 < rows[0]["class_acc"] < 80
    figures = {(r["task"], r["method"], r["mode"]): r for r in evaluation.read_json("metrics.json")["results"]}
    smiling = figures["smiling", "comface", "linear"]
    assert smiling["classes"] == ["neutral", "smile"]
    assert smiling["balanced_acc"]["low"] < smiling["balanced_acc"]["value"] < smiling["balanced_acc"]["high"]
    assert "no_change_mae" not in smiling
    assert "smiling_comface_linear_macro_f1" in named_metrics(evaluation)


def test_a_run_of_single_photos_alone_has_a_report(photos, tmp_path) -> None:
    evaluation = evaluate(FileStore(tmp_path / "store"), CONFIG, photos)
    assert "only tasks of single photos" in evaluation.facts["verdict"]
    assert "always the median" in evaluation.read("report.html").decode()
