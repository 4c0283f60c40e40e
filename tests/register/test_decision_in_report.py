"""The report with the gate's decision in it: the evaluation's page, whose slot is filled, with names as text."""

from __future__ import annotations

from pathlib import Path

from comface.artifacts.manifest import Artifact, Draft
from comface.execution.pages import GATE, filled, slot
from comface.register.gate import Check, GateDecision
from comface.register.report import decision_html, report_with
from comface.store import FileStore

SCRIPT = "<script>alert(1)</script>"
REJECTED = GateDecision(
    False,
    (f"The correlation of {SCRIPT} is low.",),
    (Check("threshold", "au12", "linear", 0.21, 0.5, False), Check("measured", SCRIPT, "", None, None, False)),
    ("age (linear) is not compared with the champion.",),
)


def evaluation(folder: Path, report: str | None) -> Artifact:
    draft = Draft(FileStore(folder), "evaluation", {"report": report}, {}, {"test": 1})
    if report is not None:
        draft.write("report.html", report.encode())
    return draft.publish({})


def test_the_decision_takes_its_place_in_the_report(tmp_path: Path) -> None:
    page = f"<html>before {slot(GATE, 'not decided')} after</html>"
    made = report_with(REJECTED, evaluation(tmp_path, page))
    assert made is not None
    text = made.decode()
    assert "not decided" not in text
    assert text.startswith("<html>before ")
    assert text.endswith(" after</html>")
    for words in ("The gate rejected the model.", "AU12, lip corner puller", "0.210", "0.500", "failed", "champion"):
        assert words in text
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text
    assert filled(text, GATE, "again").count("again") == 1, "the slot can be filled again"


def test_a_page_without_the_slot_stays_as_it_is_and_no_report_stays_none(tmp_path: Path) -> None:
    assert report_with(REJECTED, evaluation(tmp_path / "a", "<p>old</p>")) == b"<p>old</p>"
    assert report_with(REJECTED, evaluation(tmp_path / "b", None)) is None


def test_a_decision_without_checks_is_a_sentence() -> None:
    assert decision_html(GateDecision(True, (), ())) == (
        "<p><strong>The gate passed: the model may be registered.</strong></p>"
    )
