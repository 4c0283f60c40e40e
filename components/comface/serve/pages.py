"""The pages: files of the page for photos, and a description of the interface. Nothing is fetched from elsewhere."""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from comface.look import css

FILES = {
    "page.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "favicon.svg": "image/svg+xml",
}


@functools.cache
def asset(name: str) -> bytes:
    """The content of one of FILES; the style sheet begins with the visual language."""
    text = (files("comface.serve") / name).read_text(encoding="utf-8")
    return (css() + text if name.endswith(".css") else text).encode()


def api_page(openapi: Mapping[str, Any]) -> str:
    """The description of the interface as one page, from its OpenAPI document."""
    paths = "".join(
        _operation(path, verb, each) for path, verbs in openapi["paths"].items() for verb, each in verbs.items()
    )
    schemas = "".join(_schema(name, each) for name, each in sorted(openapi["components"]["schemas"].items()))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>ComFace: HTTP interface</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/page.css">'
        '<link rel="icon" href="/favicon.svg"></head><body class="api"><main><h1>HTTP interface</h1>'
        f"<p>{_text(openapi['info']['description'])} The same as a document: "
        '<a href="/openapi.json">/openapi.json</a>. The page for photos: <a href="/">/</a>.</p>'
        "<pre>curl -F photos=@before.jpg -F photos=@after.jpg http://localhost:8080/v1/compare</pre>"
        f"<h2>Requests</h2>{paths}<h2>Objects</h2>{schemas}</main></body></html>"
    )


def _operation(path: str, verb: str, operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    fields = "".join(
        _row(name, field)
        for content in body.values()
        for name, field in content["schema"].get("properties", {}).items()
    )
    table = f"<table>{_head('field', 'meaning')}{fields}</table>" if fields else ""
    sent = f"<p>Body: {', '.join(map(html.escape, body))}</p>" if body else ""
    responses = "".join(
        f"<tr><th scope=row>{code}</th><td>{_text(each['description'])}</td></tr>"
        for code, each in operation["responses"].items()
    )
    return (
        f"<section><h3><code>{verb.upper()} {html.escape(path)}</code></h3><p>{_text(operation['description'])}"
        f"</p>{sent}{table}"
        f"<table>{_head('status', 'meaning')}{responses}</table></section>"
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    rows = "".join(_row(field, each) for field, each in schema.get("properties", {}).items())
    said = schema.get("description", "")
    return (
        f"<section><h3 id=schema-{html.escape(name)}>{html.escape(name)}</h3><p>{_text(said)}</p>"
        f"<table>{_head('field', 'type and meaning')}{rows}</table></section>"
    )


def _text(said: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(said))


def _row(name: str, field: Mapping[str, Any]) -> str:
    said = ". ".join(filter(None, [" or ".join(dict.fromkeys(_types(field))), field.get("description", "")]))
    return f"<tr><th scope=row><code>{html.escape(name)}</code></th><td>{_text(said)}</td></tr>"


def _types(field: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2]
    for each in field.get("anyOf", ()):
        yield from _types(each)
    if "enum" in field:
        yield " or ".join(json.dumps(value) for value in field["enum"])
    elif field.get("type") == "array" and "items" in field:
        yield f"list of {' or '.join(_types(field['items']))}"
    elif "type" in field:
        yield field["type"]


def _head(*names: str) -> str:
    return f"<thead><tr>{''.join(f'<th scope=col>{name}</th>' for name in names)}</tr></thead>"
