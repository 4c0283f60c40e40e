"""The report in a real browser: axe finds no violation, nothing is wider than a phone, no page is nearly blank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import realistic
from chromium import needs_browser

from comface.evaluate import report
from comface.evaluate.config import EvaluateConfig
from comface.execution.pages import GATE, filled
from comface.methods import METHODS
from comface.register.decision import Check, GateDecision
from comface.register.report import decision_html

pytestmark = needs_browser("axe_playwright_python", "pypdfium2")
METHODS_SHOWN = ("scratch", "imagenet", "swav", "comface")
TASKS = ("au12", "edema-a", realistic.HOSTILE_TASK)
MODES = ("linear", "linear+standardised")
LARGEST_BYTES = 15_000_000
WHITE = 245
FILLED = 0.4
"""Least share of a printed page that is used; the last page may have less."""
AGAINST = "not worse than comface@v1"
CHECKS = (
    Check("threshold", "au12", "linear", 0.2, 0.5, "failed"),
    Check(AGAINST, "au12", "linear", 0.01, -0.05, "passed", -0.02, 0.04, people=27, pairs=5400, rehearsal=True,
          power=0.71, least_margin=0.055),
    Check(AGAINST, "edema-a", "linear", -0.1, -0.2, "cannot tell", -0.9, 0.7, "mae", "kg", people=38, pairs=2756,
          power=0.04, least_margin=1.42),
    Check(AGAINST, "edema-a", "linear", -0.2, -0.1, "failed", -0.3, -0.12, group="ward = A long name", people=21,
          power=0.38, least_margin=0.19),
)  # fmt: skip
DECISION = GateDecision("keep", ("The correlation is low.",), CHECKS, ("One task was left out.",), "comface@v1")


def rendered(methods: tuple[str, ...], tasks: tuple[str, ...], modes: tuple[str, ...]) -> str:
    scored = realistic.results(methods, tasks, modes)
    compared = realistic.comparisons(scored)
    html, _ = report.render(scored, compared, EvaluateConfig(), realistic.run(), realistic.behind())
    return filled(html, GATE, decision_html(DECISION))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(rendered(METHODS_SHOWN, TASKS, MODES), encoding="utf-8")
    return path


def opened(browser: Any, page: Path, width: int, scheme: str = "light") -> Any:
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    view.route("http://**", lambda route: route.abort())
    view.goto(page.as_uri())
    return view


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_no_violation(browser: Any, page: Path, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    view = opened(browser, page, width, scheme)
    found = Axe().run(view).response["violations"]
    view.close()
    assert [(each["id"], [node["target"] for node in each["nodes"]][:3]) for each in found] == []


def test_nothing_is_wider_than_a_phone_and_no_table_scrolls_sideways(browser: Any, page: Path) -> None:
    view = opened(browser, page, 390)
    assert view.evaluate("document.documentElement.scrollWidth") <= 390
    wide = view.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(e => !e.closest('thead, svg') &&
        (e.getBoundingClientRect().right > 391 || (e.classList.contains('table') && e.scrollWidth > e.clientWidth + 1)))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    view.close()
    assert wide == []


def test_no_table_is_cut_on_a_screen(browser: Any, page: Path) -> None:
    view = opened(browser, page, 1280)
    cut = view.evaluate(
        "[...document.querySelectorAll('.table')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        ".map(e => e.querySelector('caption').textContent)"
    )
    view.close()
    assert cut == []


def test_every_printed_page_is_filled_and_no_heading_stands_last(browser: Any, page: Path) -> None:
    import pypdfium2

    view = opened(browser, page, 1280)
    printed = view.pdf(format="A4", prefer_css_page_size=True, print_background=True)
    headings = set(view.evaluate("[...document.querySelectorAll('h2, h3, h4')].map(e => e.textContent.trim())"))
    view.close()
    document = pypdfium2.PdfDocument(printed)
    for number in range(len(document) - 1):
        sheet = document[number]
        grey = np.asarray(sheet.render(scale=0.5).to_pil().convert("L"))
        rows = np.flatnonzero((grey < WHITE).any(axis=1))
        assert rows[-1] > FILLED * len(grey), f"page {number + 1} is blank from {rows[-1] / len(grey):.0%} on"
        lines = sheet.get_textpage().get_text_range().strip().splitlines()
        assert lines[-1].strip() not in headings, f"page {number + 1} ends with a heading"


def test_nothing_is_fetched_and_no_script_runs(browser: Any, page: Path) -> None:
    asked: list[str] = []
    view = browser.new_page()
    view.on("request", lambda request: asked.append(request.url))
    view.on("dialog", lambda dialog: asked.append(dialog.message))
    view.goto(page.as_uri())
    view.close()
    assert [url for url in asked if not url.startswith(("file:", "data:image/"))] == []


@pytest.mark.system
def test_a_report_of_all_methods_tasks_and_modes_with_hundreds_of_thousands_of_pairs_is_small() -> None:
    methods = (*(name for name in METHODS if name != "comface"), "comface")
    assert len(rendered(methods, tuple(realistic.UNITS), realistic.MODES).encode()) < LARGEST_BYTES


def test_hundreds_of_thousands_of_pairs_do_not_make_a_report_large(page: Path) -> None:
    assert page.stat().st_size < LARGEST_BYTES / 3
