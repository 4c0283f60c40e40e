"""The report with the gate's decision in it: the evaluation's page, whose slot is filled, with names as text."""

from __future__ import annotations

from pathlib import Path

from comface.artifacts.manifest import Artifact, Draft
from comface.execution.pages import GATE, filled, slot
from comface.register.decision import CANNOT_TELL, FAILED, KEEP, PASSED, PROMOTE, UNKNOWN, Check, GateDecision
from comface.register.report import decision_html, report_with
from comface.store import FileStore

SCRIPT = "<script>alert(1)</script>"
REJECTED = GateDecision(
    KEEP,
    (f"The correlation of {SCRIPT} is low.",),
    (Check("threshold", "au12", "linear", 0.21, 0.5, FAILED), Check("measured", SCRIPT, "", None, None, FAILED)),
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
    for words in (
        "Keep: the challenger is rejected.",
        "AU12, lip corner puller",
        "0.210",
        "0.500",
        "failed",
        "champion",
    ):
        assert words in text
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text
    assert filled(text, GATE, "again").count("again") == 1, "the slot can be filled again"


def test_a_page_without_the_slot_stays_as_it_is_and_no_report_stays_none(tmp_path: Path) -> None:
    assert report_with(REJECTED, evaluation(tmp_path / "a", "<p>old</p>")) == b"<p>old</p>"
    assert report_with(REJECTED, evaluation(tmp_path / "b", None)) is None


def test_a_decision_without_checks_is_a_sentence() -> None:
    assert decision_html(GateDecision(PROMOTE, (), ())) == (
        "<p><strong>Promote: the challenger may become the champion.</strong></p>"
    )


def compared(task: str, value: float, low: float, high: float, result: str, **more: object) -> Check:
    return Check("not worse than comface@v1", task, "linear", value, more.pop("limit", -0.05), result, low, high,
                 people=40, pairs=800, **more)  # fmt: skip


def test_the_figure_shows_every_comparison_with_its_result_in_words() -> None:
    checks = (
        compared("smile", 0.01, -0.01, 0.03, PASSED, rehearsal=True),
        compared("smile", -0.02, -0.3, 0.2, UNKNOWN, group=f"site = {SCRIPT}"),
        compared("edema-a", -0.4, -0.5, -0.3, FAILED, metric="mae", unit="kg", limit=-0.2),
        compared("age", 0.01, -0.01, 0.03, UNKNOWN, limit=-0.0),
    )
    page = decision_html(GateDecision(CANNOT_TELL, ("It is not known.",), checks, (), "comface@v1"))
    assert page.count("<svg") == 1
    label = page.partition('aria-label="')[2].partition('"')[0]
    assert "Smile: passed; site = " in label
    assert label.endswith("Edema-A: failed"), "a margin of 0 has no multiples, so age is in the table only"
    assert SCRIPT not in page
    for words in ("+0.010", "−0.300 to +0.200", "−0.400 kg", "above 0", "generated faces, not on people"):
        assert words in page
    assert page == decision_html(GateDecision(CANNOT_TELL, ("It is not known.",), checks, (), "comface@v1"))


def test_gains_that_are_all_zero_are_drawn() -> None:
    same = compared("smile", 0.0, 0.0, 0.0, PASSED)
    assert "<svg" in decision_html(GateDecision(PROMOTE, (), (same,), (), "comface@v1"))
