"""A small HTTP server that behaves like the Kubernetes API: what the tests of the launcher and of doctor talk to.

Stateful: objects with uid and resourceVersion, watches from a version on (410 when that is too old), conflicts (409) on
names, preconditions and stale patches, label and field selectors, lists in pages, pods' logs with `follow`, discovery,
access reviews, dry runs, and faults on demand: any status, any bytes, slow answers, cut connections, and a whole
restart on the same port. All namespaces hold the same objects. (kmock 0.8 has no resourceVersion, 410, selectors,
preconditions or logs.)
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PLURALS = {
    "pytorchjobs": "kubeflow.org/v1", "trainjobs": "trainer.kubeflow.org/v1alpha1", "pods": "v1", "events": "v1",
    "nodes": "v1", "localqueues": "kueue.x-k8s.io/v1beta2",
}  # fmt: skip
PATH = re.compile(r"/(?:api|apis)/(?P<version>.+?)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
                  r"(?:/(?P<name>[^/]+))?(?P<log>/log)?")  # fmt: skip
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
PAGE = 2
"""Items in a page of a list, whatever limit was asked for: an API server may give fewer."""


@dataclass
class Fault:
    """What happens to the next `times` requests that match, instead of an answer (or before one, for `slow_s`)."""

    match: str
    """Regular expression over "VERB /path?query"."""
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    slow_s: float = 0.0
    cut: bool = False
    """The connection is closed without an answer; `after` does the work first, as when an answer is lost."""
    after: bool = False
    body: bytes | None = None


class Cluster:
    """The state, shared by all requests; `changed` is notified of everything."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: list[tuple[int, str, str, dict[str, Any]]] = []
        self.version = 100
        self.oldest = 0
        self.logs: dict[str, list[str]] = {}
        self.log_cuts: dict[str, int] = {}
        self.logs_read = 0
        """Streams of logs that were read to the log's end."""
        self.ended: set[str] = set()
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.kinds = set(PLURALS) - {"localqueues"}
        """Which of them are served; Kueue is not in every cluster."""
        self.things: dict[str, dict[str, Any]] = {}
        """Further objects and lists, by path."""
        self.release = "v1.33.1"
        self.token = ""
        """What every request has to bear; empty: nothing."""
        self.forbidden: set[str] = set()
        """"VERB plural"."""
        self.denied: set[tuple[str, str]] = set()
        """(verb, plural) that an access review denies."""
        self.dry_runs: list[dict[str, Any]] = []
        self.finalizers = False
        self.operator: Callable[[dict[str, Any]], None] | None = None

    # What a test, or the operator it plays, does

    def put(self, plural: str, value: dict[str, Any], kind: str = "MODIFIED") -> dict[str, Any]:
        with self.changed:
            self.version += 1
            value = json.loads(json.dumps(value))
            value["metadata"]["resourceVersion"] = str(self.version)
            self.objects[plural, value["metadata"]["name"]] = value
            self.events.append((self.version, kind, plural, value))
            self.changed.notify_all()
            return value

    def get(self, plural: str, name: str) -> dict[str, Any] | None:
        with self.changed:
            return self.objects.get((plural, name))

    def remove(self, plural: str, name: str) -> None:
        with self.changed:
            value = self.objects.pop((plural, name), None)
            if value is not None:
                self.version += 1
                self.events.append((self.version, "DELETED", plural, value))
                if plural in ("pytorchjobs", "trainjobs"):
                    for pod in [n for p, n in self.objects if p == "pods" and n.startswith(name)]:
                        self.remove("pods", pod)
                self.changed.notify_all()

    def log(self, pod: str, *lines: str) -> None:
        with self.changed:
            for line in lines:
                stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
                self.logs.setdefault(pod, []).append(f"{stamp} {line}")
            self.changed.notify_all()

    def end_log(self, pod: str) -> None:
        with self.changed:
            self.ended.add(pod)
            self.changed.notify_all()

    def forget_history(self) -> None:
        """As etcd's compaction: watches from before now get 410."""
        with self.changed:
            self.version += 1
            self.oldest = self.version

    def asked(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def wait(self, what: Callable[[], Any], longest_s: float = 10.0) -> Any:
        """What `what()` gives, once that is true."""
        with self.changed:
            assert self.changed.wait_for(what, longest_s), "nothing of that kind happened"
            return what()

    # What requests do

    def create(self, plural: str, value: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.changed:
            name = value["metadata"]["name"]
            if (plural, name) in self.objects:
                return refused(409, f'{plural} "{name}" already exists', "AlreadyExists")
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            value["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now, "generation": 1}
            made = self.put(plural, value, "ADDED")
        if self.operator is not None:
            threading.Thread(target=self.operator, args=(made,), daemon=True).start()
        return 201, made

    def patch(self, plural: str, name: str, change: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.changed:
            value = self.objects.get((plural, name))
            if value is None:
                return refused(404, f'{plural} "{name}" not found', "NotFound")
            version = change.get("metadata", {}).get("resourceVersion")
            if version and version != value["metadata"]["resourceVersion"]:
                return refused(409, "the object has been modified", "Conflict")
            return 200, self.put(plural, merged(value, change))

    def delete(self, plural: str, name: str, options: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.changed:
            value = self.objects.get((plural, name))
            if value is None:
                return refused(404, f'{plural} "{name}" not found', "NotFound")
            if (uid := options.get("preconditions", {}).get("uid")) and uid != value["metadata"]["uid"]:
                return refused(409, "the UID in the precondition is another", "Conflict")
            if self.finalizers:
                self.put(plural, merged(value, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))
            else:
                self.remove(plural, name)
            return 200, {"kind": "Status", "status": "Success"}

    def chosen(self, plural: str, query: dict[str, str]) -> list[dict[str, Any]]:
        with self.changed:
            return [v for (p, _), v in sorted(self.objects.items()) if p == plural and matches(v, query)]


def merged(value: Any, change: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(value, dict) or not isinstance(change, dict):
        return change
    result = {**value, **{name: merged(value.get(name), each) for name, each in change.items()}}
    return {name: each for name, each in result.items() if each is not None}


def matches(value: dict[str, Any], query: dict[str, str]) -> bool:
    labels = value["metadata"].get("labels", {})
    known = {
        "type": value.get("type"),
        "metadata.name": value["metadata"].get("name"),
        "status.phase": (value.get("status") or {}).get("phase"),
    }
    return chosen_by(query.get("labelSelector", ""), labels) and chosen_by(query.get("fieldSelector", ""), known)


def chosen_by(selector: str, values: dict[str, Any]) -> bool:
    terms = (re.fullmatch(r"(.+?)(!?=)(.*)", term) for term in selector.split(",") if term)
    return all((values.get(term[1]) == term[3]) == (term[2] == "=") for term in terms if term)


def paged(items: list[dict[str, Any]], query: dict[str, str]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """A list's metadata and items."""
    if "limit" not in query:
        return {}, items
    start = int(query.get("continue", "0"))
    end = start + PAGE
    return {"continue": str(end)} if end < len(items) else {}, items[start:end]


def refused(status: int, message: str, reason: str = "") -> tuple[int, dict[str, Any]]:
    return status, {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": status}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: else each answer waits 40 ms for an ACK
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        cluster = self.server.cluster
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        with cluster.changed:
            cluster.requests.append(f"{self.command} {self.path}")
            fault = next(
                (f for f in cluster.faults if f.times and re.search(f.match, f"{self.command} {self.path}")), None
            )
            if fault is not None:
                fault.times -= 1
            cluster.changed.notify_all()
        if fault is not None:
            time.sleep(fault.slow_s)
            if fault.after:
                self._answer(body, silent=True)
            if fault.cut or fault.after:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            if fault.status:
                words = json.dumps(refused(fault.status, "a fault", "Fault")[1]).encode()
                self._send(fault.status, words if fault.body is None else fault.body, fault.headers)
                return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer(body)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def _answer(self, body: dict[str, Any], silent: bool = False) -> None:
        cluster, url = self.server.cluster, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        found = PATH.fullmatch(url.path)
        if cluster.token and self.headers.get("Authorization") != f"Bearer {cluster.token}":
            status, value = refused(401, "Unauthorized", "Unauthorized")
        elif found is not None and f"{self.command} {found['plural']}" in cluster.forbidden:
            status, value = refused(403, f'{found["plural"]} is forbidden: User "launcher" cannot do that', "Forbidden")
        elif (known := self._about_itself(url.path, body)) is not None:
            status, value = 200, known
        elif found is None or found["plural"] not in cluster.kinds or found["version"] != PLURALS[found["plural"]]:
            status, value = 404, {"message": "404 page not found"}
        elif found["log"]:
            self._log(found["name"], query)
            return
        elif query.get("watch") == "true":
            self._watch(found["plural"], query)
            return
        else:
            status, value = self._object(found["plural"], found["name"], query, body)
        if not silent:
            self._send(status, json.dumps(value).encode(), {})

    def _about_itself(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Release, what is served, what this account may do, and objects that are kept by path."""
        cluster = self.server.cluster
        if path == "/version":
            return {"gitVersion": cluster.release}
        if path == REVIEW:
            asked = body["spec"]["resourceAttributes"]
            return {**body, "status": {"allowed": (asked["verb"], asked["resource"]) not in cluster.denied}}
        served = [each for each in sorted(cluster.kinds) if path == f"/apis/{PLURALS[each]}"]
        if served:
            return {"kind": "APIResourceList", "resources": [{"name": each} for each in served]}
        return cluster.things.get(path)

    def _object(
        self, plural: str, name: str | None, query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        cluster = self.server.cluster
        if query.get("dryRun") == "All":
            assert (self.command, query["fieldValidation"]) == ("POST", "Strict")
            cluster.dry_runs.append(body)
            return 201, body
        if self.command == "POST":
            return cluster.create(plural, body)
        if self.command == "PATCH":
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            return cluster.patch(plural, name or "", body)
        if self.command == "DELETE":
            return cluster.delete(plural, name or "", body)
        if name is None:
            with cluster.changed:
                more, items = paged(cluster.chosen(plural, query), query)
                return 200, {"metadata": {"resourceVersion": str(cluster.version), **more}, "items": items}
        value = cluster.get(plural, name)
        return (200, value) if value is not None else refused(404, f'{plural} "{name}" not found', "NotFound")

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _chunks(self, parts: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            if part:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _watch(self, plural: str, query: dict[str, str]) -> None:
        cluster, since = self.server.cluster, int(query.get("resourceVersion") or 0)
        until = time.monotonic() + int(query.get("timeoutSeconds", "60"))

        def events() -> Iterator[bytes]:
            last = since
            if since < cluster.oldest:
                yield (
                    json.dumps(
                        {"type": "ERROR", "object": refused(410, "too old resource version", "Expired")[1]}
                    ).encode()
                    + b"\n"
                )
                return
            while time.monotonic() < until and self.server.alive:
                with cluster.changed:
                    new = [event for event in cluster.events if event[0] > last]
                    if not new:
                        cluster.changed.wait(0.05)
                for version, kind, where, value in new:
                    last = version
                    if where == plural and matches(value, query):
                        yield json.dumps({"type": kind, "object": value}).encode() + b"\n"

        self._chunks(events())

    def _log(self, pod: str, query: dict[str, str]) -> None:
        cluster = self.server.cluster
        if cluster.get("pods", pod) is None:
            self._send(404, json.dumps(refused(404, f'pods "{pod}" not found', "NotFound")[1]).encode(), {})
            return
        strip = query.get("timestamps") != "true"

        def shown(lines: list[str]) -> bytes:
            return "".join(f"{line.partition(' ')[2] if strip else line}\n" for line in lines).encode()

        def lines() -> Iterator[bytes]:
            with cluster.changed:
                key = f"{pod} before" if query.get("previous") == "true" else pod
                have = list(cluster.logs.get(key, []))
            tail = int(query.get("tailLines", "1000000"))
            yield shown(have[-tail:])
            done = len(have)
            while query.get("follow") == "true" and self.server.alive and pod not in cluster.ended:
                with cluster.changed:
                    new = cluster.logs.get(pod, [])[done:]
                    if not new:
                        cluster.changed.wait(0.05)
                done += len(new)
                yield shown(new)
                if new and cluster.log_cuts.get(pod, 0):
                    cluster.log_cuts[pod] -= 1
                    raise ConnectionResetError
            with cluster.changed:
                yield shown(cluster.logs.get(pod, [])[done:])
                cluster.logs_read += 1
                cluster.changed.notify_all()

        self._chunks(lines())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, cluster: Cluster) -> None:
        self.cluster, self.alive = cluster, True
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.open.add(connection)
        return connection, address

    def handle_error(self, *_: object) -> None:
        pass

    def stop(self) -> None:
        """Every connection is cut, as when the API server goes away."""
        self.alive = False
        self.shutdown()
        self.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class KubernetesApi:
    """A running server. `restart` keeps its state and its port."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self._start(0)

    def _start(self, port: int) -> None:
        self._server = Server(port, self.cluster)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path, namespace: str = "default") -> Path:
        """A file that leads here, as `kubectl config view` shows it (JSON is YAML)."""
        values = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": self.cluster.token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": namespace}}],
        }  # fmt: skip
        path.write_text(json.dumps(values))
        return path

    def stop(self) -> None:
        self._server.stop()

    def restart(self, away_s: float) -> None:
        self.stop()
        time.sleep(away_s)
        self._start(self.port)
