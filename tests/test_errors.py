"""The exit codes are a promise to schedulers and scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from comface import errors

TABLE = {
    "ConfigurationError": 64,
    "DataError": 65,
    "GateRefused": 66,
    "TryAgain": 75,
    "OutputLost": 141,
    "Preempted": 143,
}


def test_the_tree_has_exactly_these_branches_with_these_exit_codes() -> None:
    found = {kind.__name__: kind.exit_code for kind in errors.ComfaceError.__subclasses__()}
    assert found == TABLE


@pytest.mark.parametrize("name", TABLE)
def test_the_tree_drawn_in_the_module_and_the_page_name_each_code(name: str) -> None:
    page = Path(__file__).parents[1].joinpath("docs", "errors.md").read_text()
    for text in (errors.__doc__ or "", page):
        assert any(name in line and str(TABLE[name]) in line for line in text.splitlines())
