"""What the pages name is there: commands, targets, files, and every field of the configuration."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from comface.commands.program import comface
from comface.plan.configuration import RunConfig
from comface.plan.fields_page import fields_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TREES = ("benchmarks", "components", "docker", "docs", "k8s", "pipelines", "tests")
PACKAGE = "components/comface/"
PLANNED: set[str] = set()
"""Commands that the pages may name before they are there."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def commands() -> set[str]:
    return set(comface.commands)


def test_the_page_of_the_configuration_is_what_the_command_prints() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == fields_page(), "write it anew: comface config --fields > docs/configuration.md"


def test_every_section_of_the_configuration_is_on_the_page() -> None:
    for name, field in RunConfig.model_fields.items():
        assert f"`{field.alias or name}" in fields_page()


def test_every_field_of_the_configuration_is_described() -> None:
    """Those of a list's or a mapping's entries too, e.g. `data.NAME.uri`."""
    rows = [row for row in fields_page().splitlines() if row.startswith("| `")]
    paths = {row.split("`")[1] for row in rows}
    assert {"data.NAME.uri", "synthesize.composition[i].generator", "pretrain.job.kind"} < paths
    assert [row for row in rows if row.endswith("|  |")] == []


@pages
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    """Commands stand in code: at the start of a line of a block, or between backticks."""
    text = page.read_text()
    shown = re.findall(r"(?:`|^|bin/)comface ([a-z]+)\b", text, re.MULTILINE)
    assert set(shown) - PLANNED <= commands()


@pages
def test_every_target_of_make_that_a_page_shows_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)\b", page.read_text(), re.MULTILINE)
    assert set(shown) <= targets


@pages
def test_every_page_heading_and_picture_that_a_page_links_to_exists(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not heading or heading in headings(linked), f"{target}#{heading}"


def headings(page: Path) -> set[str]:
    """As GitHub names them in links."""
    found = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pages
def test_every_module_and_file_that_a_page_names_exists(page: Path) -> None:
    """Between backticks: Python modules and their names by import, files of this repository by path or by name."""
    known = {path.name for folder in TREES for path in (ROOT / folder).rglob("*")}
    text = page.read_text()
    words = {word for code in re.findall(r"`([^`\n]+)`", text) for word in code.split()}
    for word in words | set(re.findall(r"-m\s+(comface\.[\w.]+)", text)):
        if re.fullmatch(r"comface(\.\w+)+", word) and word != "comface.yaml":
            assert pkgutil.resolve_name(word), word
        elif re.fullmatch(rf"({'|'.join(TREES)})/[\w./*-]+(?<!\.lock)", word):
            assert list(ROOT.glob(word.rstrip("/"))), word
        elif re.fullmatch(r"[\w./-]+\.(py|html|yaml)", word):
            assert (ROOT / "components/comface" / word).exists() if "/" in word else word in known, word


def test_the_file_tree_of_the_readme_names_existing_places_and_every_package() -> None:
    tree = (ROOT / "README.md").read_text().partition("## Where things are")[2].split("```")[1].removeprefix("text")
    above, named = "", set()
    for line in tree.strip().splitlines():
        if line.startswith(" " * 20):  # a heading within the tree
            continue
        names = re.match(r"( *)((?:[\w.-]+/?(?:[\w.-]+/)* )+)(?: |$)", line + "  ")
        assert names is not None, line
        above = above if names[1] else ""
        named |= {above + name for name in names[2].split()}
        if not names[1] and names[2].strip() == PACKAGE:
            above = PACKAGE
    assert [name for name in named if not (ROOT / name).exists()] == []
    packages = {f"{PACKAGE}{path.parent.name}/" for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    assert packages - named == set()
