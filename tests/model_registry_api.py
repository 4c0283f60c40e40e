"""A server with the part of Kubeflow Model Registry's REST API that clients use to register models.

It checks every request against the API's published description (kubeflow/model-registry,
api/openapi/model-registry.yaml): paths, methods, query parameters, and the body, field by field. The schemas are
written by hand from that description; fields that it does not know are errors. It keeps what it was told, in memory. A
test can let it fail at the n-th writing request, before or after it did what was asked.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import jsonschema

ID = {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"}
TEXT = {"type": ["string", "null"]}
VALUE = {
    "oneOf": [
        {
            "type": "object",
            "required": ["metadataType", f"{kind}_value"],
            "properties": {"metadataType": {"const": f"Metadata{kind.capitalize()}Value"}, f"{kind}_value": rule},
            "additionalProperties": False,
        }
        for kind, rule in {
            "string": {"type": "string"},
            "int": {"type": "string", "pattern": "^-?([1-9][0-9]{0,8}|0)$"},
            "double": {"type": "number"},
            "bool": {"type": "boolean"},
        }.items()
    ]
}
RESOURCE = {
    "customProperties": {"type": "object", "additionalProperties": VALUE},
    "description": TEXT,
    "externalId": TEXT,
}
NAMED = {"name": {"type": "string", "minLength": 1}}
LIFE = {"state": {"enum": ["LIVE", "ARCHIVED"]}}
MODEL = {
    **RESOURCE, **LIFE, "owner": TEXT, "readme": TEXT, "maturity": TEXT, "provider": TEXT, "logo": TEXT,
    "license": TEXT, "licenseLink": TEXT, "libraryName": TEXT,
    "language": {"type": "array", "items": {"type": "string"}}, "tasks": {"type": "array", "items": {"type": "string"}},
}  # fmt: skip
VERSION = {**RESOURCE, **LIFE, "author": TEXT}
ARTIFACT = {
    **RESOURCE,
    **NAMED,
    "artifactType": {"const": "model-artifact"},
    "uri": {"type": "string", "minLength": 1},
    "state": {
        "enum": ["UNKNOWN", "PENDING", "LIVE", "MARKED_FOR_DELETION", "DELETED", "ABANDONED", "REFERENCE"],
    },
    **dict.fromkeys(
        (
            *("modelFormatName", "modelFormatVersion", "storageKey", "storagePath", "serviceAccountName"),
            *("modelSourceKind", "modelSourceClass", "modelSourceGroup", "modelSourceId", "modelSourceName"),
        ),
        TEXT,
    ),
}


def _body(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


ROOT = r"/api/model_registry/v1(?:alpha3)?"
WRITES = {
    ("POST", "registered_models"): _body({**MODEL, **NAMED}, "name"),
    ("PATCH", "registered_models/N"): _body(MODEL),
    ("POST", "model_versions"): _body({**VERSION, **NAMED, "registeredModelId": ID}, "name", "registeredModelId"),
    ("PATCH", "model_versions/N"): _body(VERSION),
    ("POST", "model_versions/N/artifacts"): _body(ARTIFACT, "artifactType"),
}
PAGING = {"pageSize", "orderBy", "sortOrder", "nextPageToken", "filterQuery"}
READS = {
    "registered_model": {"name", "externalId"},
    "registered_models": PAGING,
    "registered_models/N": set[str](),
    "registered_models/N/versions": PAGING | {"name", "externalId"},
    "model_version": {"name", "externalId", "parentResourceId"},
    "model_versions/N": set[str](),
    "model_versions/N/artifacts": PAGING | {"name", "externalId", "artifactType"},
}


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ModelRegistryServer:
    """`requests`: the method and path of each; `refused`: those that did not follow the description."""

    def __init__(self, token: str = "") -> None:
        self.token = token
        self.models: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.refused: list[str] = []
        self.fail_at, self.fail_after, self.fail_with = 0, False, 503
        self.page_size = 0
        self._ids, self._writes = itertools.count(1), 0
        self._lock = threading.Lock()

    def failing(self, at: int, after: bool = False, status: int = 503) -> None:
        """Let the `at`-th writing request from now fail, before or `after` it did what was asked."""
        self.fail_at, self.fail_after, self.fail_with, self._writes = at, after, status, 0

    def answer(self, method: str, target: str, body: bytes, token: str) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.requests.append(f"{method} {target}")
            try:
                return self._answer(method, target, body, token)
            except Refused as error:
                if error.status in (400, 405):
                    self.refused.append(f"{method} {target}: {error}")
                return error.status, {"code": str(error.status), "message": str(error)}

    def _answer(self, method: str, target: str, body: bytes, token: str) -> tuple[int, dict[str, Any]]:
        if self.token and token != f"Bearer {self.token}":
            raise Refused(401, "unauthorized")
        parsed = urlparse(target)
        found = re.fullmatch(f"{ROOT}/(.+)", parsed.path)
        if found is None:
            raise Refused(404, "no such path")
        numbers = re.findall(r"/(\d+)", found[1])
        path = re.sub(r"/\d+", "/N", found[1])
        query = {name: values[0] for name, values in parse_qs(parsed.query).items()}
        if method == "GET":
            if path not in READS or query.keys() - READS[path]:
                raise Refused(400, f"no such request: {path} {sorted(query)}")
            return 200, self._read(path, numbers[0] if numbers else "", query)
        if (method, path) not in WRITES:
            raise Refused(405, f"no such request: {method} {path}")
        try:
            value = json.loads(body)
            jsonschema.validate(value, WRITES[method, path])
        except (ValueError, jsonschema.ValidationError) as error:
            raise Refused(400, str(error).splitlines()[0]) from None
        self._writes += 1
        if self._writes == self.fail_at and not self.fail_after:
            raise Refused(self.fail_with, "failed before")
        done = self._write(method, path, numbers[0] if numbers else "", value)
        if self._writes == self.fail_at:
            raise Refused(self.fail_with, "failed after")
        return 201 if method == "POST" else 200, done

    def _read(self, path: str, number: str, query: dict[str, str]) -> dict[str, Any]:
        if path == "registered_model":
            return self._one(self.models, name=query.get("name"))
        if path == "model_version":
            return self._one(self.versions, name=query.get("name"), registeredModelId=query.get("parentResourceId"))
        if path in ("registered_models/N", "model_versions/N"):
            return self._one(self.models if path[0] == "r" else self.versions, id=number)
        if path == "registered_models":
            return self._page(list(self.models.values()), query)
        if path == "registered_models/N/versions":
            return self._page([each for each in self.versions.values() if each["registeredModelId"] == number], query)
        return self._page([each for each in self.artifacts.values() if each["version"] == number], query)

    def _write(self, method: str, path: str, number: str, value: dict[str, Any]) -> dict[str, Any]:
        value = {key: each for key, each in value.items() if each is not None}
        if method == "PATCH":
            one = self._one(self.models if path.startswith("registered") else self.versions, id=number)
            one |= value
            return one
        if path == "registered_models":
            kept, same = self.models, [each["name"] for each in self.models.values()]
        elif path == "model_versions":
            self._one(self.models, id=value["registeredModelId"])
            siblings = [e for e in self.versions.values() if e["registeredModelId"] == value["registeredModelId"]]
            kept, same = self.versions, [each["name"] for each in siblings]
        else:
            self._one(self.versions, id=number)
            value["version"] = number
            kept, same = self.artifacts, [each["name"] for each in self.artifacts.values()]
        if value["name"] in same:
            raise Refused(409, "already exists")
        made = {"state": "LIVE", **value, "id": str(next(self._ids)), "createTimeSinceEpoch": "1"}
        kept[made["id"]] = made
        return made

    def _one(self, of: dict[str, dict[str, Any]], **wanted: str | None) -> dict[str, Any]:
        for each in of.values():
            if all(each.get(name) == value for name, value in wanted.items()):
                return each
        raise Refused(404, "not found")

    def _page(self, items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        size = self.page_size or int(query.get("pageSize", 100))
        start = int(query.get("nextPageToken") or 0)
        shown = items[start : start + size]
        token = str(start + size) if start + size < len(items) else ""
        return {"items": shown, "size": len(shown), "pageSize": size, "nextPageToken": token}


@contextlib.contextmanager
def model_registry_server(token: str = "") -> Iterator[tuple[ModelRegistryServer, str]]:
    """Yield the server and its address."""
    api = ModelRegistryServer(token)

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, value = api.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
            sent = {key: each for key, each in value.items() if key != "version"}
            if "items" in sent:
                sent["items"] = [{k: v for k, v in each.items() if k != "version"} for each in sent["items"]]
            data = json.dumps(sent).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _handle

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
