"""`comface doctor` against a Kubernetes API, a KFP and an S3 server on loopback: what it sees, says and ends with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kfp_api_server import KfpServer
from kubernetes_api import REVIEW, Cluster, Fault, KubernetesApi, refused
from moto_versioning import set_versioning

from comface.cli import main
from comface.cluster.client import NoAnswer, open_cluster
from comface.doctor import rows
from comface.doctor.kubernetes import cluster_checks
from comface.doctor.rows import Check, Row, answer, run_checks, table
from comface.errors import ConfigurationError, TryAgain
from comface.execution.container_image import IMAGE
from comface.launch.api import connect
from comface.plan.configuration import resolve
from comface.plan.gpus import check_gpus, check_gpus_of_pod

NAMESPACE = "/api/v1/namespaces/comface"
QUOTAS = f"{NAMESPACE}/resourcequotas"
OPERATOR = "/apis/apps/v1/namespaces/kubeflow/deployments/training-operator"
SECRET = "/api/v1/namespaces/comface/secrets/comface-store"
KFP_DEPLOYMENT = "/apis/apps/v1/namespaces/kubeflow/deployments/ml-pipeline"
DIGEST = f"registry.example/comface-python@sha256:{'a' * 64}"
PIPELINE = """
pipelineInfo: {name: small}
root: {}
deploymentSpec: {executors: {exec-a: {container: {image: "%s"}}, exec-b: {container: {image: "%s"}}}}
"""
GPUS = ("--set", "pretrain.nodes=2", "--set", "pretrain.gpus_per_node=8", "--set", "pretrain.pairs_per_step=48")


def gpu_node(name: str, gpus: int, images: tuple[str, ...] = (), ready: str = "True", **spec: Any) -> dict[str, Any]:
    """A node as the API shows it: quantities are text."""
    allocatable = {"cpu": "96", "memory": "1056Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]
    status = {"allocatable": allocatable, "images": [{"names": list(images)}], "conditions": conditions}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


def gpu_pod(node: str, gpus: int) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus)}
    spec = {"nodeName": node, "containers": [{"resources": {"limits": limits}}, {}]}
    return {"metadata": {"name": f"on-{node}"}, "spec": spec}


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "room"}, "spec": {"hard": hard, **spec}, "status": {"hard": hard, "used": used or {}}}


class Desk:
    """All that is asked, in good order; a test breaks one thing."""

    def __init__(self, kube: Cluster, kfp: KfpServer, pipeline: Path) -> None:
        self.kube, self.kfp, self.pipeline = kube, kfp, pipeline
        self.nodes(gpu_node("gpu-0", 8, (DIGEST,)), gpu_node("gpu-1", 8), gpu_node("cpu-0", 0))
        keys = dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "c2VjcmV0LXdvcmQ=")
        kube.things[SECRET] = {"data": keys}
        image = {"image": "ghcr.io/kubeflow/kfp-api-server:2.17.0"}
        kube.things[KFP_DEPLOYMENT] = {"spec": {"template": {"spec": {"containers": [image]}}}}
        kube.things[NAMESPACE] = {"metadata": {"name": "comface"}, "status": {"phase": "Active"}}
        kube.things[OPERATOR] = {"status": {"availableReplicas": 1}}
        kube.things[QUOTAS] = {"items": [quota({"requests.nvidia.com/gpu": "48", "pods": "600"}, {"pods": "3"})]}
        self.named(DIGEST)

    def nodes(self, *nodes: dict[str, Any]) -> None:
        """They are there, or changed."""
        for node in nodes:
            self.kube.put("nodes", node)

    def answers(self, request: str, code: int, data: bytes) -> None:
        """These bytes, whenever it is asked that."""
        self.kube.faults.append(Fault(request, 10**6, code, body=data))

    def named(self, image: str) -> None:
        self.pipeline.write_text(PIPELINE % (image, image))

    def __call__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
        code = main(["doctor", "--json", "--endpoint", self.kfp.endpoint, "--pipeline", str(self.pipeline),
                     "--store", "s3://comface/doctor", *GPUS, *arguments])  # fmt: skip
        found = json.loads(capsys.readouterr().out)
        assert found["red"] == sum(row["state"] == "red" for row in found["checks"])
        assert all(row["todo"] for row in found["checks"] if row["state"] == "red"), "a red line says what to do"
        return code, {row["name"]: row for row in found["checks"]}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_environment: dict[str, str]) -> Iterator[Desk]:
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_EXISTING_TOKEN", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    set_versioning("comface", "Enabled")
    api = KubernetesApi()
    api.cluster.token = "kube-token-word"
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
    with KfpServer() as kfp:
        yield Desk(api.cluster, kfp, tmp_path / "small.yaml")
    api.stop()


def test_in_good_order_nothing_is_red_and_it_takes_seconds(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    code, found = desk(capsys)
    assert time.monotonic() - started < rows.DEADLINE_S
    assert code == 0
    states = {name: row["state"] for name, row in found.items() if not name.startswith("data set")}
    assert states == {
        "version": "ok", "namespace": "ok", "job kind": "ok", "queue": "note", "permissions": "ok", "secret": "ok",
        "GPUs": "ok", "free GPUs": "ok", "quota": "ok", "operator": "ok", "dry run": "ok", "image": "ok",
        "API": "ok", "store": "ok", "versioning": "ok",
        "embedded models": states["embedded models"], "method imagenet": states["method imagenet"],
        "method dlib": states["method dlib"],
        "weights": "ok", "composition": "ok", "batch": "ok",
        "views": "ok", "methods and gate": "ok", "margins of the gate": "ok", "screening": "ok", "plan": "ok",
    }  # fmt: skip
    assert found["version"]["found"] == "Kubernetes v1.33.1"
    assert found["GPUs"]["found"] == "16 on 2 nodes; requested: 2 × 8"
    assert "KFP 2.17.0" in found["API"]["found"]
    assert found["image"]["found"].endswith("is on 1 nodes")


def break_version(desk: Desk) -> None:
    desk.kube.release = "v1.27.3"


def break_kind(desk: Desk) -> None:
    desk.kube.kinds -= {"pytorchjobs", "trainjobs"}


def break_permission(desk: Desk) -> None:
    desk.kube.denied = {("create", "pytorchjobs"), ("get", "pods")}


def break_secret(desk: Desk) -> None:
    del desk.kube.things[SECRET]


def give_an_identity(desk: Desk) -> None:
    del desk.kube.things[SECRET]
    account = {
        "metadata": {"name": "comface-pods", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}}
    }
    desk.kube.things["/api/v1/namespaces/comface/serviceaccounts"] = {"items": [account]}


def break_secret_key(desk: Desk) -> None:
    del desk.kube.things[SECRET]["data"]["AWS_SECRET_ACCESS_KEY"]


def break_gpus(desk: Desk) -> None:
    desk.nodes(gpu_node("gpu-1", 4))


def break_free(desk: Desk) -> None:
    for pod in (gpu_pod("gpu-0", 6), gpu_pod("gpu-1", 1), gpu_pod("cpu-0", 0)):
        desk.kube.put("pods", pod)


def break_nodes_permission(desk: Desk) -> None:
    desk.kube.forbidden = {"GET nodes"}


def break_pods_permission(desk: Desk) -> None:
    desk.kube.forbidden = {"GET pods"}


def break_secret_permission(desk: Desk) -> None:
    desk.kube.forbidden = {"GET secrets"}


def break_kfp_version(desk: Desk) -> None:
    desk.kube.things[KFP_DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["image"] = "kfp/api-server:2.5.0"


def break_kfp_login(desk: Desk) -> None:
    desk.kfp.token = "word"


def break_image(desk: Desk) -> None:
    desk.named(IMAGE)


def break_namespace(desk: Desk) -> None:
    del desk.kube.things[NAMESPACE]


def break_cordoned(desk: Desk) -> None:
    desk.nodes(gpu_node("gpu-1", 8, unschedulable=True))


def break_not_ready(desk: Desk) -> None:
    desk.nodes(gpu_node("gpu-1", 8, ready="Unknown"))


def break_tainted(desk: Desk) -> None:
    taints = [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": "team", "value": "b", "effect": "NoSchedule"}]
    desk.nodes(gpu_node("gpu-1", 8, taints=taints))


def break_some_nodes(desk: Desk) -> None:
    desk.nodes(gpu_node("gpu-2", 8, unschedulable=True), gpu_node("gpu-3", 8, ready="False"))


def break_quota(desk: Desk) -> None:
    desk.kube.things[QUOTAS] = {"items": [quota({"requests.nvidia.com/gpu": "0", "requests.memory": "1Gi"})]}


def break_quota_now(desk: Desk) -> None:
    used = {"requests.nvidia.com/gpu": "40", "pods": "1"}
    desk.kube.things[QUOTAS] = {"items": [quota({"requests.nvidia.com/gpu": "48", "pods": "600"}, used)]}


def break_operator(desk: Desk) -> None:
    desk.kube.things[OPERATOR] = {"status": {"replicas": 1, "unavailableReplicas": 1}}


def refuse_creation(code: int, words: str) -> Any:
    def refuse(desk: Desk) -> None:
        desk.answers("^POST .*dryRun", code, json.dumps(refused(code, words, "Forbidden")[1]).encode())

    return refuse


COUNT = "exceeded quota: comface, requested: count/pytorchjobs.kubeflow.org=1, used: {0}, limited: {0}"
DOWN = 'failed calling webhook "v.pytorchjob": no endpoints available for service "training-operator"'


def break_versioning(desk: Desk) -> None:
    set_versioning("comface", "Suspended")


@pytest.mark.parametrize(
    ("broken", "name", "state", "expected"),
    [
        (break_version, "version", "note", "Kubernetes v1.27.3; the manifests are validated for 1.32 to 1.36"),
        (break_kind, "job kind", "red", "pytorchjobs.kubeflow.org/v1 is not served"),
        (break_permission, "permissions", "red", "in 'comface' you may not create pytorchjobs, get pods"),
        (break_secret, "secret", "red", "'comface-store' is not in the namespace 'comface'"),
        (give_an_identity, "secret", "note", "service account 'comface-pods' have a workload identity"),
        (break_secret_key, "secret", "red", "'comface-store' has no AWS_SECRET_ACCESS_KEY"),
        (break_gpus, "GPUs", "red", "2 nodes with 8 GPUs each, and the cluster has 1 (gpu-0 has 8, gpu-1 has 4)"),
        (break_free, "free GPUs", "note", "9 of 16 on 2 nodes; a run would wait for more"),
        (break_nodes_permission, "GPUs", "note", "unknown, because you may not read it (403)"),
        (break_pods_permission, "free GPUs", "note", "unknown, because you may not list all pods"),
        (break_secret_permission, "secret", "note", "unknown, because you may not read it (403)"),
        (break_kfp_version, "API", "red", "KFP 2.5.0"),
        (break_kfp_login, "API", "red", "denied access (401"),
        (break_image, "image", "red", f"{IMAGE} names no registry, and no node is known to have it"),
        (break_versioning, "versioning", "note", "off"),
    ],
)  # fmt: skip
def test_what_is_broken_has_its_line_and_only_red_makes_the_exit_code(
    desk: Desk, capsys: pytest.CaptureFixture[str], broken: Any, name: str, state: str, expected: str
) -> None:
    broken(desk)
    code, found = desk(capsys)
    assert (found[name]["state"], code) == (state, 64 if state == "red" else 0)
    assert expected in found[name]["found"]


def asked(desk: Desk, name: str, *overrides: str) -> dict[str, Row]:
    """The rows of one check of the cluster alone."""
    cluster = open_cluster()
    assert cluster is not None
    checks = {check.name: check for check in cluster_checks(cluster, gpu_run(*overrides), "comface", [DIGEST])}
    return {row.name: row for row in answer(checks[name])}


@pytest.mark.parametrize(
    ("broken", "name", "state", "expected"),
    [
        (break_namespace, "namespace", "red", "there is no namespace 'comface'"),
        (break_cordoned, "GPUs", "red", "the cluster has 1 (gpu-1 has 8 but is cordoned, gpu-0 has 8)"),
        (break_not_ready, "GPUs", "red", "gpu-1 has 8 but is not ready"),
        (break_tainted, "GPUs", "red", "gpu-1 has 8 but has the taint team:NoSchedule"),
        (break_some_nodes, "free GPUs", "ok", "16 of 16 on 2 nodes"),
        (break_some_nodes, "GPUs", "ok", "requested: 2 × 8; gpu-2 is cordoned; gpu-3 is not ready"),
        (break_quota, "quota", "red", "16 of requests.nvidia.com/gpu, of which the quota 'room' allows 0"),
        (break_quota, "quota", "red", "8 GiB of requests.memory, of which the quota 'room' allows 1 GiB"),
        (break_quota_now, "quota", "note", "16 of requests.nvidia.com/gpu, of which the quota 'room' has 8 left"),
        (break_operator, "operator", "red", "the training operator does not run: none of its pods is ready"),
        (refuse_creation(500, DOWN), "dry run", "red", "no job can be created: failed calling webhook"),
        (refuse_creation(403, COUNT.format("count/pytorchjobs.kubeflow.org=2")), "dry run", "note", "a job would wait"),
        (refuse_creation(403, COUNT.format("count/pytorchjobs.kubeflow.org=0")), "dry run", "red", "is too small for"),
        (refuse_creation(403, 'User "x" cannot create resource'), "dry run", "note", "you may not create jobs"),
        (refuse_creation(422, "spec.nprocPerNode: Invalid"), "dry run", "red", "the job is refused: spec.nprocPerNode"),
        (refuse_creation(403, "admission webhook denied the request: no"), "dry run", "red", "the job is refused"),
        (refuse_creation(404, 'namespaces "comface" not found'), "dry run", "red", 'namespaces "comface" not found'),
        (refuse_creation(400, "the webhook does not support dry run"), "dry run", "note", "is not possible"),
    ],
)  # fmt: skip
def test_what_would_keep_a_training_from_starting_has_its_line(
    desk: Desk, broken: Any, name: str, state: str, expected: str
) -> None:
    broken(desk)
    row = asked(desk, name.replace("free ", ""))[name]
    assert row.state == state
    assert expected in row.found
    assert row.todo or state != "red"


def test_the_job_of_the_dry_run_is_the_size_of_the_run(desk: Desk) -> None:
    asked(desk, "dry run")
    (job,) = desk.kube.dry_runs
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert (replicas["Worker"]["replicas"], job["spec"]["nprocPerNode"]) == (1, "8")
    container = replicas["Master"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["resources"]["limits"]["nvidia.com/gpu"]) == (DIGEST, "8")


@pytest.mark.parametrize(
    ("spec", "state"),
    [
        ({"scopes": ["BestEffort"]}, "ok"),
        ({"scopes": ["NotTerminating"]}, "red"),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["other"]}]}}, "ok"),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "NotIn", "values": ["other"]}]}}, "red"),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]}}, "ok"),
    ],
)  # fmt: skip
def test_a_quota_counts_where_it_counts_the_pods_of_a_training(desk: Desk, spec: dict[str, Any], state: str) -> None:
    desk.kube.things[QUOTAS] = {"items": [quota({"requests.nvidia.com/gpu": "0"}, **spec)]}
    assert asked(desk, "quota")["quota"].state == state


@pytest.mark.parametrize(
    ("queue", "state", "expected"),
    [
        (None, "red", "there is no LocalQueue 'gpus' in 'comface'"),
        ({"status": {"conditions": [{"type": "Active", "status": "True"}]}}, "ok", "the LocalQueue 'gpus'"),
        ({"status": {"conditions": [{"type": "Active", "status": "False", "message": "no ClusterQueue"}]}}, "red",
         "the LocalQueue 'gpus' is not active: no ClusterQueue"),
    ],
)  # fmt: skip
def test_a_queue_is_there_and_active(desk: Desk, queue: Any, state: str, expected: str) -> None:
    desk.kube.kinds.add("localqueues")
    if queue:
        desk.kube.put("localqueues", {"metadata": {"name": "gpus"}, **queue})
    row = asked(desk, "queue", "pretrain.job.queue=gpus")["queue"]
    assert (row.state, row.found) == (state, expected)


ODD = [
    (200, b"<html>login</html>", "red", "the server is not a Kubernetes API"),
    (200, b"null", "red", "the server is not a Kubernetes API"),
    (200, b"[]", "red", "the server is not a Kubernetes API"),
    (404, b"<html>nginx</html>", "red", "the API server answers 404"),
    (429, b"{}", "red", "the API server answers 429"),
    (503, b"<html>", "red", "the API server answers 503"),
    (200, b"{}", "red", "no node has a GPU"),
    (200, b'{"metadata": null, "items": null}', "red", "no node has a GPU"),
    (200, b'{"items": [null, 7, {"status": null}, {"status": {"allocatable": null}}]}', "red", "no node has a GPU"),
    (200, b'{"items": [{"spec": {"taints": [null]}, "status": {"allocatable": {"nvidia.com/gpu": 8}}}]}', "red",
     "the cluster has 1"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "data", "state", "expected"), ODD, ids=[str(number) for number in range(len(ODD))])
def test_an_odd_answer_about_nodes_is_a_sentence(desk: Desk, code: int, data: bytes, state: str, expected: str) -> None:
    desk.answers("^GET /api/v1/nodes", code, data)
    row = asked(desk, "GPUs")["GPUs"]
    assert row.state == state
    assert expected in row.found


@pytest.mark.parametrize(
    "data", [b"{}", b'{"items": null}', b'{"status": null, "spec": null, "data": null}', b"[]", b""]
)
def test_whatever_is_answered_every_row_is_a_sentence(
    desk: Desk, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    for path in ("/version", "/apis/kubeflow.org/v1", "/api/v1/nodes", "/api/v1/pods", NAMESPACE, SECRET, QUOTAS,
                 OPERATOR, KFP_DEPLOYMENT, REVIEW,
                 "/apis/kubeflow.org/v1/namespaces/comface/pytorchjobs"):  # fmt: skip
        desk.answers(rf"{path}(\?|$)", 200, data)
    _, found = desk(capsys)
    assert not [row for row in found.values() if "unexpected" in row["found"] or "no answer within" in row["found"]]


def test_no_secret_is_shown(desk: Desk, capsys: pytest.CaptureFixture[str], s3_environment: dict[str, str]) -> None:
    _, found = desk(capsys)
    text = json.dumps(found)
    for word in ("c2VjcmV0LXdvcmQ", desk.kube.token, s3_environment["AWS_SECRET_ACCESS_KEY"],
                 s3_environment["AWS_ACCESS_KEY_ID"]):  # fmt: skip
        assert word not in text


def test_the_table_has_a_line_per_check_and_below_a_red_one_what_to_do(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    break_secret(desk)
    assert main(["doctor", "--endpoint", desk.kfp.endpoint, "--pipeline", str(desk.pipeline), *GPUS, "--store",
                 "s3://comface/doctor"]) == 64  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    (place,) = [place for place, line in enumerate(lines) if line.startswith("  ✗ ")]
    assert "secret " in lines[place]
    assert (
        lines[place + 1].strip().startswith("→ create the secret 'comface-store' in 'comface' with AWS_ACCESS_KEY_ID")
    )
    assert lines[-1].endswith("checks failed")
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "cluster", "Kubeflow Pipelines", "run", lines[-1],
    ]  # fmt: skip


def test_without_a_cluster_its_lines_are_skipped_and_that_is_said(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "no kubeconfig found" in text
    assert "no server given (--endpoint or KFP_ENDPOINT)" in text
    assert text.rstrip().endswith("All checks passed")
    assert desk.kube.requests == []


def test_what_parallel_checks_import_is_there_before_they_start_and_torch_only_if_they_use_it() -> None:
    program = """if True:
        import sys
        from comface.doctor.places import place_checks
        from comface.plan.configuration import resolve
        for profile, own in (("laptop", ["pretrain.reuse=shipped"]), ("workstation", [])):
            place_checks(resolve(profile, own, {"store": "file:///somewhere"}))
            print("torch" in sys.modules, "comface.generators.procedural" in sys.modules)
    """
    environment = {name: value for name, value in os.environ.items() if name != "KUBERNETES_SERVICE_HOST"}
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert said == "False False\nTrue True\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "does not exist"),
        ("]", "is not valid YAML (line 1)"),
        ("a: [", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
        ("text", "is not a mapping"),
        ("", "is not a mapping"),
        ("{}", "has no current context (it has: none)"),
        ("contexts: [{name: a}, {name: b}]", "has no current context (it has: a, b)"),
        ("current-context: c\ncontexts: [{name: a}, null]", "has no context 'c', its current one (it has: a)"),
        ("current-context: a\ncontexts: [{name: a, context: {cluster: x, user: y}}]", "are not usable"),
        ("current-context: a\ncontexts: [{name: a}]\nclusters: 7", "are not usable"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_a_sentence(tmp_path: Path, text: str | None, expected: str) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NoAnswer) as error:
        open_cluster({"KUBECONFIG": str(path)})
    assert expected in str(error.value)
    assert error.value.todo
    with pytest.raises(ConfigurationError) as same:
        connect({"KUBECONFIG": str(path)})
    assert expected in str(same.value), "the launcher says the same"


@pytest.mark.parametrize("place", ["", "/dev/zero"])
def test_a_kubeconfig_that_is_a_folder_or_a_device_is_red_and_the_other_sections_are_there(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", place or str(tmp_path))
    code, found = desk(capsys)
    assert (code, found["kubeconfig"]["state"], found["store"]["state"]) == (64, "red", "ok")
    assert "The kubeconfig" in found["kubeconfig"]["found"]


def test_a_server_that_is_not_there_or_refuses_the_token_is_told_apart(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    desk.kube.token = "another"
    code, found = desk(capsys)
    assert (code, found["version"]["found"]) == (64, "the API server refused the token (401)")
    assert "log in again" in found["version"]["todo"]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(re.sub(r"127.0.0.1:\d+", "127.0.0.1:9", kubeconfig.read_text()))
    code, found = desk(capsys)
    assert (code, found["version"]["found"]) == (64, "no answer: the connection was refused")
    assert found["version"]["todo"] == "check the kubeconfig and the network"


def test_a_store_and_data_that_are_not_there_are_red(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = desk(capsys, "--store", "s3://elsewhere/x", "--set", "data.fgnet.uri=file:///nowhere/fgnet", "--set",
                       "synthesize.composition=[{generator: stylegan2, identities: 99, attributes: [age]}]", "--set",
                       "weights=s3://comface/weights")  # fmt: skip
    assert code == 64
    assert (found["store"]["found"], found["store"]["todo"]) == ("The bucket 'elsewhere' does not exist", "create it")
    assert "/nowhere/fgnet" in found["data set fgnet"]["found"]
    assert "s3://comface/weights does not contain, for 'stylegan2', its weights (" in found["weights"]["found"]


# The machinery


def test_a_check_that_does_not_answer_delays_nobody() -> None:
    checks = [
        Check("s", "slow", lambda: (time.sleep(5), [])[1], "wake it up"),
        Check("s", "quick", lambda: [Row("s", "quick", "ok", "here")]),
    ]
    started = time.monotonic()
    found = run_checks(checks, deadline_s=0.3)
    assert time.monotonic() - started < 2
    assert found[0] == Row("s", "slow", "red", "no answer within 0 s", "wake it up")
    assert found[1].state == "ok"


@pytest.mark.parametrize(
    ("error", "row"),
    [
        (
            ConfigurationError("The thing is wrong; correct it."),
            Row("s", "n", "red", "The thing is wrong", "correct it"),
        ),
        (TryAgain("It is away."), Row("s", "n", "red", "It is away", "ask later")),
    ],
)
def test_an_error_becomes_what_was_found_and_what_to_do(error: Exception, row: Row) -> None:
    def ask() -> list[Row]:
        raise error

    assert run_checks([Check("s", "n", ask, "ask later")]) == [row]


def test_an_empty_table_is_no_alarm() -> None:
    assert table([]) == "All checks passed"


class Registry(BaseHTTPRequestHandler):
    """Answers a manifest's HEAD with the status that the image's name says."""

    def do_HEAD(self) -> None:
        name = self.path.removeprefix("/v2/").partition("/manifests/sha256:")[0]
        accepted = "vnd.oci.image.index" in self.headers.get("Accept", "")
        self.send_response(int(name.rpartition("-")[2]) if accepted else 400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "state", "found"),
    [(200, "ok", "is in its registry"), (404, "red", "is not in its registry"), (401, "note", "answers 401")],
)
def test_an_image_that_no_node_holds_is_looked_for_in_its_registry(
    desk: Desk, capsys: pytest.CaptureFixture[str], status: int, state: str, found: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as registry:
        threading.Thread(target=registry.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        desk.named(f"127.0.0.1:{registry.server_port}/comface-python-{status}:0.1.0@sha256:{'b' * 64}")
        _, rows = desk(capsys)
        registry.shutdown()
    assert rows["image"]["state"] == state
    assert found in rows["image"]["found"]


def test_an_image_whose_registry_is_away_cannot_be_judged(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.named(f"127.0.0.1:9/comface-python@sha256:{'b' * 64}")
    code, found = desk(capsys)
    assert (code, found["image"]["state"]) == (0, "note")
    assert "cannot be reached from here, so it cannot be checked" in found["image"]["found"]


# The preflight of a run: the same question about GPUs


def gpu_run(*overrides: str) -> Any:
    return resolve("laptop", ["pretrain.nodes=2", "pretrain.gpus_per_node=8", *overrides])


def test_a_run_whose_gpus_are_nowhere_is_refused_before_it_starts(desk: Desk) -> None:
    cluster = open_cluster()
    assert check_gpus(gpu_run(), cluster) is None
    break_gpus(desk)
    with pytest.raises(ConfigurationError, match=r"2 nodes with 8 GPUs each, and the cluster has 1 .*check_gpus=false"):
        check_gpus(gpu_run(), cluster)
    assert check_gpus(gpu_run("check_gpus=false"), cluster) is None
    assert check_gpus(gpu_run("pretrain.gpus_per_node=0"), cluster) is None
    assert check_gpus(gpu_run(), None) is None
    for name in ("gpu-0", "gpu-1", "cpu-0"):
        desk.kube.remove("nodes", name)
    with pytest.raises(ConfigurationError, match="no node has a GPU"):
        check_gpus(gpu_run(), cluster)


def test_a_run_that_may_not_ask_goes_on_and_says_so(desk: Desk) -> None:
    break_nodes_permission(desk)
    note = check_gpus(gpu_run(), open_cluster(), "comface")
    assert note == "It is unknown whether the GPUs exist: this account may not list nodes."


def test_a_run_that_no_quota_lets_in_is_refused_with_all_that_is_wrong(desk: Desk) -> None:
    break_quota(desk)
    with pytest.raises(
        ConfigurationError, match=r"16 of requests.nvidia.com/gpu, of which the quota 'room' allows 0; 8 GiB"
    ):
        check_gpus(gpu_run(), open_cluster(), "comface")
    break_cordoned(desk)
    with pytest.raises(ConfigurationError, match=r"gpu-1 has 8 but is cordoned.*raise the quota"):
        check_gpus(gpu_run(), open_cluster(), "comface")
    desk.kube.things[QUOTAS] = {"items": [quota({"requests.cpu": "3"})]}
    with pytest.raises(ConfigurationError, match=r"4 of requests.cpu"):
        check_gpus(gpu_run("pretrain.gpus_per_node=0"), open_cluster(), "comface")
    assert check_gpus(gpu_run("pretrain.gpus_per_node=0", "pretrain.nodes=1"), open_cluster(), "comface") is None
    with pytest.raises(ConfigurationError, match=r"^The training requests 4 of requests.cpu"):
        check_gpus(gpu_run("check_gpus=false"), open_cluster(), "comface")


@pytest.mark.parametrize(
    ("code", "data"), [(400, b"{}"), (429, b"{}"), (500, b"<html>"), (200, b"<html>"), (200, b"[]"), (410, b"{}")]
)
def test_a_run_whose_api_server_answers_oddly_goes_on_and_says_so(
    desk: Desk, tmp_path: Path, code: int, data: bytes
) -> None:
    desk.answers("^GET /api/v1/nodes", code, data)
    environment = {"KUBERNETES_SERVICE_HOST": "x", "KUBECONFIG": str(tmp_path / "kubeconfig")}
    note = check_gpus_of_pod(gpu_run(), environment)
    assert note is not None
    assert note.startswith("It is unknown whether the GPUs exist: the request to the Kubernetes API failed (")


def test_a_run_that_has_to_wait_says_so(desk: Desk) -> None:
    break_quota_now(desk)
    break_free(desk)
    note = check_gpus(gpu_run(), open_cluster(), "comface")
    assert note is not None
    assert "Other pods use GPUs that the training needs; it will wait for them." in note
    assert "will wait for room in the namespace 'comface': it requests 16 of requests.nvidia.com/gpu" in note
