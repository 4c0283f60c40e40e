"""A KFP API server on loopback for tests: the v2beta1 routes that submitting and scheduling need, with state.

Every request is checked as strictly as KFP's own published parts allow: bodies by the models of kfp_server_api (no
field that a model lacks, enumerations, required fields), specifications by the protobuf messages of kfp-pipeline-spec,
arguments by the parameter definitions of the specification. Its scheduler does what KFP's source says: an enabled
recurring run starts, late if need be, the latest tick since its creation or its last start.
"""

from __future__ import annotations

import email
import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

LISTS = {"experiments", "runs", "recurringruns", "pipelines", "versions"}
KINDS: dict[str, tuple[type, ...]] = {
    "STRING": (str,), "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": (bool,),
    "LIST": (list,), "STRUCT": (dict,),
}  # fmt: skip


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Moved(Refused):
    """A redirect; its message is the place."""


def checked_model(body: Any, name: str) -> Any:
    """`body` as the published model `name`; refuses, as the gateway does, fields that it lacks."""
    model = getattr(kfp_server_api, name)
    known = {model.attribute_map[attribute]: kind for attribute, kind in model.openapi_types.items()}
    if not isinstance(body, dict):
        raise Refused(400, f"{name} is not an object")
    for key, value in body.items():
        if key not in known:
            raise Refused(400, f'unknown field "{key}" in {name}')
        kind = known[key]
        if (
            value is not None
            and hasattr(kfp_server_api, kind)
            and hasattr(getattr(kfp_server_api, kind), "openapi_types")
        ):
            checked_model(value, kind) if getattr(kfp_server_api, kind).openapi_types else None
        allowed = getattr(getattr(kfp_server_api, kind, None), "allowable_values", None)
        if allowed and value not in allowed:
            raise Refused(400, f'"{value}" is no {kind}')
        if kind == "str" and not isinstance(value, str):
            raise Refused(400, f"{key} is not a string")
        if kind == "bool" and not isinstance(value, bool):
            raise Refused(400, f"{key} is not a boolean")

    class Answer:
        data = json.dumps(body)

    return kfp_server_api.ApiClient().deserialize(Answer, name)


