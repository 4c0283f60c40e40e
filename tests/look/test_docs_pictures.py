"""The pictures of README and docs: made by a script of this repository, used, and small."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 350_000
ELSEWHERE = {"screening.jpg"}
"""Made by benchmarks/screening.py."""


def test_every_picture_is_made_by_the_script_is_used_and_is_small() -> None:
    named = set(re.findall(r'"([\w-]+\.(?:jpg|png))":', (IMAGES / "make.py").read_text()))
    there = {path.name: path.stat().st_size for path in IMAGES.iterdir() if path.suffix in (".jpg", ".png")}
    assert set(there) == named | ELSEWHERE
    assert max(there.values()) <= MOST_BYTES
    pages = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    assert {name for name in there if f"images/{name}" not in pages} == set()
