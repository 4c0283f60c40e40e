"""Names and units that people give, where a report, a table or a card shows them: text, never markup or a formula."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import xml.dom.minidom

import pytest

from comface.config.names import csv_cell, markdown_cell, printable
from comface.evaluate import exports, findings, plots, report
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.header import RunFacts
from comface.evaluate.results import compare, read_results
from comface.evaluate.step import evaluate
from comface.evaluate.table import csv_text
from comface.evaluate.tables import About, groups_of
from comface.register.card import CardFacts, card
from comface.register.decision import GateDecision
from comface.register.gate import Metric
from comface.register.origins import Origins
from comface.register.step import decision_markdown
from comface.store import FileStore

CONFIG = EvaluateConfig(bootstrap=50)
FORMULA = "=cmd|' /C calc'!A0"
SCRIPT = "<script>alert(1)</script>"
HOSTILE = [FORMULA, SCRIPT, "a\\1\\g<0>b", "cost $x_$ \\frac", "\x1b[2Jline\nbreak", '"><img src=x>']


def hostile(results, text: str):
    """Scored results whose task and unit are `text`."""
    scored = read_results(results(["au6"], ["scratch", "comface"], ["linear"]), CONFIG)
    return [dataclasses.replace(result, task=text, unit=text) for result in scored]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_or_unit_breaks_a_figure_or_leaves_its_place(results, text: str) -> None:
    scored = hostile(results, text)
    charts = (plots.scatter(scored[0]), plots.bland_altman(scored[0]), plots.forest(scored, text, "linear"))
    for svg in (chart.svg for chart in charts):
        xml.dom.minidom.parseString(svg)
        assert "<script" not in svg
        assert "\x1b" not in svg
    records = [exports.group_records(groups_of(scored)[0], scored, About()), findings.summary(scored).records()]
    for cell in (cell for each in records for row in csv.reader(io.StringIO(csv_text(each))) for cell in row):
        assert not re.match(r"[=@]|[+-](?!\d)", cell)
    summary = report.summary(scored, compare(scored, CONFIG), About())
    assert "<script" not in summary
    assert "<img" not in summary
    assert "\x1b" not in summary


def test_a_card_and_a_decision_show_names_as_text() -> None:
    metric = Metric(SCRIPT, "comface", "linear", 0.5, unit="a|b", dataset="x\n| y", rehearsal=True)
    made = Origins((SCRIPT,), None, None, None, (SCRIPT,), ())
    facts = CardFacts(SCRIPT, "narrow", 48, made, [metric], {}, 0.9, {SCRIPT: "0"})
    text = card(facts) + decision_markdown(GateDecision("keep", (f"The correlation of {SCRIPT} is low.",), ()))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "a\\|b" in text
    assert "x\\n\\| y" in text


def test_numbers_stay_numbers_and_formulas_become_text() -> None:
    assert [csv_cell(text) for text in ("-0.5", "+1e-3", "-x", "@sum", FORMULA, "Edema-A→B")] == [
        "-0.5", "+1e-3", "'-x", "'@sum", f"'{FORMULA}", "Edema-A→B",
    ]  # fmt: skip
    assert printable("\x1b[2J\n\u202eü 中") == "\\x1b[2J\\n\\u202eü 中"
    assert markdown_cell("`<b>|") == "\\`&lt;b&gt;\\|"


def test_a_method_that_could_not_be_run_is_a_row_absent_with_its_reason_everywhere(tmp_path, results) -> None:
    reason = "efficientnet_lite0.safetensors is not on this machine; `comface fetch` downloads it"
    made = results(["au6"], ["scratch", "comface"], ["linear"])
    run = RunFacts(about=About({"imagenet": reason}, ("scratch",)))
    evaluation = evaluate(FileStore(tmp_path / "e"), CONFIG, made, run)
    assert "absent,ImageNet,," in evaluation.read("table-expression.csv").decode()
    html = evaluation.read("report.html").decode()
    assert f">absent: {reason}</span>" in html
    assert ">random weights</span>" in html
    summary = evaluation.read("summary.md").decode()
    assert "ImageNet was not run: efficientnet_lite0.safetensors is not on this machine" in summary
    assert json.loads(evaluation.read("metrics.json"))["absent"] == [{"method": "imagenet", "reason": reason}]
    assert evaluation.uri != evaluate(FileStore(tmp_path / "e"), CONFIG, made).uri
