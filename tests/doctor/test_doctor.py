"""`comface doctor` against a Kubernetes API, a KFP and an S3 server on loopback: what it sees, says and ends with."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kfp_api_server import KfpServer
from kube_api_server import KubeServer, gpu_node, gpu_pod
from moto_versioning import set_versioning

from comface.cli import main
from comface.config import resolve
from comface.doctor import rows
from comface.doctor.rows import Check, Row, run_checks, table
from comface.errors import ConfigurationError, TryAgain
from comface.resolve.gpus import check_gpus

SECRET = "/api/v1/namespaces/comface/secrets/comface-store"
KFP_DEPLOYMENT = "/apis/apps/v1/namespaces/kubeflow/deployments/ml-pipeline"
DIGEST = f"registry.example/comface-python@sha256:{'a' * 64}"
PIPELINE = """
pipelineInfo: {name: small}
root: {}
deploymentSpec: {executors: {exec-a: {container: {image: "%s"}}, exec-b: {container: {image: "%s"}}}}
"""
GPUS = ("--set", "pretrain.nodes=2", "--set", "pretrain.gpus_per_node=8", "--set", "pretrain.pairs_per_step=48")


class Desk:
    """All that is asked, in good order; a test breaks one thing."""

    def __init__(self, kube: KubeServer, kfp: KfpServer, pipeline: Path) -> None:
        self.kube, self.kfp, self.pipeline = kube, kfp, pipeline
        kube.nodes = [gpu_node("gpu-0", 8, (DIGEST,)), gpu_node("gpu-1", 8), gpu_node("cpu-0", 0)]
        keys = dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "c2VjcmV0LXdvcmQ=")
        kube.things[SECRET] = {"data": keys}
        image = {"image": "ghcr.io/kubeflow/kfp-api-server:2.17.0"}
        kube.things[KFP_DEPLOYMENT] = {"spec": {"template": {"spec": {"containers": [image]}}}}
        self.named(DIGEST)

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
    with KubeServer() as kube, KfpServer() as kfp:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(tmp_path / "kubeconfig")))
        yield Desk(kube, kfp, tmp_path / "small.yaml")


def test_in_good_order_nothing_is_red_and_it_takes_seconds(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    code, found = desk(capsys)
    assert time.monotonic() - started < rows.DEADLINE_S
    assert code == 0
    states = {name: row["state"] for name, row in found.items() if not name.startswith("data set")}
    assert states == {
        "version": "ok", "job kind": "ok", "queue": "note", "permissions": "ok", "secret": "ok", "GPUs": "ok",
        "free GPUs": "ok", "image": "ok", "API": "ok", "store": "ok", "versioning": "ok",
        "embedded models": states["embedded models"], "weights": "ok", "composition": "ok", "batch": "ok",
        "views": "ok", "methods and gate": "ok", "screening": "ok", "plan": "ok",
    }  # fmt: skip
    assert found["version"]["found"] == "Kubernetes v1.33.1"
    assert found["GPUs"]["found"] == "16 on 2 nodes; asked for are 2 × 8"
    assert "KFP 2.17.0" in found["API"]["found"]
    assert found["image"]["found"].endswith("is on 1 nodes")


def break_version(desk: Desk) -> None:
    desk.kube.version = "v1.27.3"


def break_kind(desk: Desk) -> None:
    desk.kube.served.clear()


def break_permission(desk: Desk) -> None:
    desk.kube.refused = {("create", "pytorchjobs"), ("get", "pods")}


def break_secret(desk: Desk) -> None:
    del desk.kube.things[SECRET]


def break_secret_key(desk: Desk) -> None:
    del desk.kube.things[SECRET]["data"]["AWS_SECRET_ACCESS_KEY"]


def break_gpus(desk: Desk) -> None:
    desk.kube.nodes[1] = gpu_node("gpu-1", 4)


def break_free(desk: Desk) -> None:
    desk.kube.pods = [gpu_pod("gpu-0", 6), gpu_pod("gpu-1", 1), gpu_pod("cpu-0", 0)]


def break_nodes_permission(desk: Desk) -> None:
    desk.kube.forbidden = {"/api/v1/nodes"}


def break_pods_permission(desk: Desk) -> None:
    desk.kube.forbidden = {"/api/v1/pods"}


def break_secret_permission(desk: Desk) -> None:
    desk.kube.forbidden = {SECRET}


def break_kfp_version(desk: Desk) -> None:
    desk.kube.things[KFP_DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["image"] = "kfp/api-server:2.5.0"


def break_kfp_login(desk: Desk) -> None:
    desk.kfp.token = "word"


def break_image(desk: Desk) -> None:
    desk.named("comface-python:0.1.0")


def break_versioning(desk: Desk) -> None:
    set_versioning("comface", "Suspended")


@pytest.mark.parametrize(
    ("broken", "name", "state", "expected"),
    [
        (break_version, "version", "note", "Kubernetes v1.27.3; the manifests are validated for 1.32 to 1.36"),
        (break_kind, "job kind", "red", "pytorchjobs.kubeflow.org/v1 is not served"),
        (break_permission, "permissions", "red", "in 'comface' you may not create pytorchjobs, get pods"),
        (break_secret, "secret", "red", "'comface-store' is not in the namespace 'comface'"),
        (break_secret_key, "secret", "red", "'comface-store' lacks AWS_SECRET_ACCESS_KEY"),
        (break_gpus, "GPUs", "red", "2 nodes with 8 GPUs each, and the cluster has 1 (gpu-0 has 8, gpu-1 has 4)"),
        (break_free, "free GPUs", "note", "9 of 16 on 2 nodes; a run would wait for more"),
        (break_nodes_permission, "GPUs", "note", "you may not ask (403), so it is unknown"),
        (break_pods_permission, "free GPUs", "note", "you may not list all pods, so it is unknown"),
        (break_secret_permission, "secret", "note", "you may not ask (403), so it is unknown"),
        (break_kfp_version, "API", "red", "KFP 2.5.0"),
        (break_kfp_login, "API", "red", "refused you (401"),
        (break_image, "image", "note", "comface-python:0.1.0 is named by its tag, so it cannot be judged"),
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
    assert lines[place + 1].strip().startswith("→ make the secret 'comface-store' in 'comface' with AWS_ACCESS_KEY_ID")
    assert lines[-1].endswith("lines is red")
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "cluster", "Kubeflow Pipelines", "run", lines[-1],
    ]  # fmt: skip


def test_without_a_cluster_its_lines_are_skipped_and_that_is_said(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "no kubeconfig is here" in text
    assert "no server is named (--endpoint or KFP_ENDPOINT)" in text
    assert text.rstrip().endswith("Nothing is red")
    assert desk.kube.asked == []


@pytest.mark.parametrize("what", ["broken file", "no server", "refused"])
def test_a_cluster_that_cannot_be_asked_is_red(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    if what == "broken file":
        (tmp_path / "kubeconfig").write_text("]")
    elif what == "no server":
        desk.kube.address = "http://127.0.0.1:9"
        desk.kube.kubeconfig(tmp_path / "kubeconfig")
    else:
        desk.kube.token = "another"
    code, found = desk(capsys)
    assert code == 64
    name = "kubeconfig" if what == "broken file" else "version"
    assert found[name]["state"] == "red"
    assert found["store"]["state"] == "ok", "the other sections are there"


def test_a_store_and_data_that_are_not_there_are_red(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = desk(capsys, "--store", "s3://elsewhere/x", "--set", "data.fgnet.uri=file:///nowhere/fgnet", "--set",
                       "synthesize.composition=[{generator: stylegan2, identities: 99, attributes: [age]}]", "--set",
                       "weights=s3://comface/weights")  # fmt: skip
    assert code == 64
    assert (found["store"]["found"], found["store"]["todo"]) == ("The bucket 'elsewhere' does not exist", "create it")
    assert "/nowhere/fgnet" in found["data set fgnet"]["found"]
    assert "s3://comface/weights lacks for 'stylegan2' its weights (" in found["weights"]["found"]


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
        (ConfigurationError("The thing is wrong; mend it."), Row("s", "n", "red", "The thing is wrong", "mend it")),
        (TryAgain("It is away."), Row("s", "n", "red", "It is away", "ask later")),
    ],
)
def test_an_error_becomes_what_was_found_and_what_to_do(error: Exception, row: Row) -> None:
    def ask() -> list[Row]:
        raise error

    assert run_checks([Check("s", "n", ask, "ask later")]) == [row]


def test_an_empty_table_is_no_alarm() -> None:
    assert table([]) == "Nothing is red"


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
    assert "cannot be reached from here, so it cannot be judged" in found["image"]["found"]


# The preflight of a run: the same question about GPUs


def gpu_run(*overrides: str) -> Any:
    return resolve("laptop", ["pretrain.nodes=2", "pretrain.gpus_per_node=8", *overrides])


def test_a_run_whose_gpus_are_nowhere_is_refused_before_it_starts(desk: Desk) -> None:
    from comface.cluster import open_cluster

    cluster = open_cluster()
    assert check_gpus(gpu_run(), cluster) is None
    break_gpus(desk)
    with pytest.raises(ConfigurationError, match=r"2 nodes with 8 GPUs each, and the cluster has 1 .*check_gpus=false"):
        check_gpus(gpu_run(), cluster)
    assert check_gpus(gpu_run("check_gpus=false"), cluster) is None
    assert check_gpus(gpu_run("pretrain.gpus_per_node=0"), cluster) is None
    assert check_gpus(gpu_run(), None) is None
    desk.kube.nodes = []
    with pytest.raises(ConfigurationError, match="no node has a GPU"):
        check_gpus(gpu_run(), cluster)


def test_a_run_that_may_not_ask_goes_on_and_says_so(desk: Desk) -> None:
    from comface.cluster import open_cluster

    break_nodes_permission(desk)
    assert (
        check_gpus(gpu_run(), open_cluster()) == "Whether the GPUs exist is unknown: this account may not list nodes."
    )
