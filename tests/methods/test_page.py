"""docs/methods.md names every method with its files and its open forms."""

from __future__ import annotations

from pathlib import Path

from comface.methods import METHODS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "methods.md").read_text("utf-8")


def test_the_page_has_a_row_for_each_method_that_names_its_files() -> None:
    rows = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 8}
    for name, entry in METHODS.all().items():
        assert name in rows, f"docs/methods.md has no row for {name}"
        for file in entry.files:
            assert f"`{file}`" in rows[name], f"docs/methods.md does not name {file} for {name}"
