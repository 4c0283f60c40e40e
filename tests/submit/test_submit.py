"""`comface submit` and `kfp run submit` against a server that checks every request by KFP's own published models."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp_api_server import KfpServer, Refused

from comface.artifacts.sealed import sealed
from comface.cli import main
from comface.errors import ConfigurationError
from comface.store import open_store
from comface.submit.connection import IN_CLUSTER, connect, endpoint_from
from comface.submit.package import read_package, split_arguments, typed_arguments, with_defaults

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "pipelines" / "comface.yaml"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_EXISTING_TOKEN", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with KfpServer() as running:
        yield running


def submit(server: KfpServer, *arguments: str) -> int:
    return main(
        ["submit", "--registry", "nodes", "--endpoint", server.endpoint, "--pipeline", str(PIPELINE), *arguments]
    )


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main([*arguments, "--pipeline", str(PIPELINE)]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(r"comface: .*\.\n", output.err, re.DOTALL)
    return output.err


def kfp(server: KfpServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(sysconfig.get_path("scripts")) / "kfp"
    environment = {**os.environ, "KFP_ENDPOINT": server.endpoint, "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [script, *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False
    )


# The kfp command line


def test_kfp_run_submit_needs_nothing_else_and_its_arguments_arrive_typed(server: KfpServer) -> None:
    done = kfp(
        server, "run", "submit", "-e", "comface", "-f", str(PIPELINE), "nodes=2", "profile=laptop", "store=s3://b/x",
        'overrides={"pretrain.epochs": 2}', 'tasks=["age"]',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = server.all("runs")
    assert run["runtime_config"]["parameters"] == {
        "nodes": 2, "profile": "laptop", "store": "s3://b/x", "overrides": {"pretrain.epochs": 2}, "tasks": ["age"],
    }  # fmt: skip
    assert set(run["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}
    done = kfp(server, "run", "submit", "-e", "comface", "-f", str(PIPELINE))
    assert done.returncode == 0, done.stderr
    assert len(server.all("runs")) == 2
    assert [experiment["display_name"] for experiment in server.all("experiments")] == ["comface"]


# comface submit


def test_a_run_is_started_and_its_page_printed(server: KfpServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(server) == 0
    (run,) = server.all("runs")
    assert capsys.readouterr().out == f"{server.endpoint}/#/runs/details/{run['run_id']}\n"
    assert run["display_name"].startswith("comface 20")
    assert run["runtime_config"]["parameters"] == {}, "the defaults are the pipeline's own"
    assert run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]


def test_options_become_parameters_and_text_stays_text(server: KfpServer) -> None:
    options = ("--profile", "laptop", "--set", "pretrain.epochs=2", "--set", "shard.seed=1", "--name", "mine")
    values = (
        "--param",
        "nodes=2",
        "--param",
        "store=s3://b/x",
        "--param",
        "run_name=2024",
        "--service-account",
        "runner",
    )
    assert submit(server, *options, *values) == 0
    (run,) = server.all("runs")
    assert run["runtime_config"]["parameters"] == {
        "nodes": 2, "gpus_per_node": 0, "store": "s3://b/x", "run_name": "2024", "profile": "laptop",
        "overrides": {"pretrain.epochs": 2, "shard.seed": 1},
    }  # fmt: skip
    assert (run["display_name"], run["service_account"]) == ("mine", "runner")


def test_a_configuration_file_becomes_parameters_and_overrides_and_the_command_line_beats_it(
    server: KfpServer, tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("profile: laptop\nstore: s3://b/x\npretrain: {epochs: 2, seed: 5}\nregister: {must_beat: null}\n")
    assert submit(server, "--config", str(file), "--set", "pretrain={epochs: 3}") == 0
    assert submit(server, "--config", str(file), "--profile", "paper", "--param", "store=s3://b/y") == 0
    first, second = (run["runtime_config"]["parameters"] for run in server.all("runs"))
    assert first == {
        "profile": "laptop", "store": "s3://b/x", "nodes": 1, "gpus_per_node": 0,
        "overrides": {"pretrain.epochs": 3, "pretrain.seed": 5, "register.must_beat": "null"},
    }  # fmt: skip
    assert (second["profile"], second["store"]) == ("paper", "s3://b/y")


def test_a_wrong_field_of_a_configuration_file_is_named_with_its_line(
    server: KfpServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("store: s3://b/x\npretrain:\n  epochs: 0\n")
    sentence = refused(
        capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint, "--config", str(file)
    )
    assert f"'pretrain.epochs' ({file}, line 3) is wrong" in sentence
    assert server.requests == []


def test_an_error_elsewhere_is_not_blamed_on_the_file_by_another_profile(
    server: KfpServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("pretrain: {epochs: 11}\n")  # paper's curriculum has 12 epochs, laptop's 10
    words = (
        "submit",
        "--registry",
        "nodes",
        "--endpoint",
        server.endpoint,
        "--config",
        str(file),
        "--param",
        "nodes=two",
    )
    assert "The parameter 'nodes' must be a whole number, not 'two'" in refused(capsys, 64, *words)
    assert "curriculum_ends stop at epoch 10" in refused(capsys, 64, *words, "--profile", "laptop")


def test_what_a_person_types_becomes_the_lists_and_mappings_of_the_form(server: KfpServer) -> None:
    typed = (
        "tasks=age, smile", "methods=[scratch, comface]", "data={fgnet: {layout: fgnet, uri: s3://b/fgnet}}",
        "overrides=pretrain.epochs=4\nregister.must_beat=null", "store=s3://b/x",
    )  # fmt: skip
    assert submit(server, *[word for value in typed for word in ("--param", value)]) == 0
    (run,) = server.all("runs")
    assert run["runtime_config"]["parameters"] == {
        "tasks": ["age", "smile"], "methods": ["scratch", "comface"], "store": "s3://b/x",
        "data": {"fgnet": {"layout": "fgnet", "uri": "s3://b/fgnet"}},
        "overrides": {"pretrain.epochs": 4, "register.must_beat": "null"},
    }  # fmt: skip


def test_a_number_that_a_server_would_change_goes_as_text(server: KfpServer) -> None:
    seeds = 'overrides={"pretrain.seed": 9007199254740993, "shard": {"seed": 9007199254740993}, "screening.seed": 5}'
    assert submit(server, "--param", "store=s3://b/x", "--param", seeds) == 0
    (run,) = server.all("runs")
    assert run["runtime_config"]["parameters"]["overrides"] == {
        "pretrain.seed": "9007199254740993", "shard.seed": "9007199254740993", "screening.seed": 5,
    }  # fmt: skip


def test_sizes_of_the_training_are_the_profiles_unless_they_are_given(server: KfpServer) -> None:
    """The pipeline's own defaults are the paper's: 4 nodes with 8 GPUs."""
    laptop = ("--profile", "laptop", "--param", "store=s3://b/x")
    sent = []
    for arguments in (laptop, (*laptop, "--set", "pretrain.nodes=5"), (*laptop, "--param", "gpus_per_node=2"), ()):
        assert submit(server, *arguments) == 0
        values = server.all("runs")[-1]["runtime_config"]["parameters"]
        sent.append((values.get("nodes"), values.get("gpus_per_node")))
    assert sent == [(1, 0), (5, 0), (1, 2), (None, None)]


def test_several_runs_share_the_experiment(server: KfpServer) -> None:
    assert submit(server, "--experiment", "weekly") == submit(server, "--experiment", "weekly") == 0
    (experiment,) = server.all("experiments")
    assert experiment["display_name"] == "weekly"
    assert {run["experiment_id"] for run in server.all("runs")} == {experiment["experiment_id"]}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--param", "node=2"], "The pipeline 'comface' has no parameter 'node'; choose from data, gpus_per_node"),
        (["--param", "nodes=two"], "The parameter 'nodes' must be a whole number, not 'two'"),
        (["--param", "nodes=2.0"], "The parameter 'nodes' must be a whole number, not '2.0'"),
        (["--param", "nodes"], "does not have the form name=value"),
        (["--param", "nodes=1", "--param", "nodes=2"], "The parameter 'nodes' is given twice"),
        (["--profile", "laptop", "--param", "profile=paper"], "The parameter 'profile' is given twice"),
        (["--profile", "laptop"], "would be on each pod's own disk, where no other step finds it; give --param store="),
        (["--profile", "desk"], "There is no profile 'desk'"),
        (["--set", "pretrain.epoch=3"], "'pretrain.epoch' is not a field"),
        (["--param", "tasks=smirk"], "transfer.tasks names 'smirk'"),
        (
            ["--set", "transfer.folds=50"],
            "needs 50 people of 'edema-b' (transfer.folds), but rehearse.",
        ),
        (["--param", "data={fgnet: {layout: fgnet, uri: 'gs://b/x'}}"], "'gs://b/x' is neither file:///"),
        (["--service-account", "../x"], "--service-account '../x' is not the name of a Kubernetes account; use lower"),
        (["--experiment", "x" * 200], "is not one that KFP can show; use 1 to 100 printable characters"),
        (["--name", "a\x1b[2J"], "The name 'a\\x1b[2J' is not one that KFP can show"),
        (["--name", " "], "The name ' ' is not one that KFP can show"),
        (["--name", "s3://key:word@b/x"], "The value of name contains credentials"),
        (["--param", "run_name=My Model"], "'register.name' is wrong"),
    ],
)
def test_a_wrong_parameter_is_found_before_anything_is_sent(
    server: KfpServer, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in refused(capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint, *arguments)
    assert server.requests == []


def test_a_file_that_is_no_pipeline_is_named(server: KfpServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "submit",
                "--registry",
                "nodes",
                "--endpoint",
                server.endpoint,
                "--pipeline",
                str(ROOT / "constraints.txt"),
            ]
        )
        == 64
    )
    assert "constraints.txt' is not a compiled pipeline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, 64, "denied access (401: go away)"),
        (403, 64, "denied access (403: go away)"),
        (404, 64, "did not find it (404: go away)"),
        (400, 64, "refused the request (400: go away)"),
        (500, 75, "failed (500: go away); retry"),
        (503, 75, "failed (503: go away)"),
        (429, 75, "failed (429: go away)"),
    ],
)
def test_every_refusal_is_one_sentence_with_the_servers_reason(
    server: KfpServer, capsys: pytest.CaptureFixture[str], status: int, code: int, expected: str
) -> None:
    def hook(method: str, path: str) -> None:
        if path.endswith("/runs"):
            raise Refused(status, "go away.")

    server.hook = hook
    assert expected in refused(capsys, code, "submit", "--registry", "nodes", "--endpoint", server.endpoint)


def test_a_server_that_is_not_there_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert "cannot be reached" in refused(
        capsys, 75, "submit", "--registry", "nodes", "--endpoint", "http://127.0.0.1:9"
    )
    assert time.monotonic() - started < 5


def test_a_login_page_is_not_taken_for_an_api(server: KfpServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.raw = b"<html>Log in</html>"
    sentence = refused(capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint)
    assert "is not the KFP API, or requires a login (it answered with a web page instead of data)" in sentence
    assert "set KFP_EXISTING_TOKEN" in sentence


def test_the_token_is_sent_and_never_said(
    server: KfpServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "token-word"
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "wrong-word")
    assert "wrong-word" not in refused(capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint)
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "token-word")
    assert submit(server) == 0


def test_a_pods_token_is_read_anew_when_kubernetes_has_renewed_it(server: KfpServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first-word\n")
    server.token = "first-word"
    connection = connect(server.endpoint, None, {"KF_PIPELINES_SA_TOKEN_PATH": str(tmp_path / "token")})
    server.token = "second-word"
    with pytest.raises(ConfigurationError, match="denied access"):
        connection.health()
    (tmp_path / "token").write_text("second-word\n")
    assert connection.health() == {"multi_user": False}


def test_where_kfp_has_several_users_the_namespace_is_asked_for_and_sent(
    server: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.multi_user = True
    assert "name your namespace with --namespace" in refused(
        capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint
    )
    assert submit(server, "--namespace", "team") == 0
    assert server.all("experiments")[0]["namespace"] == "team"


def test_without_an_endpoint_a_person_is_told_how_and_a_pod_finds_the_clusters() -> None:
    with pytest.raises(ConfigurationError, match="give --endpoint or set KFP_ENDPOINT"):
        endpoint_from(None, {})
    assert endpoint_from(None, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == IN_CLUSTER
    assert endpoint_from("http://a/", {"KFP_ENDPOINT": "http://b"}) == "http://a"
    assert endpoint_from(None, {"KFP_ENDPOINT": "http://b", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == "http://b"
    with pytest.raises(ConfigurationError, match="does not start with http"):
        endpoint_from("localhost:8888", {})


# Waiting


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 75), ("CANCELED", 75)])
def test_waiting_ends_with_the_run(
    server: KfpServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str, code: int
) -> None:
    monkeypatch.setattr("comface.submit.runs.POLL_S", 0.01)
    polls: list[str] = []

    def hook(method: str, path: str) -> None:
        if method == "GET" and "/runs/" in path:
            polls.append(path)
            if len(polls) == 2:
                raise Refused(503, "restarting")
            if len(polls) == 4:
                server.end_runs(state)

    server.hook = hook
    assert submit(server, "--wait") == code
    said = capsys.readouterr().err
    assert ": pending\n" in said
    assert f": {state.lower()}\n" in said
    assert (code == 0) or f"The run ended as {state.lower()}; {server.endpoint}/#/runs/details/" in said


def test_waiting_for_a_run_that_failed_gives_the_sentence_and_code_of_its_step(
    server: KfpServer, capsys: pytest.CaptureFixture[str], s3_environment: dict[str, str]
) -> None:
    store = open_store("s3://comface/failed")

    def hook(method: str, path: str) -> None:
        if method == "GET" and "/runs/" in path:
            run = path.rpartition("/")[2]
            record = {"step": "shard", "sentence": "Broken; correct it.", "exit_code": 65, "at": 0}
            store.write(f"failures/{run}/shard.json", sealed(record))
            server.end_runs("FAILED")

    server.hook = hook
    assert submit(server, "--wait", "--profile", "laptop", "--param", f"store={store.uri}") == 65
    assert capsys.readouterr().err.splitlines()[-1] == "comface: shard: Broken; correct it."


# Upload


def test_upload_makes_a_version_once_and_starts_nothing(server: KfpServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(server, "--upload") == 0
    (pipeline,) = server.all("pipelines")
    assert pipeline["display_name"] == "comface"
    output = capsys.readouterr()
    assert output.out == f"{server.endpoint}/#/pipelines/details/{pipeline['pipeline_id']}\n"
    assert re.fullmatch(r"comface \S+ uploaded\n", output.err)
    versions = [version["display_name"] for version in server.all("versions")]
    assert versions[0] == "comface"
    assert re.fullmatch(r"\d+\.\d+\.\d+-[0-9a-f]{12}", versions[1])
    assert submit(server, "--upload") == 0
    assert "is already uploaded" in capsys.readouterr().err
    assert len(server.all("versions")) == 2
    assert server.all("runs") == []


# Parameters


def test_types_follow_the_definitions_of_the_file(tmp_path: Path) -> None:
    kinds = ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT")
    lines = "".join(f"      p{i}: {{parameterType: {kind}}}\n" for i, kind in enumerate(kinds))
    text = f"pipelineInfo: {{name: other}}\nroot:\n  inputDefinitions:\n    parameters:\n{lines}"
    (tmp_path / "other.yaml").write_text(text)
    package = read_package(tmp_path / "other.yaml")
    given = split_arguments(["p0=1.0", "p1=7", "p2=2", "p3=true", 'p4=["a=b", 1]', 'p5={"a": 1}'])
    values = {"p0": "1.0", "p1": 7, "p2": 2, "p3": True, "p4": ["a=b", 1], "p5": {"a": 1}}
    assert typed_arguments(package, given) == values
    for wrong in ("p1=x", "p2=x", "p2=true", "p3=1", "p4={}", "p5=[]", "p3=yes"):
        with pytest.raises(ConfigurationError, match=f"The parameter '{wrong[:2]}' must be"):
            typed_arguments(package, split_arguments([wrong]))
    with pytest.raises(ConfigurationError, match="needs a value for 'p1'; give --param p1=VALUE"):
        with_defaults(package, {"p0": "x"})


def test_every_parameter_of_the_pipeline_has_a_default_of_its_type() -> None:
    full = with_defaults(read_package(PIPELINE), {})
    assert full["nodes"] == 4
    assert isinstance(full["nodes"], int)
    assert full["profile"] == "paper"


def test_images_that_no_node_can_pull_are_refused_and_a_registry_names_them(
    server: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("submit", "--endpoint", server.endpoint, "--param", "store=s3://b/x")
    assert "build and push the images first (make images REGISTRY=host/path)" in refused(capsys, 64, *words)
    assert main([*words, "--registry", "registry.example.com/faces"]) == 0
    assert main([*words, "--registry", "registry.example.com/faces", "--upload"]) == 0
    (run,) = server.all("runs")
    executors = run["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"].values()
    assert {each["container"]["image"].rpartition("/")[0] for each in executors} == {"registry.example.com/faces"}
