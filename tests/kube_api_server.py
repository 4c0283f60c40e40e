"""A Kubernetes API on loopback for tests: answers the paths that questions about a cluster ask, as the API does.

What it holds is set by the test; lists come in pages, absent things are 404, what is in `forbidden` is 403, access
reviews are answered from `allowed`. Whatever is asked that is not in the API's own discovery shape is a 404 as well.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse


def gpu_node(name: str, gpus: int, images: tuple[str, ...] = (), ready: str = "True", **spec: Any) -> dict[str, Any]:
    """A node as the API shows it: quantities are text."""
    allocatable = {"cpu": "96", "memory": "1056Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]
    status = {"allocatable": allocatable, "images": [{"names": list(images)}], "conditions": conditions}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


def gpu_pod(node: str, gpus: int) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus)}
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": node, "containers": [{"resources": {"limits": limits}}, {}]},
    }


@dataclass
class KubeServer:
    version: str = "v1.33.1"
    served: dict[str, list[str]] = field(default_factory=lambda: {"kubeflow.org/v1": ["pytorchjobs"]})
    nodes: list[dict[str, Any]] = field(default_factory=list)
    pods: list[dict[str, Any]] = field(default_factory=list)
    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Other objects, by path."""
    forbidden: set[str] = field(default_factory=set)
    refused: set[tuple[str, str]] = field(default_factory=set)
    """(verb, resource) that an access review denies."""
    creation: tuple[int, Any] = (201, {})
    """The answer to a job that is created in a dry run."""
    created: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Path -> status and bytes that are no answer of an API server."""
    delay_s: float = 0.0
    token: str = "kube-token-word"
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> KubeServer:
        handler = type("Handler", (_Handler,), {"state": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, path: Path) -> Path:
        """A file that leads here, as `kubectl config view` shows it (JSON is YAML)."""
        values = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.address}}],
            "users": [{"name": "me", "user": {"token": self.token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }  # fmt: skip
        path.write_text(json.dumps(values))
        return path

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        self.asked.append(path)
        if path in self.forbidden:
            return 403, status(403, "Forbidden")
        if path == "/version":
            return 200, {"gitVersion": self.version}
        if path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" and method == "POST":
            asked = body["spec"]["resourceAttributes"]
            assert body["kind"] == "SelfSubjectAccessReview"
            allowed = (asked["verb"], asked["resource"]) not in self.refused
            return 201, {**body, "status": {"allowed": allowed}}
        if path.endswith(("/pytorchjobs", "/trainjobs")) and method == "POST":
            assert query == {"dryRun": "All", "fieldValidation": "Strict"}, "nothing else is created here"
            self.created.append(body)
            return self.creation
        if path.removeprefix("/apis/") in self.served:
            names = self.served[path.removeprefix("/apis/")]
            return 200, {"kind": "APIResourceList", "resources": [{"name": name} for name in names]}
        lists = {"/api/v1/nodes": self.nodes, "/api/v1/pods": self.pods}
        if path in lists:
            return 200, paged(lists[path], query)
        return (200, self.things[path]) if path in self.things else (404, status(404, "NotFound"))


def paged(items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """Two at a time, whatever was asked for: an API server may give fewer than the limit."""
    start = int(query.get("continue", "0"))
    more = {"continue": str(start + 2)} if start + 2 < len(items) else {}
    return {"kind": "List", "metadata": more, "items": items[start : start + 2]}


def status(code: int, reason: str, message: str = "") -> dict[str, Any]:
    words = {"reason": reason, "message": message or reason}
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, **words}


class _Handler(BaseHTTPRequestHandler):
    state: KubeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: else each answer waits 40 ms for an ACK

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlparse(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        time.sleep(self.state.delay_s)
        if self.headers.get("Authorization") != f"Bearer {self.state.token}":
            code, answer = 401, status(401, "Unauthorized")
        else:
            code, answer = self.state.answer(self.command, url.path, query, json.loads(body) if body else None)
        data = json.dumps(answer).encode()
        if url.path in self.state.answers:
            code, data = self.state.answers[url.path]
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _handle
