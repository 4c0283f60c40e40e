"""Validation of names and other text in the configuration, and safe display of any text.

In: text from a configuration, a table or a file name. Out: field types that refuse text that could act as a path, a
command, a formula or a terminal code; and text that is safe on a terminal, in a CSV cell and in Markdown.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

LONGEST_NAME = 63
"""Limit of a DNS label, so that a name can be part of the name of a job, a folder or a label."""
LONGEST_PLACE = 1024
LONGEST_PART_BYTES = 255
"""Limit of one path component on common file systems."""
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
    """One line of printable text; may be empty."""
    if len(text) > 2 * LONGEST_NAME or not text.isprintable() or text != text.strip():
        raise ValueError(
            f"{quoted(text)} is not printable text; use at most {2 * LONGEST_NAME} printable characters, without "
            "leading or trailing spaces"
        )
    return text


def _label(text: str) -> str:
    """A label in lower case, because column names ignore case."""
    if "/" in text or "\\" in text:
        raise ValueError(f"{quoted(text)} is not a label; use no '/' and no '\\'")
    return _word(text).casefold()


def _resource(text: str) -> str:
    """The name of a Kubernetes resource or of a container image."""
    if not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._:/@-]{0,252})?", text):
        raise ValueError(f"{quoted(text)} is not a valid name for Kubernetes or an image; see docs/launcher.md")
    return text


def _place(text: str) -> str:
    """A path, file:///path or s3://bucket/prefix. Messages do not repeat text with an '@': it may contain a secret."""
    parts = (len(part.encode(errors="replace")) for part in text.split("/"))
    if len(text) > LONGEST_PLACE or not text.isprintable() or max(parts) > LONGEST_PART_BYTES:
        raise ValueError(f"{quoted(text)} is not a location; give file:///absolute/path, s3://bucket/prefix or a path")
    scheme = re.match("[A-Za-z][A-Za-z0-9+.-]*:", text)
    if scheme and not re.match(r"file:(//(localhost)?)?/(?!/)|file:/+$|s3://[^/]", text):
        told = "the given location" if "@" in text else quoted(text)
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
    """`text` with every control or non-printing character escaped (\\x1b, \\n, \\u202e)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str, longest: int = 60) -> str:
    """User text for a message: quoted, printable, shortened to `longest` characters."""
    return f"'{printable(text[:longest])}{'…' if len(text) > longest else ''}'"


def csv_cell(text: str) -> str:
    """Text that a spreadsheet shows instead of evaluating: a formula gets a leading apostrophe."""
    text = printable(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(text) else text


def markdown_cell(text: object) -> str:
    """Text escaped for a Markdown table cell: no HTML, no cell separator, no line break."""
    return html.escape(printable(str(text)), quote=False).replace("|", "\\|").replace("`", "\\`")


def place_uri(place: str) -> str:
    """A plain path as a file:// URI; any other text (a URI, text that looks like one, empty text) unchanged."""
    if not place.strip() or re.match("[A-Za-z][A-Za-z0-9+.-]*:", place) or "@" in place.partition("/")[0]:
        return place
    return Path(os.path.abspath(Path(place).expanduser())).as_uri()
