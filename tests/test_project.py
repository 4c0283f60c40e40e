"""What the files around the package say: public names, version, citation, changelog, and what a commit must pass."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_run import ROOT

import comface

GITHUB = ROOT / ".github"


def read(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_the_public_names_of_the_package_are_these() -> None:
    """They grow by decision: a name that is added here is kept."""
    assert comface.__all__ == [
        "ChangeRegressor", "ComfaceError", "ConfigurationError", "DataError", "TryAgain", "__version__", "compare",
        "features", "load_model",
    ]  # fmt: skip
    assert {name for name in comface.__all__ if getattr(comface, name)} == set(comface.__all__)
    listed = "import comface; print(*(name for name in vars(comface) if not name.startswith('_')))"
    said = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout
    assert set(said.split()) <= {"logging"}


def test_one_version_stands_everywhere() -> None:
    releases = re.findall(r"^## (\d\S*) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = read("CITATION.cff")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == comface.__version__
    assert (citation["version"], str(citation["date-released"])) == (comface.__version__, releases[0][1])
    assert releases[0][0] == comface.__version__
    for page in ("docker/compose.yaml", "docs/images.md", "pipelines/comface.yaml"):
        tags = re.findall(r"comface-[a-z-]*python:(\d[\w.]*)", (ROOT / page).read_text())
        assert set(tags) == {comface.__version__}, page


def test_the_changelog_has_the_unreleased_changes_first_and_then_dated_versions() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    dates = [date.fromisoformat(heading.partition(" - ")[2]) for heading in headings[1:]]
    assert dates == sorted(dates, reverse=True)
    kinds = set(re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE))
    assert kinds <= {"Breaking", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_is_of_the_paper() -> None:
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "preferred-citation"} <= set(citation)
    paper = citation["preferred-citation"]
    assert paper["title"] == "ComFace: Facial Representation Learning with Synthetic Data for Comparing Faces"
    assert [author["family-names"] for author in paper["authors"]] == [
        "Akamatsu", "Umematsu", "Imaoka", "Gomi", "Tsurushima",
    ]  # fmt: skip
    assert (paper["type"], paper["year"]) == ("conference-paper", 2025)
    assert paper["url"] in (ROOT / "README.md").read_text()


def test_ci_runs_what_a_contributor_runs_with_pinned_actions_and_no_right_to_write() -> None:
    workflow = read(".github/workflows/ci.yaml")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    steps = job["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["bash .ci/run"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert [action for action in used if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action)] == []
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={job['strategy']['matrix']['python'][0]}" == lowest


def test_a_commit_is_checked_by_the_pinned_tools_that_make_check_uses() -> None:
    (hygiene, local) = read(".pre-commit-config.yaml")["repos"]
    assert re.fullmatch(r"v\d+\.\d+\.\d+", hygiene["rev"])
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in local["hooks"]}
    assert tools == {"ruff", "mypy"}
    pinned = (ROOT / "docker" / "requirements-dev.txt").read_text()
    assert all(f"\n{tool}==" in pinned for tool in tools)


@pytest.mark.parametrize("form", sorted((GITHUB / "ISSUE_TEMPLATE").iterdir()), ids=lambda path: path.stem)
def test_a_form_for_issues_asks_for_something(form: Path) -> None:
    content = read(form)
    assert {"name", "description", "body"} <= set(content)
    assert {field["type"] for field in content["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert any(field.get("validations", {}).get("required") for field in content["body"])
    assert all(field["attributes"].get("label") for field in content["body"] if field["type"] != "markdown")
