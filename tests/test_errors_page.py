"""docs/errors.md and docs/runbook.md quote messages in italics: each is found among the texts of the code."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = "".join((ROOT / "docs" / name).read_text() for name in ("errors.md", "runbook.md"))
QUOTES = [" ".join(quote.split()) for quote in re.findall(r"(?<![*\w])\*(?!\*)([^*]{20,}?)\*(?!\*)", PAGES)]
LEAST = 24
"""Letters that a text of the code must share with a quote: shorter ones fit anywhere."""


@functools.cache
def texts() -> list[re.Pattern[str]]:
    """Every text of the code that is long enough, with what is put into it at run time left open."""
    found = []
    for path in (ROOT / "components").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            else:
                continue
            if sum(len(part or "") for part in parts) >= LEAST:
                found.append(re.compile("".join(".*?" if part is None else re.escape(part) for part in parts)))
    return found


def test_the_page_quotes_many_sentences() -> None:
    assert len(QUOTES) > 30


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: quote[:40])
def test_each_quote_is_a_sentence_of_the_code(quote: str) -> None:
    assert any(text.search(quote) for text in texts())
