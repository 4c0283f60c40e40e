from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from PIL import Image

from comface.errors import DataError
from comface.evaluate import plots
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.header import RunFacts
from comface.evaluate.results import compare, read_results
from comface.evaluate.step import evaluate
from comface.evaluate.verdict import verdict
from comface.execution.svg import INK
from comface.store import FileStore

CONFIG = EvaluateConfig(bootstrap=100)
METHODS = ("scratch", "imagenet", "comface")
CLEAR = {"scratch": 60.0, "imagenet": 9.0, "comface": 0.5}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 90, 20)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def evaluation(tmp_path, results):
    made = results(("smile", "edema-a"), METHODS, ("linear",), noise=CLEAR, direction=True)
    run = RunFacts(command="comface run --set first=<light>", now=1.0)
    return evaluate(FileStore(tmp_path / "out"), CONFIG, made, run, pictures={"saliency": png()})


class Page(HTMLParser):
    """Tags that are open, and what would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.sources += [v for k, v in values.items() if k in ("src", "href", "xlink:href", "data", "action") and v]
        self.ids += [values["id"]] if values.get("id") else []
        if tag not in ("meta", "br", "img", "link", "hr", "use", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in ("use", "path"):
            return
        assert self.open
        assert self.open.pop() == tag


def test_the_report_is_one_well_formed_file_that_fetches_nothing(evaluation):
    html = evaluation.read("report.html").decode()
    page = Page()
    page.feed(html)
    assert page.open == []
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert len(page.ids) == len(set(page.ids))
    assert "<script" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_the_report_says_what_is_rehearsal_what_was_missed_and_where_numbers_came_from(evaluation):
    html = evaluation.read("report.html").decode()
    assert "All data sets of this run are rehearsals." in html
    assert "a home advantage" in html
    assert "no face: 7" in html
    assert "first=&lt;light&gt;" in html
    for result in evaluation.inputs().values():
        assert result.uri in html
        assert result.sha256 in html


def test_the_verdict_counts_wins_and_those_beyond_chance(evaluation):
    assert evaluation.facts["verdict"] == (
        "On rehearsal data (generated faces, not evidence about people): ComFace has the highest correlation "
        "with the true change on all 2 tasks in linear evaluation. It is clearly better than random features on 2 of "
        "2 tasks and than every other method on 2 of 2 tasks."
    )
    assert evaluation.read("summary.md").decode().startswith(evaluation.facts["verdict"])


def test_the_verdict_admits_defeat_and_a_missing_comparison(results):
    lost = read_results(results(("age",), METHODS, ("linear",), noise={"imagenet": 0.1, "comface": 5.0}), CONFIG)
    assert verdict(lost, compare(lost, CONFIG), "linear").startswith(
        "On rehearsal data (generated faces, not evidence about people): "
        "ComFace has the highest correlation with the true change on 0 of 1 task in linear"
    )
    alone = read_results(results(("age",), ("comface",), ("linear",)), CONFIG)
    assert "no comparison" in verdict(alone, compare(alone, CONFIG), "linear")


def test_the_verdict_says_that_variants_do_not_count(results):
    noise = {"comface": 1.0, "comface:inter": 0.1, "scratch": 5.0}
    scored = read_results(results(("age",), tuple(noise), ("linear",), noise=noise), CONFIG)
    text = verdict(scored, compare(scored, CONFIG), "linear")
    assert "ComFace has the highest correlation with the true change on the task" in text
    assert text.endswith(" Its variants are not counted.")


def test_real_data_are_not_called_a_rehearsal(tmp_path, results):
    made = results(("age",), METHODS, ("finetune",), rehearsal=False)
    html = evaluate(FileStore(tmp_path / "out"), CONFIG, made).read("report.html").decode()
    assert ">your data<" in html
    assert "rehearsal" not in html.split("<body>")[1].lower()
    assert "not evidence" not in html


def test_where_some_tasks_are_rehearsals_the_verdict_names_them(results):
    made = results(("age",), METHODS, ("linear",), noise=CLEAR) + results(
        ("smile",), METHODS, ("linear",), noise=CLEAR, rehearsal=False
    )
    scored = read_results(made, CONFIG)
    text = verdict(scored, compare(scored, CONFIG), "linear")
    assert text.endswith("on 2 of 2 tasks. On rehearsal data (generated faces, not evidence about people): Age.")


def test_metrics_and_tables_are_published_beside_the_report(evaluation):
    metrics = json.loads(evaluation.read("metrics.json"))
    assert {(r["task"], r["method"]) for r in metrics["results"]} == {
        (task, method) for task in ("smile", "edema-a") for method in METHODS
    }
    assert evaluation.facts["metrics"]["edema-a/linear/acc"] > 0.9
    assert evaluation.read("table-weight.csv").decode().startswith("source,method,edema_a_linear_mae")
    assert evaluation.read_json("table-expression.json")[0]["method"] == "Scratch"


def test_evaluating_again_is_done_already_and_the_same_results_give_the_same_bytes(tmp_path, results):
    made = results(("age",), METHODS, ("linear",))
    first = evaluate(FileStore(tmp_path / "a"), CONFIG, made)
    assert evaluate(FileStore(tmp_path / "a"), CONFIG, made).sha256 == first.sha256
    assert evaluate(FileStore(tmp_path / "b"), CONFIG, list(reversed(made))).read("report.html") == first.read(
        "report.html"
    )


def test_a_picture_that_is_none_is_refused(tmp_path, results):
    with pytest.raises(DataError, match="'saliency' for the report is neither PNG nor JPEG"):
        evaluate(
            FileStore(tmp_path / "out"),
            CONFIG,
            results(("age",), METHODS, ("linear",)),
            pictures={"saliency": b"GIF89a"},
        )


def test_figures_are_valid_svg_that_takes_its_ink_from_the_page_and_escapes_names(results):
    scored = read_results(results(("<b>odd</b>",), METHODS, ("linear",)), CONFIG)
    charts = [plots.forest(scored, "<b>odd</b>", "linear"), plots.scatter(scored[-1]), plots.bland_altman(scored[0])]
    for svg in (chart.svg for chart in charts):
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert "currentColor" in svg
        assert INK not in svg
        assert "<b>odd" not in svg