def checked_specification(specification: Any, parameters: dict[str, Any]) -> None:
    """The pipeline is what the protobuf messages allow, and it can take the parameters."""
    pipeline = specification.get("pipeline_spec", specification)
    try:
        parsed = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(specification.get("platform_spec", {}), pipeline_spec_pb2.PlatformSpec())
    except json_format.ParseError as error:
        raise Refused(400, f"invalid pipeline spec: {error}") from None
    if not parsed.pipeline_info.name:
        raise Refused(400, "pipeline spec has no name")
    defined = pipeline["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in parameters.items():
        if name not in defined:
            raise Refused(400, f"parameter {name} is not an input of the pipeline")
        kind = defined[name]["parameterType"]
        if not isinstance(value, KINDS[kind]) or (kind.startswith("NUMBER") and isinstance(value, bool)):
            raise Refused(400, f"input parameter {name} requires type {kind}, but the parameter value is not of it")
    for name, definition in defined.items():
        if name not in parameters and "defaultValue" not in definition:
            raise Refused(400, f"parameter {name} is missing")


def ticks_of(cron: str, after: datetime, until: datetime) -> list[datetime]:
    """The slow way: every minute is looked at. Fields are stars and numbers; seconds are 0."""
    second, *fields = cron.split()
    assert second == "0", "tests keep to whole minutes"
    minute = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    found = []
    while minute <= until:
        here = (minute.minute, minute.hour, minute.day, minute.month, (minute.weekday() + 1) % 7)
        if all(text == "*" or int(text) == value for text, value in zip(fields, here, strict=True)):
            found.append(minute)
        minute += timedelta(minutes=1)
    return found


@dataclass
class KfpServer:
    """`hook(method, path)` is called before a request is answered: it may wait, or raise Refused. Where `loses` says so
    the request is done and its answer lost."""

    multi_user: bool = False
    token: str = ""
    orphans: bool = True
    """Whether it knows propagation_policy (KFP >= 2.16)."""
    hook: Callable[[str, str], None] = lambda method, path: None
    loses: Callable[[str, str], bool] = lambda method, path: False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    tls: ssl.SSLContext | None = None
    raw: bytes | None = None
    """Answered to everything, where set: a login page."""
    things: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in LISTS})
    requests: list[tuple[str, str]] = field(default_factory=list)
    started: list[tuple[str, datetime]] = field(default_factory=list)
    """(name of the schedule, tick) of each run that the scheduler started."""
    killed: list[str] = field(default_factory=list)
    _last: dict[str, datetime] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __enter__(self) -> KfpServer:
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.endpoint = f"http{'s' if self.tls else ''}://127.0.0.1:{self._http.server_port}"
        if self.tls:
            self._http.socket = self.tls.wrap_socket(self._http.socket, server_side=True)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    # What a test asks

    def all(self, kind: str) -> list[dict[str, Any]]:
        with self._lock:
            return list(self.things[kind].values())

    def schedule(self) -> None:
        """What KFP's scheduler does when it looks at all recurring runs now."""
        with self._lock:
            for run in self.things["recurringruns"].values():
                base = self._last.get(run["recurring_run_id"]) or datetime.fromisoformat(run["created_at"])
                due = ticks_of(run["trigger"]["cron_schedule"]["cron"], base, self.clock())
                busy = any(
                    r.get("recurring_run_id") == run["recurring_run_id"] and r["state"] == "RUNNING"
                    for r in self.things["runs"].values()
                )
                if run["status"] == "ENABLED" and due and not (busy and run["max_concurrency"] == "1"):
                    for tick in due[-1:] if run["no_catchup"] else due[:1]:
                        self._last[run["recurring_run_id"]] = tick
                        self.started.append((run["display_name"], tick))
                        body = {"experiment_id": run["experiment_id"], "display_name": run["display_name"]}
                        self._add("runs", "run_id", {**body, "recurring_run_id": run["recurring_run_id"]}, "RUNNING")

    def end_runs(self, state: str = "SUCCEEDED") -> None:
        with self._lock:
            for run in self.things["runs"].values():
                run["state"] = state

    # Routes

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        parts = path.removeprefix("/apis/v2beta1/").split("/")
        kind, _, verb = parts[0].partition(":")
        if path == "/apis/v2beta1/healthz":
            return {"multi_user": self.multi_user}
        if len(parts) == 2 and parts[0] == "pipelines" and parts[1] in ("upload", "upload_version"):
            return self._upload(parts[1], query, body)
        if len(parts) == 3 and parts[2] == "versions" and method == "GET":
            self._one("pipelines", parts[1])
            wanted = {**query, "pipeline_id": parts[1]}
            return {"pipeline_versions": self._listed("versions", wanted)}
        if kind not in LISTS - {"versions"}:
            raise Refused(404, "Not Found")
        if len(parts) == 1 and method == "GET":
            name = "recurringRuns" if kind == "recurringruns" else kind
            return {name: self._listed(kind, query)} if self._listed(kind, query) else {}
        if len(parts) == 1 and method == "POST":
            return self._created(kind, body)
        identifier, _, verb = parts[1].partition(":")
        return self._changed(method, kind, identifier, verb, query)

    def _created(self, kind: str, body: Any) -> Any:
        if kind == "experiments":
            checked_model(body, "V2beta1Experiment")
            self._check_namespace(body.get("namespace"))
            if not body.get("display_name"):
                raise Refused(400, "experiment name is empty")
            return self._add(kind, "experiment_id", body)
        if kind == "runs":
            model = checked_model(body, "V2beta1Run")
        elif kind == "recurringruns":
            model = checked_model(body, "V2beta1RecurringRun")
            if model.mode not in ("ENABLE", "DISABLE") or not 1 <= int(model.max_concurrency or 0) <= 10:
                raise Refused(400, "mode or max_concurrency is out of range")
            if len(model.trigger.cron_schedule.cron.split()) not in (5, 6):
                raise Refused(400, "cron expression has the wrong number of fields")
        else:
            raise Refused(405, "Method Not Allowed")
        self._one("experiments", model.experiment_id)
        checked_specification(body["pipeline_spec"], body.get("runtime_config", {}).get("parameters", {}))
        if kind == "runs":
            return self._add(kind, "run_id", body, "PENDING")
        status = "ENABLED" if model.mode == "ENABLE" else "DISABLED"
        return self._add(kind, "recurring_run_id", {"no_catchup": False, **body, "status": status})

    def _changed(self, method: str, kind: str, identifier: str, verb: str, query: dict[str, str]) -> Any:
        thing = self._one(kind, identifier)
        if method == "GET" and not verb:
            return thing
        if kind == "recurringruns" and method == "POST" and verb in ("enable", "disable"):
            thing["status"] = f"{verb.upper()}D"
            return {}
        if kind == "recurringruns" and method == "DELETE":
            policy = query.get("propagation_policy", "")
            if self.orphans and policy not in ("", *kfp_server_api.V2beta1DeletePropagationPolicy.allowable_values):
                raise Refused(400, "no such propagation policy")
            if not (self.orphans and policy == "ORPHAN"):
                for run in self.things["runs"].values():
                    if run.get("recurring_run_id") == identifier and run["state"] == "RUNNING":
                        self.killed.append(run["run_id"])
            del self.things[kind][identifier]
            return {}
        raise Refused(405, "Method Not Allowed")

    def _upload(self, verb: str, query: dict[str, str], body: bytes) -> Any:
        documents = [document for document in yaml.safe_load_all(body) if document]
        specification = (
            {"pipeline_spec": documents[0], "platform_spec": documents[1]} if documents[1:] else documents[0]
        )
        checked_specification(specification, {})
        name = query["name"]
        if verb == "upload":
            if any(pipeline["display_name"] == name for pipeline in self.things["pipelines"].values()):
                raise Refused(409, "The pipeline already exists")
            pipeline = self._add("pipelines", "pipeline_id", {"display_name": name, "name": name})
        else:
            pipeline = self._one("pipelines", query["pipelineid"])
        version = {"display_name": name, "pipeline_id": pipeline["pipeline_id"], "pipeline_spec": specification}
        if any(
            v["display_name"] == name and v["pipeline_id"] == pipeline["pipeline_id"]
            for v in self.things["versions"].values()
        ):
            raise Refused(409, "The version already exists")
        made = self._add("versions", "pipeline_version_id", version)
        return pipeline if verb == "upload" else made

    def _listed(self, kind: str, query: dict[str, str]) -> list[dict[str, Any]]:
        unknown = set(query) - {
            "page_token", "page_size", "sort_by", "namespace", "filter", "experiment_id", "pipeline_id",
        }  # fmt: skip
        if unknown:
            raise Refused(400, f"unknown query {unknown}")
        if self.multi_user and kind in ("experiments", "recurringruns"):
            self._check_namespace(query.get("namespace"))
        rules = json.loads(query["filter"])["predicates"] if query.get("filter") else []
        for rule in rules:
            checked_model({k: v for k, v in rule.items() if k in ("operation", "key")} | {"operation": "EQUALS"},
                          "V2beta1Predicate")  # fmt: skip
            assert rule["operation"] == 1, "tests know EQUALS"
        found = [
            thing
            for thing in self.things[kind].values()
            if all(thing.get(rule["key"]) == rule["stringValue"] for rule in rules)
            and all(thing.get(key) == query[key] for key in ("experiment_id", "pipeline_id") if query.get(key))
        ]
        return found[::-1] if query.get("sort_by") == "created_at desc" else found

    def _check_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refused(400, "namespace is empty")

    def _one(self, kind: str, identifier: str | None) -> dict[str, Any]:
        if identifier not in self.things[kind]:
            raise Refused(404, f"{kind} {identifier} not found")
        return self.things[kind][identifier]

    def _add(self, kind: str, key: str, body: dict[str, Any], state: str = "") -> dict[str, Any]:
        identifier = str(uuid.uuid4())
        made = {**body, key: identifier, "created_at": self.clock().isoformat()}
        if state:
            made["state"] = state
        self.things[kind][identifier] = made
        return made


class _Handler(BaseHTTPRequestHandler):
    server_state: KfpServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        state, url = self.server_state, urlparse(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        try:
            state.hook(self.command, url.path)
            if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                raise Refused(401, "Request header error: there is no user identity header")
            with state._lock:
                state.requests.append((self.command, url.path))
                status, answer = 200, state.answer(self.command, url.path, query, self._body(body))
        except Moved as moved:
            self.send_response(moved.status)
            self.send_header("Location", moved.message)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        except Refused as refused:
            status, answer = refused.status, {"code": 3, "message": refused.message, "details": []}
        if state.loses(self.command, url.path):
            self.close_connection = True
            return
        data = state.raw if state.raw is not None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if state.raw is None else "text/html")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _handle

    def _body(self, data: bytes) -> Any:
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + data)
            (part,) = [p for p in message.walk() if re.search('name="uploadfile"', p.get("Content-Disposition", ""))]
            return part.get_payload(decode=True)
        return json.loads(data) if data else None
