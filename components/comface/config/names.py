"""Names and other words that people give, as fields of the configuration; and how any word is shown elsewhere.

In: text from a configuration, a table, a file's name. Out: types that refuse what would be a path, a command, a formula
or a terminal code further on; and text that is safe on a terminal, in a CSV cell and in Markdown.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

LONGEST_NAME = 63
"""Of a DNS label, so that a name can become part of a job's, a folder's or a label's."""
LONGEST_PLACE = 1024
LONGEST_PART_BYTES = 255
"""Of one part of a path, on every file system."""
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


def _name(text: str) -> str:
    if not re.fullmatch(rf"[a-z0-9][a-z0-9_-]{{0,{LONGEST_NAME - 1}}}", text):
        raise ValueError(
            f"{quoted(text)} is not a name; use lowercase letters, digits, '-' and '_', at most {LONGEST_NAME}, and "
            "begin with a letter or a digit"
        )
    return text


def _name_if_any(text: str) -> str:
    return _name(text) if text else text


def _model_name(text: str) -> str:
    if "_" in text:
        raise ValueError(f"{quoted(text)} is not a model's name; use '-' instead of '_'")
    return _name(text)


def _attribute(text: str) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}", text):
        raise ValueError(
            f"{quoted(text)} cannot be part of a key; use letters, digits, '_' and '-', at most {LONGEST_NAME} of them"
        )
    return text


def _word(text: str) -> str:
    """Printable text of one line; empty where the field may be empty."""
    if len(text) > 2 * LONGEST_NAME or not text.isprintable() or text != text.strip():
        raise ValueError(
            f"{quoted(text)} is not a word to print; use at most {2 * LONGEST_NAME} printable characters, without "
            "spaces at the ends"
        )
    return text


def _label(text: str) -> str:
    """In lower case: the columns of a table count without case."""
    if "/" in text or "\\" in text:
        raise ValueError(f"{quoted(text)} is not a label; a label has no '/' and no '\\'")
    return _word(text).casefold()


def _resource(text: str) -> str:
    """The name of something in a cluster, or of an image."""
    if not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._:/@-]{0,252})?", text):
        raise ValueError(f"{quoted(text)} is not a name that Kubernetes or a registry knows; see docs/launcher.md")
    return text


def _place(text: str) -> str:
    """A path, file:///path or s3://bucket/prefix. A user before an '@' is not repeated: it may be a secret."""
    parts = (len(part.encode(errors="replace")) for part in text.split("/"))
    if len(text) > LONGEST_PLACE or not text.isprintable() or max(parts) > LONGEST_PART_BYTES:
        raise ValueError(f"{quoted(text)} is not a place; give file:///absolute/path, s3://bucket/prefix or a path")
    scheme = re.match("[A-Za-z][A-Za-z0-9+.-]*:", text)
    if scheme and not re.match(r"file:(//(localhost)?)?/(?!/)|file:/+$|s3://[^/]", text):
        told = "the place given" if "@" in text else quoted(text)
        raise ValueError(
            f"{told} is neither file:///absolute/path nor s3://bucket/prefix; give one of these, or a path"
        )
    return text


Name = Annotated[str, AfterValidator(_name)]
NameIfAny = Annotated[str, AfterValidator(_name_if_any)]
ModelName = Annotated[str, AfterValidator(_model_name)]
Attribute = Annotated[str, AfterValidator(_attribute)]
Word = Annotated[str, AfterValidator(_word)]
Label = Annotated[str, AfterValidator(_label)]
Resource = Annotated[str, AfterValidator(_resource)]
Place = Annotated[str, AfterValidator(_place)]


def printable(text: str) -> str:
    """`text` with every character that a terminal would obey, or not show, as its escape (\\x1b, \\n, \\u202e)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str, longest: int = 60) -> str:
    """A word that somebody gave, in a sentence: in quotes, printable, shortened."""
    return f"'{printable(text[:longest])}{'…' if len(text) > longest else ''}'"


def csv_cell(text: str) -> str:
    """Text that a spreadsheet shows instead of running it: a formula gets an apostrophe before it."""
    text = printable(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(text) else text


def markdown_cell(text: object) -> str:
    """Text in Markdown that stays text: no HTML, no new cell, no new line."""
    return html.escape(printable(str(text)), quote=False).replace("|", "\\|").replace("`", "\\`")


def place_uri(place: str) -> str:
    """A plain path as a file:// URI; anything else (a URI, what looks like one, nothing) as it is."""
    if not place.strip() or re.match("[A-Za-z][A-Za-z0-9+.-]*:", place) or "@" in place.partition("/")[0]:
        return place
    return Path(os.path.abspath(Path(place).expanduser())).as_uri()
