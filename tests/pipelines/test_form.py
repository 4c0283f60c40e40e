"""The form of the KFP UI: plan and cost from the first step, tiles with plain names, the report from the last step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from comface.artifacts.manifest import Draft
from comface.artifacts.plans import name_report, named_report
from comface.errors import ConfigurationError
from comface.plan.configuration import resolve
from comface.plan.cost import cost_of, money, shown
from comface.plan.from_parameters import ending, resolve_parameters
from comface.plan.page import plan_page
from comface.plan.parameters import Parameters
from comface.plan.step import make_plans
from comface.store import FileStore
from comface.submit.package import read_package

COMPILED = Path(__file__).resolve().parents[2] / "pipelines" / "comface.yaml"
SMALL = {"synthesize.composition": "[{generator: procedural, identities: 80, attributes: [weight, age]}]",
         "transfer.tasks": "[edema-a]", "transfer.methods": "[comface, scratch]"}  # fmt: skip


def test_every_tile_has_a_name_in_plain_words() -> None:
    pipeline = yaml.safe_load(COMPILED.read_text().partition("\n---\n")[0])
    dags = [component.get("dag", {}) for component in (pipeline["root"], *pipeline["components"].values())]
    names = [task["taskInfo"]["name"] for dag in dags for task in dag.get("tasks", {}).values()]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.match(r"[A-Z].* ", name)] == []


def test_the_first_step_shows_the_plan_and_its_price(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    store = (tmp_path / "store").as_uri()
    resolve_parameters(Parameters("laptop", SMALL, store=store), "run-1", str(page), 2.5)
    text = page.read_text()
    assert "880 images" in text
    assert "no URI is given for edema-a, so synthetic rehearsal data will be used" in text
    assert "It needs no GPU." in text


def test_the_paper_costs_gpu_hours_between_the_published_rates() -> None:
    config = resolve("paper", ["transfer.methods=[comface, scratch]"], {"store": "s3://b/x"})
    cost = cost_of(config)
    low, high = cost.gpu_hours
    assert 200 < low < 500
    assert 700 < high < 1500, "the paper's 22 hours on 32 A100 are 704 GPU-hours of pre-training"
    page = plan_page(config, make_plans(config, "run-1"), 2.0)
    assert f"Price: {money((2 * low, 2 * high))}" in page
    assert "35,350,000 images" in page
    assert "32 GPUs" in page


def test_a_run_that_cannot_succeed_ends_with_one_sentence_and_no_page(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit) as ended:
        resolve_parameters(
            Parameters("laptop", SMALL | {"transfer.folds": 99.0}, store=(tmp_path / "s").as_uri()), "run-1", str(page)
        )
    assert ended.value.code == 64
    assert "lower transfer.folds" in capfd.readouterr().err
    assert not page.exists()


def test_a_price_below_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        resolve_parameters(Parameters("laptop", SMALL, store=(tmp_path / "s").as_uri()), "", str(tmp_path / "p"), -1.0)
    assert ended.value.code == 64


@pytest.mark.parametrize(
    ("hours", "text"), [((0.01, 0.02), "less than 0.1"), ((0.2, 0.2), "0.2"), ((12.2, 262.0), "12 to 260")]
)
def test_hours_are_shown_no_finer_than_they_are_known(hours: tuple[float, float], text: str) -> None:
    assert shown(hours) == text


def test_the_last_step_shows_the_newest_report_or_why_there_is_none(tmp_path: Path) -> None:
    store, page = FileStore(tmp_path / "store"), tmp_path / "page.html"
    ending("FAILED", "laptop", store.uri, "run-1", str(page))
    assert "run-1: failed" in page.read_text()
    for number in (1, 2):
        draft = Draft(store, "evaluation", {"number": number}, {}, {})
        draft.write("report.html", f"<p>report {number}".encode())
        name_report(store, "run-1", draft.publish({}))
    ending("SUCCEEDED", "laptop", store.uri, "run-1", str(page))
    assert page.read_text() == "<p>report 2"
    assert named_report(store, "run-2") is None


def test_a_registry_is_put_before_the_images_of_a_pipeline_that_names_none() -> None:
    package = read_package(COMPILED, "registry.example.com:5000/comface")
    assert all(image.startswith("registry.example.com:5000/comface/comface-") for image in package.images())
    assert package.data.count(b"image: registry.example.com:5000/comface/") == COMPILED.read_text().count(" image: ")
    assert read_package(COMPILED).sha256 != package.sha256
    with pytest.raises(ConfigurationError, match="is not host/path in lower case"):
        read_package(COMPILED, "https://registry.example.com")
