"""HTML pages for the KFP UI: one file with inline images and no external resources."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path


def picture_page(title: str, image: bytes, note: str = "") -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(image).decode()
    return (
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title>"
        "<body style='margin:16px;font:14px system-ui,sans-serif'>"
        f"<h3>{html.escape(title)}</h3><p>{html.escape(note)}</p>"
        f"<img alt='{html.escape(title)}' style='max-width:100%' src='data:image/{kind};base64,{data}'></body>"
    )


def text_page(title: str, text: str) -> str:
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        "<body style='margin:1.2rem;font:15px/1.5 system-ui,sans-serif;max-width:46rem;color-scheme:light dark'>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></body></html>"
    )


def metric_prefix(item: str) -> str:
    """The name of an item as the beginning of a metric's name: the UI compares metrics of a run by their names only."""
    return re.sub(r"\W+", "_", item)


def write_text(path: str, text: str) -> None:
    """Write a UI artifact to the path that KFP gave."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


GATE = "gate"
"""The slot of the report for the gate's decision, which is made after the report."""
FIRST = "first comparison"
"""The slot of the report for the first comparison, which a run on one machine makes after the model."""


def slot(name: str, content: str) -> str:
    """A place in a page that a later step may fill (`filled`), with what it says until then."""
    return f"<!-- {name} -->{content}<!-- end of {name} -->"


def filled(page: str, name: str, content: str) -> str:
    """`page` with `content` in its slot; unchanged if it has none."""
    before, start, rest = page.partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    return f"{before}{start}{content}{end}{after}" if start and end else page
