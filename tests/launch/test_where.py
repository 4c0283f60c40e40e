"""Where pre-training runs: in the step itself, under torchrun, or as a job; how its processes tell what was wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes_api import KubernetesApi
from launching import NAMESPACE, SECRET
from playing import Operator, Played, own_pod

from comface.artifacts.manifest import Draft
from comface.artifacts.plans import handed
from comface.artifacts.sealed import sealed
from comface.errors import ComfaceError, ConfigurationError, DataError, Preempted
from comface.execution import record_name
from comface.launch import KEEPS_RUNNING, Work
from comface.launch.causes import find_cause, last_words
from comface.launch.cluster_launcher import make_request
from comface.launch.crash import last_error
from comface.launch.local import InProcess, Torchrun, failure, local_launcher, stopping
from comface.launch.place import FIELD_PATHS, Forwarded, Place
from comface.launch.request import label_value
from comface.plan.configuration import resolve
from comface.plan.from_parameters import ending
from comface.plan.step import make_plans
from comface.pretrain import worker
from comface.pretrain.config import PretrainConfig
from comface.pretrain.draft import cpu_processes, draft_backbone
from comface.pretrain.from_plan import NO_JOB, PretrainPlan, pretrain_backbone
from comface.store import FileStore


@pytest.fixture
def shards(tmp_path: Path) -> Any:
    """An artifact that looks like shards; nobody trains on it here."""
    return Draft(FileStore(tmp_path / "store"), "shards", {}, {}, {"test": 1}).publish({})


def plan_for(tmp_path: Path, run: str = "run-7", *overrides: str) -> str:
    store = f"store={(tmp_path / 'store').as_uri()}"
    return make_plans(resolve("laptop", [store, *overrides]), run).pretrain.text


def config_in(plan: str) -> PretrainConfig:
    return PretrainConfig.model_validate(json.loads(plan)["trainings"]["comface/0"])


def publish(store: FileStore, config: PretrainConfig, shards: Any) -> str:
    draft = draft_backbone(store, config, shards)
    draft.write("curve.png", b"\x89PNG")
    return draft.publish({"validation": {"corr": 0.5, "top1": None}, "steps": 20}).uri


def test_on_a_laptop_the_step_trains_itself_and_kubernetes_is_never_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom comface.pretrain.from_plan import choose_launcher\n"
        "from comface.pretrain.config import PretrainConfig\n"
        "print(type(choose_launcher(None, PretrainConfig(nodes=1, gpus_per_node=0), None, None, '')).__name__)\n"
        "print(sorted({'kubernetes', 'torch', 'kfp'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["InProcess", "[]"]


def test_one_process_needs_no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(local_launcher(1, 0, lambda: None, {}), InProcess)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert isinstance(local_launcher(1, 1, lambda: None, {}), InProcess)


def test_a_training_on_the_cpu_has_the_processes_that_it_is_told_or_one_per_core(monkeypatch) -> None:
    def count(processes: int | None, cores: int, pairs: int = 40) -> int:
        monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
        here = {"nodes": 1, "gpus_per_node": 0, "batchnorm": "global"}
        return cpu_processes(PretrainConfig(processes=processes, pairs_per_step=pairs, **here))

    assert [count(3, cores=1), count(None, cores=1), count(None, cores=2), count(None, cores=3)] == [3, 1, 2, 2]
    assert [count(None, cores=64), count(None, cores=64, pairs=38), count(None, cores=8, pairs=9)] == [4, 2, 1]
    for cores, threads in ((1, "1"), (2, "1"), (5, "2")):
        monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
        chosen = local_launcher(1, 0, lambda: None, {}, cpu_processes=2)
        assert isinstance(chosen, Torchrun)
        assert (chosen.processes, chosen.environment["OMP_NUM_THREADS"]) == (2, threads)


def test_a_machine_with_other_cores_never_trains_another_network_unasked() -> None:
    PretrainConfig(nodes=1, gpus_per_node=0, processes=None, backbone="vit_b_16")
    with pytest.raises(ValueError, match="set batchnorm: global, or a number of processes"):
        PretrainConfig(nodes=1, gpus_per_node=0, processes=None, backbone="narrow")


def test_under_torchrun_already_a_process_trains_its_share() -> None:
    assert isinstance(local_launcher(4, 8, lambda: None, {"TORCHELASTIC_RUN_ID": "x"}), InProcess)


def test_more_than_one_machine_has_is_refused_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="requests 4 nodes, but this is one machine"):
        local_launcher(4, 8, lambda: None, {})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigurationError, match="requests 99 GPUs, but this machine has 2; set"):
        local_launcher(1, 99, lambda: None, {})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigurationError, match=r"requests 1 GPU, but PyTorch finds none .* use --profile laptop"):
        local_launcher(1, 1, lambda: None, {})


def test_without_a_job_its_artifact_says_so_and_what_is_published_is_not_trained_again(tmp_path, shards) -> None:
    plan = plan_for(tmp_path)
    uri = publish(FileStore(tmp_path / "store"), config_in(plan), shards)
    curve, job = tmp_path / "curve.html", tmp_path / "job.yaml"
    key, name, figures = pretrain_backbone(plan, shards.uri, str(curve), str(job))
    (backbone,) = handed(FileStore(tmp_path / "store"), "run-7", [key], "backbone")
    assert (backbone.uri, name, figures) == (uri, "comface/0", {"held_out_corr": 0.5})
    assert job.read_text() == NO_JOB


def test_where_it_trains_does_not_change_what_it_makes_but_for_the_number_of_processes(tmp_path, shards) -> None:
    store, here = FileStore(tmp_path / "store"), config_in(plan_for(tmp_path))

    def address(**where: object) -> str:
        return draft_backbone(store, here.model_copy(update=where), shards, {}).uri

    queued = here.job.model_copy(update={"queue": "q"})
    assert address(nodes=4, gpus_per_node=8) == address(nodes=8, gpus_per_node=4, job=queued)
    assert address(nodes=4, gpus_per_node=8) != address(nodes=4, gpus_per_node=4)


# In a cluster: the whole step, through the environment that KFP and the pipeline give it


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    server = KubernetesApi()
    server.cluster.put("pods", own_pod())
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig", NAMESPACE)))
    for name, value in zip(FIELD_PATHS, ("launcher-1", "uid-1", NAMESPACE), strict=True):
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


def test_in_a_pod_that_asks_for_nodes_the_step_makes_a_job_and_returns_its_backbone(cluster, tmp_path, shards) -> None:
    plan = plan_for(tmp_path, "run-7", "pretrain.nodes=2")

    def trained(job: Played) -> None:
        job.start()
        publish(FileStore(tmp_path / "store"), config_in(plan), shards)
        job.succeed()

    cluster.cluster.operator = Operator(cluster.cluster, trained)
    task = SimpleNamespace(env=[SECRET], node_selector={"pool": "a100"})
    rendered = tmp_path / "job.yaml"
    key, *_ = pretrain_backbone(plan, shards.uri, str(tmp_path / "curve.html"), str(rendered), task)
    (backbone,) = handed(FileStore(tmp_path / "store"), "run-7", [key], "backbone")
    assert backbone.uri == draft_backbone(FileStore(tmp_path / "store"), config_in(plan), shards).uri
    (job,) = [value for (plural, _), value in cluster.cluster.objects.items() if plural == "pytorchjobs"]
    text = rendered.read_text()
    assert "kind: PyTorchJob" in text
    assert f"name: {job['metadata']['name']}" in text
    assert "pool: a100" in text
    assert job["metadata"]["labels"]["comface.io/run"] == "run-7"


def test_a_person_with_a_kubeconfig_launches_the_same_job(cluster, tmp_path, shards) -> None:
    plan = plan_for(tmp_path, "", "pretrain.nodes=2", "pretrain.job.kind=trainjob")

    def trained(job: Played) -> None:
        job.start()
        publish(FileStore(tmp_path / "store"), config_in(plan), shards)
        job.succeed()

    cluster.cluster.operator = Operator(cluster.cluster, trained)
    pretrain_backbone(plan, shards.uri, str(tmp_path / "curve.html"))
    assert cluster.cluster.asked("^POST .*/trainjobs") == 1


def test_a_job_that_leaves_no_backbone_fails_the_step(cluster, tmp_path, shards, capfd) -> None:
    cluster.cluster.operator = Operator(cluster.cluster, lambda job: (job.start(), job.succeed()))
    with pytest.raises(SystemExit) as end:
        pretrain_backbone(plan_for(tmp_path, "run-7", "pretrain.nodes=2"), shards.uri, str(tmp_path / "curve.html"),
                          str(tmp_path / "job.yaml"))  # fmt: skip
    assert end.value.code == 65
    assert "did not publish a backbone at" in capfd.readouterr().err


def test_the_exit_handler_of_a_failed_run_clears_its_jobs_away(cluster, tmp_path, monkeypatch) -> None:
    body = {"metadata": {"name": "left", "labels": {"comface.io/run": "run-7"}}, "kind": "PyTorchJob", "spec": {}}
    cluster.cluster.create("pytorchjobs", body)
    store = (tmp_path / "store").as_uri()
    ending("SUCCEEDED", "laptop", store, "run-7")
    assert cluster.cluster.get("pytorchjobs", "left") is not None
    ending("FAILED", "laptop", store, "run-7")
    assert cluster.cluster.get("pytorchjobs", "left") is None


RECORD = "failures/run-7/pretrain.json"


@pytest.mark.parametrize(("ago_s", "left"), [(5, True), (4000, False)], ids=["just now", "an earlier attempt"])
def test_the_exit_handler_leaves_a_job_alone_whose_step_said_that_it_goes_on(
    cluster, tmp_path, capfd, ago_s, left
) -> None:
    body = {"metadata": {"name": "left", "labels": {"comface.io/run": "run-7"}}, "kind": "PyTorchJob", "spec": {}}
    cluster.cluster.create("pytorchjobs", body)
    sentence = f"The Kubernetes API did not answer; {KEEPS_RUNNING}, run the step again."
    record = {"step": "pretrain", "sentence": sentence, "exit_code": 75, "at": time.time() - ago_s}
    FileStore(tmp_path / "store").write(RECORD, sealed(record))
    ending("FAILED", "laptop", (tmp_path / "store").as_uri(), "run-7")
    assert (cluster.cluster.get("pytorchjobs", "left") is not None) == left
    assert ("keeps running: retry the run to reattach to it" in capfd.readouterr().err) == left


def test_of_several_trainings_the_exit_handler_keeps_only_the_job_whose_step_said_that_it_goes_on(
    cluster, tmp_path, capfd
) -> None:
    for name, training in (("left", "comface:inter/1"), ("ended", "comface/0")):
        labels = {"comface.io/run": "run-7", "comface.io/training": label_value(training)}
        cluster.cluster.create("pytorchjobs", {"metadata": {"name": name, "labels": labels}, "kind": "PyTorchJob"})
    record = {"step": "pretrain", "sentence": f"No answer; {KEEPS_RUNNING}.", "exit_code": 75, "at": time.time()}
    key = f"failures/run-7/{record_name('pretrain', 'comface:inter/1')}.json"
    FileStore(tmp_path / "store").write(key, sealed(record))
    ending("FAILED", "laptop", (tmp_path / "store").as_uri(), "run-7")
    assert cluster.cluster.get("pytorchjobs", "left") is not None
    assert cluster.cluster.get("pytorchjobs", "ended") is None
    assert "the training job of the run keeps running" in capfd.readouterr().err


def test_the_trainings_of_a_run_have_jobs_labels_and_failures_of_their_own(tmp_path, shards) -> None:
    plan = plan_for(
        tmp_path, "run-7", "pretrain.nodes=2", "seeds=[0, 1]", "transfer.methods=[comface, 'comface:inter']"
    )
    store, place, requests = FileStore(tmp_path / "store"), Place("launcher-1", "uid-1", NAMESPACE), []
    for chosen in json.loads(plan)["trainings"]:
        planned = PretrainPlan.model_validate(json.loads(plan) | {"chosen": chosen})
        uri = draft_backbone(store, planned.pretrain, shards).uri
        work = Work("run-7", planned.text, shards.pinned, uri, planned.pretrain, lambda: False, planned.item)
        requests.append(make_request(work, place, Forwarded(), own_pod(), 0))
    assert len({request.name for request in requests}) == len(requests) == 4
    labels = [request.labels()["comface.io/training"] for request in requests]
    assert labels == ["comface-0", "comface-1", "comface-inter-0", "comface-inter-1"]
    assert len({request.arguments[1] for request in requests}) == 4, "each publishes another backbone"


@pytest.mark.parametrize("record", [b"", b"[]", b"{half", b"{}", b"\xff"])
def test_a_record_that_cannot_be_read_does_not_fail_the_exit_handler(cluster, tmp_path, capfd, record) -> None:
    FileStore(tmp_path / "store").write(RECORD, record)
    assert ending("FAILED", "laptop", (tmp_path / "store").as_uri(), "run-7") == "run-7: failed"
    assert "it is unknown which step failed: The record 'failures/run-7/pretrain.json' of" in capfd.readouterr().err


@pytest.mark.parametrize("kubeconfig", ["", "]", "{}", "text", "absent"])
def test_the_exit_handler_says_in_one_line_what_it_could_not_ask(
    cluster, tmp_path, capfd, monkeypatch, kubeconfig
) -> None:
    path = tmp_path / "broken"
    if kubeconfig != "absent":
        path.write_text(kubeconfig)
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert ending("FAILED", "laptop", "s3://no_such bucket", "run-7") == "run-7: failed"
    said = capfd.readouterr().err
    assert "it is unknown which step failed: " in said
    assert "jobs of the run were not searched: The kubeconfig" in said or "KUBECONFIG names" in said
    assert "Traceback" not in said
    assert said.endswith(" INFO finish: run-7: failed\n")


# What the processes tell


def test_a_worker_refuses_to_make_another_backbone_than_its_launcher_waits_for(tmp_path, shards) -> None:
    told = tmp_path / "told"
    told.touch()
    with pytest.raises(SystemExit) as end:
        worker.main(["--result", "file:///elsewhere", "--told", str(told), plan_for(tmp_path), shards.uri])
    assert end.value.code == 64
    words = json.loads(told.read_text())
    assert words["exit_code"] == 64
    assert "they run different code; use the same image for both" in words["sentence"]


def test_a_worker_that_ends_for_what_an_earlier_attempt_found_tells_it_too(tmp_path, shards) -> None:
    arguments = ["--result", "file:///elsewhere", "--told", str(tmp_path / "told"), plan_for(tmp_path), shards.uri]
    for _ in range(2):
        (tmp_path / "told").write_text("")
        with pytest.raises(SystemExit):
            worker.main(arguments)
        assert json.loads((tmp_path / "told").read_text())["exit_code"] == 64


def test_the_first_to_fail_tells_and_its_peers_are_silent(tmp_path) -> None:
    told = tmp_path / "told"
    worker.tell(told, DataError("nobody reads this."))
    assert not told.exists(), "there is no such place outside of Kubernetes"
    told.touch()
    worker.tell(told, DataError("The first."))
    worker.tell(told, Preempted("The second."))
    assert json.loads(told.read_text())["sentence"] == "The first."


def test_last_words_fit_into_what_kubernetes_keeps() -> None:
    for letter in "xä€🙂":
        assert len(last_words(DataError(letter * 9000)).encode()) < 4096


@pytest.mark.parametrize("kind", [ConfigurationError, DataError, Preempted])
def test_what_a_process_told_is_the_error_of_the_step(kind: type[ComfaceError]) -> None:
    error = failure(last_words(kind("What was wrong.")), "")
    assert (type(error), str(error)) == (kind, "What was wrong.")
    pod = {"metadata": {"name": "p"}, "status": {"containerStatuses": [
        {"name": "pytorch", "state": {"terminated": {"exitCode": 1, "message": last_words(kind("What was wrong."))}}}
    ]}}  # fmt: skip
    cause = find_cause([pod])
    assert cause is not None
    assert (cause.error, cause.sentence) == (kind, "What was wrong.")


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("epoch 1\nKilled", "Killed"),
        ("Traceback\n[rank3]: torch.OutOfMemoryError: no room\nmore", "torch.OutOfMemoryError: no room"),
        ("ValueError: first\nx.y.ChildFailedError: \n====", "ValueError: first"),
        ("RuntimeError: peer\nerror in pretrain: The store is full.\nRuntimeError: later", "The store is full."),
    ],
)  # fmt: skip
def test_the_line_that_says_what_was_wrong_is_found(log: str, line: str) -> None:
    assert last_error(log) == line


def test_sigterm_is_forwarded_to_the_processes_and_remembered() -> None:
    """So a training that ended without a message after it is reported as asked to stop, not as a failure."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], text=True)
    with stopping(child) as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert child.wait(30) == -signal.SIGTERM
        assert asked()
