"""A cluster that says no, for a while or for good: what the launcher waits for, what it says, when it gives up.

The words are those of real servers (Kubernetes 1.36, training operator 1.9). What is asserted: exit code, the one
sentence, and what is left in the cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes_api import Fault, KubernetesApi, refused
from launching import FAST, NAMESPACE, launcher_for
from playing import WORKFLOW, Operator, Played, own_pod

from comface.launch import KEEPS_RUNNING
from comface.launch.cluster_launcher import end_jobs
from comface.launch.place import Place

KINDS = ("pytorchjob", "trainjob")
COUNT = (
    'pytorchjobs.kubeflow.org "comface-run-7" is forbidden: exceeded quota: comface, requested: '
    "count/pytorchjobs.kubeflow.org=1, used: count/pytorchjobs.kubeflow.org={}, limited: "
    "count/pytorchjobs.kubeflow.org={}"
)
ROLE = (
    'pytorchjobs.kubeflow.org is forbidden: User "system:serviceaccount:research:default-editor" cannot get resource '
    '"pytorchjobs" in API group "kubeflow.org" in the namespace "research"'
)
DOWN = (
    'Internal error occurred: failed calling webhook "validator.pytorchjob.training-operator.kubeflow.org": failed to '
    'call webhook: Post "https://training-operator.kubeflow.svc:443/validate-kubeflow-org-v1-pytorchjob?timeout=10s": '
    'no endpoints available for service "training-operator"'
)
GPUS = (
    'Error creating: pods "comface-run-7-worker-0" is forbidden: exceeded quota: comface, requested: '
    "requests.nvidia.com/gpu=8, used: requests.nvidia.com/gpu={}, limited: requests.nvidia.com/gpu={}"
)
SECURITY = (
    'Error creating: pods "comface-run-7-worker-0" is forbidden: violates PodSecurity "restricted:latest": '
    'allowPrivilegeEscalation != false (container "init-pytorch" must set securityContext…)'
)


def body(status: int, message: str) -> bytes:
    return json.dumps(refused(status, message, "Forbidden")[1]).encode()


def success(job: Played) -> None:
    job.start()
    job.succeed()


def jobs(api: KubernetesApi) -> list[str]:
    return [name for plural, name in api.cluster.objects if plural.endswith("jobs")]


def count(api: KubernetesApi, verb: str) -> int:
    return api.cluster.asked(f"^{verb} ")


# A quota on jobs


def test_a_quota_that_is_used_up_is_waited_for_and_said_in_the_servers_words(launch, api) -> None:
    words = COUNT.format(2, 2)
    api.cluster.faults.append(Fault("^POST", 4, 403, body=body(403, words)))
    ending = launch(success)
    assert ending.code == 0
    assert ending.said.count("waits for room in a quota of the namespace") == 1, "every few minutes, not at every look"
    assert words in ending.said
    assert count(api, "POST") == 5


def test_the_wait_for_a_quota_is_said_again_and_again(launch, api) -> None:
    api.cluster.faults.append(Fault("^POST", 8, 403, body=body(403, COUNT.format(2, 2))))
    assert launch(success, timing=replace(FAST, tell_s=0.1)).said.count("waits for room in a quota") > 1


def test_a_quota_that_is_too_small_for_one_job_is_not_waited_for(launch, api) -> None:
    api.cluster.faults.append(Fault("^POST", 9, 403, body=body(403, COUNT.format(0, 0))))
    ending = launch(success)
    assert ending.code == 64
    assert "is too small for the job" in ending.sentence
    assert "limited: count/pytorchjobs.kubeflow.org=0" in ending.sentence
    assert "Role" not in ending.sentence


# Permissions


def test_an_api_server_that_has_not_loaded_its_roles_yet_is_waited_for(launch, api) -> None:
    api.cluster.faults.append(Fault("", 5, 403, body=body(403, ROLE)))
    ending = launch(success)
    assert ending.code == 0
    assert "denies" in ending.said
    assert len(jobs(api)) == 1


def test_what_worked_before_in_this_life_is_never_forbidden_for_good(launch, api) -> None:
    def restarted(job: Played) -> None:
        job.start()
        job.seen()
        api.cluster.forbidden |= {"GET pytorchjobs", "GET pods"}
        time.sleep(3 * FAST.forbidden_s)
        api.cluster.forbidden.clear()
        job.seen()
        job.succeed()

    ending = launch(restarted)
    assert ending.code == 0
    assert count(api, "DELETE") == 0


def test_a_server_that_forbids_after_it_was_away_gets_its_whole_time_to_load_its_roles(launch, api) -> None:
    api.cluster.faults += [Fault("^POST", 6, 503), Fault("^POST", 2, 403, body=body(403, ROLE))]
    timing = replace(FAST, backoff_s=0.05, forbidden_s=0.25)  # away for longer than it may forbid
    assert launch(success, timing=timing).code == 0


def test_what_stays_forbidden_ends_the_launcher_but_leaves_its_job_and_says_so(launch, api, left_behind) -> None:
    left_behind().start()
    api.cluster.forbidden.add("GET pods")
    own = f"^GET .*/namespaces/{NAMESPACE}/pods/launcher-1"
    ending = launch(success)
    assert api.cluster.asked(own) > 2, "asked again before it is believed"
    assert ending.code == 64
    assert "give the step's service account the Role of docs/launcher.md" in ending.sentence
    assert KEEPS_RUNNING in ending.sentence
    assert len(jobs(api)) == 1


def test_a_webhook_that_denies_a_job_is_quoted_and_not_asked_again(launch, api) -> None:
    words = 'admission webhook "policy.example.com" denied the request: images must come from registry.example'
    api.cluster.faults.append(Fault("^POST", 9, 403, body=body(403, words)))
    ending = launch(success)
    assert ending.code == 64
    assert "images must come from registry.example" in ending.sentence
    assert "Role" not in ending.sentence
    assert count(api, "POST") == 1


def test_a_namespace_that_is_not_there_is_named(launch, api) -> None:
    api.cluster.faults.append(Fault("^POST", 9, 404, body=body(404, f'namespaces "{NAMESPACE}" not found')))
    ending = launch(success)
    assert ending.code == 64
    assert f"The cluster has no namespace '{NAMESPACE}'" in ending.sentence


# The operator that is down


def test_a_webhook_that_comes_back_is_waited_for_and_the_server_is_quoted(launch, api) -> None:
    api.cluster.faults.append(Fault("^POST", 3, 500, body=body(500, DOWN)))
    ending = launch(success)
    assert ending.code == 0
    assert 'no endpoints available for service "training-operator"' in ending.said


def test_a_webhook_that_stays_away_says_that_the_operator_does_not_run(launch, api) -> None:
    api.cluster.faults.append(Fault("^POST", 10**6, 500, body=body(500, DOWN)))
    ending = launch(success, timing=replace(FAST, unseen_s=0.3))
    assert ending.code == 75
    assert 'no endpoints available for service "training-operator"' in ending.sentence
    assert "the training operator does not run: kubectl get deployments" in ending.sentence


# Pods that are refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (GPUS.format(0, 0), "raise the quota"),
        (GPUS.format(8, 8), "raise the quota"),  # two nodes of 8 never fit into 8, whoever uses them
        (SECURITY, "docs/cluster.md"),
        ('Error creating: pods "x" is forbidden: maximum memory usage per Container is 8Gi', "LimitRange"),
        ('Error creating: admission webhook "policy.example.com" denied the request: no', "ask the owner"),
        ('Error creating: pods "x" is forbidden: error looking up service account research/x', "remove the cause"),
    ],
)  # fmt: skip
def test_a_pod_that_is_refused_ends_the_job_with_the_reason(launch, api, kind, message, advice) -> None:
    def refuse(job: Played) -> None:
        job.condition("Created")
        job.event("FailedCreatePod" if kind == "pytorchjob" else "FailedCreate", message)

    ending = launch(refuse, kind=kind, timing=replace(FAST, stuck_s=0.3))
    assert ending.code == 64
    assert message in ending.sentence
    assert advice in ending.sentence
    assert f"is refused: {message}" in ending.said
    assert jobs(api) == []


@pytest.mark.parametrize(("used", "code"), [(40, 75), (48, 75), (8, 64)], ids=["others'", "all others'", "its own"])
def test_a_master_that_runs_does_not_hold_its_gpus_for_a_worker_that_is_refused(launch, api, used, code) -> None:
    """A quota that others use frees itself: 75. One that two nodes do not fit into never does: 64."""

    def half(job: Played) -> None:
        job.pod(job.pods[0], 0)
        job.condition("Running")
        job.event("FailedCreatePod", GPUS.format(used, max(8, used)))

    ending = launch(half, timing=replace(FAST, stuck_s=0.3))
    assert ending.code == code
    assert "exceeded quota" in ending.sentence
    assert jobs(api) == []


def test_without_any_pod_a_quota_that_others_use_is_waited_for(launch) -> None:
    def late(job: Played) -> None:
        job.condition("Created")
        job.event("FailedCreatePod", GPUS.format(40, 48))
        time.sleep(0.6)
        success(job)

    ending = launch(late, timing=replace(FAST, stuck_s=0.2, unseen_s=0.2, tell_s=5))
    assert ending.code == 0
    assert ending.said.count("is refused: ") == 1


def test_a_refusal_that_passes_counts_for_nothing(launch, api) -> None:
    def healed(job: Played) -> None:
        job.event("FailedCreatePod", SECURITY)
        job.condition("Created")
        time.sleep(0.2)
        job.start()
        time.sleep(0.6)
        job.succeed()

    assert launch(healed, timing=replace(FAST, stuck_s=0.5)).code == 0


def test_an_event_of_an_earlier_job_or_of_another_counts_for_nothing(launch) -> None:
    def crowded(job: Played) -> None:
        job.condition("Created")
        job.event("FailedCreatePod", SECURITY, at="2020-01-01T00:00:00Z")
        job.event("FailedCreatePod", SECURITY, about="comface-run-8-0123456789-worker-0")
        time.sleep(0.5)
        success(job)

    assert launch(crowded, timing=replace(FAST, stuck_s=0.2)).code == 0


def test_why_a_pod_does_not_start_is_said_also_where_only_an_event_tells(launch) -> None:
    def unmounted(job: Played) -> None:
        job.condition("Created")
        job.pod(job.pods[0], 0, "Pending")
        job.event("FailedScheduling", "0/9 nodes are available: 9 Insufficient nvidia.com/gpu.", about=job.pods[0])
        job.seen()
        success(job)

    ending = launch(unmounted)
    assert ending.code == 0
    assert (
        ending.said.count("is waiting: FailedScheduling: 0/9 nodes are available: 9 Insufficient nvidia.com/gpu.") == 1
    )


@pytest.mark.parametrize(("again", "code"), [(True, 64), (False, 0)], ids=["again and again", "once"])
def test_a_pod_that_holds_its_gpus_and_cannot_mount_is_given_up_while_that_is_told_again(
    launch, api, again, code
) -> None:
    def unmounted(job: Played) -> None:
        job.pod(job.pods[0], 0)
        job.pod(job.pods[1], 1, "Pending")
        job.condition("Running")
        for _ in range(8):
            if again or not api.cluster.asked("events"):
                job.event("FailedMount", 'MountVolume.SetUp failed: secret "x" not found', about=job.pods[1])
            time.sleep(0.1)
        if job.cluster.get(job.plural, job.name):
            success(job)

    ending = launch(unmounted, timing=replace(FAST, stuck_s=0.4))
    assert ending.code == code
    assert "is waiting: FailedMount: MountVolume.SetUp failed" in ending.said
    if code:
        assert 'cannot start (FailedMount: MountVolume.SetUp failed: secret "x" not found)' in ending.sentence


@pytest.mark.parametrize(
    ("published", "code", "expected"),
    [
        (True, 0, "the training operator does not report that the job"),
        (False, 75, "ended without a result, and the training operator reports no reason"),
    ],
)
def test_a_job_that_ended_while_no_operator_looked_is_not_waited_for(launch, api, published, code, expected) -> None:
    def unsaid(job: Played) -> None:
        job.start()
        for index in range(len(job.pods)):
            job.end_container(index, 0)

    ending = launch(unsaid, done=lambda: published, timing=replace(FAST, unseen_s=0.3))
    assert ending.code == code
    assert expected in (ending.sentence or ending.said)


def test_an_account_that_may_not_list_events_trains_all_the_same(launch, api) -> None:
    def slow(job: Played) -> None:
        job.condition("Created")
        job.seen()
        success(job)

    api.cluster.forbidden.add("GET events")
    ending = launch(slow)
    assert ending.code == 0
    assert ending.said.count("this account may not list events") == 1


# Answers that are odd


ODD: list[Any] = [
    {"status": None},
    {"status": {"conditions": None, "startTime": None}},
    {"status": {"conditions": [None, "text", {"type": "Failed"}, {"status": "True"}], "startTime": "yesterday"}},
    {"status": "text", "spec": None},
    {"metadata": {"labels": None, "ownerReferences": None, "creationTimestamp": None}},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odd", ODD, ids=[str(number) for number in range(len(ODD))])
def test_a_job_whose_fields_are_null_or_odd_is_read_as_far_as_it_goes(launch, api, kind, odd) -> None:
    def strange(job: Played) -> None:
        whole = api.cluster.get(job.plural, job.name)
        metadata = {**whole["metadata"], **odd.get("metadata", {})}
        api.cluster.put(job.plural, {**whole, **odd, "metadata": metadata})
        job.seen()
        api.cluster.put(job.plural, whole)
        success(job)

    assert launch(strange, kind=kind).code == 0


@pytest.mark.parametrize(
    "status",
    [
        None,
        {"containerStatuses": [None, {"name": None, "state": {"terminated": None}, "restartCount": None}]},
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": None}], "phase": None},
        {"containerStatuses": [{"lastState": {"terminated": {"exitCode": None}}, "state": []}], "reason": None},
    ],
    ids=["no status", "null containers", "null messages", "null ends"],
)  # fmt: skip
def test_a_pod_whose_fields_are_null_is_no_reason_to_end(launch, api, status) -> None:
    def strange(job: Played) -> None:
        job.start()
        pod = api.cluster.get("pods", job.pods[1])
        api.cluster.put("pods", {**pod, "status": status, "metadata": {**pod["metadata"], "annotations": None}})
        job.seen()
        job.report(1) if status else api.cluster.put("pods", pod)
        job.succeed()

    assert launch(strange).code == 0


@pytest.mark.parametrize(
    "items", [b'{"metadata": {}, "items": null}', b'{"items": [null, 3, {}, {"metadata": null}]}', b"{}"]
)
def test_a_list_without_items_is_an_empty_one_or_asked_for_again(launch, api, items) -> None:
    api.cluster.faults.append(Fault("^GET .*/pods\\?", 2, 200, body=items))
    assert launch(success).code == 0


@pytest.mark.parametrize("status", [404, 403, 500, 410])
def test_a_page_of_a_proxy_is_not_the_servers_word(launch, api, status) -> None:
    api.cluster.faults.append(Fault("^(GET|POST) ", 4, status, body=b"<html><body>gateway</body></html>"))
    assert launch(success).code == 0


# Who owns the job, and what takes it along


def with_workflow(name: str = "launcher-1", **status: Any) -> dict[str, Any]:
    own = own_pod()
    metadata = {**own["metadata"], "name": name, "ownerReferences": [{**WORKFLOW, "controller": True}]}
    return {**own, "metadata": metadata, "status": status}


def test_a_job_belongs_to_the_runs_workflow_and_its_next_attempt_changes_nothing(launch, api, tmp_path) -> None:
    api.cluster.put("pods", with_workflow())
    assert launch(success).code == 0
    (name,) = jobs(api)
    assert api.cluster.get("pytorchjobs", name)["metadata"]["ownerReferences"] == [WORKFLOW]
    api.cluster.put("pods", with_workflow("launcher-2"))
    from launching import work_for

    from comface.launch.config import JobConfig

    launcher_for(api.url, tmp_path, pod="launcher-2", uid="uid-2").train(work_for(JobConfig(), done=lambda: True))
    assert count(api, "PATCH") == 0


@pytest.mark.parametrize("taken", [True, False], ids=["drained", "terminated"])
def test_a_launcher_that_is_drained_leaves_its_job_and_one_that_is_terminated_does_not(api, tmp_path, taken) -> None:
    api.cluster.operator = Operator(api.cluster, lambda job: job.start())
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    api.cluster.put("pods", with_workflow(conditions=[condition] if taken else []))
    environment = {**os.environ, "COMFACE_POD_NAME": "launcher-1", "COMFACE_POD_UID": "uid-1"}
    script = Path(__file__).with_name("launching.py")
    command = [sys.executable, str(script), api.url, str(tmp_path)]
    child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    api.cluster.wait(lambda: api.cluster.asked("watch=true"), 60)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 143
    assert len(jobs(api)) == (1 if taken else 0)
    if taken:
        assert "was taken from its node (EvictionByEvictionAPI); its job" in said.splitlines()[-1]


# The exit handler


def test_the_exit_handler_says_nothing_of_kinds_that_it_may_not_list(api, left_behind, tmp_path, capfd) -> None:
    job = left_behind()
    job.start()
    api.cluster.forbidden.add("GET trainjobs")
    end_jobs("run-7", Place("finish-1", "uid-9", NAMESPACE), launcher_for(api.url, tmp_path).client, FAST)
    assert jobs(api) == []
    assert (
        capfd.readouterr().err.partition(" INFO ")[2]
        == f"deleting the job '{job.name}', which still runs after its step\n"
    )


def test_the_exit_handler_asks_again_where_it_may_list_nothing_and_then_says_so(api, tmp_path, capfd) -> None:
    client, place = launcher_for(api.url, tmp_path).client, Place("finish-1", "uid-9", NAMESPACE)
    api.cluster.faults.append(Fault("", 3, 403, body=body(403, ROLE)))
    end_jobs("run-7", place, client, FAST)
    assert "not searched" not in capfd.readouterr().err, "its Roles came late"
    api.cluster.forbidden |= {"GET trainjobs", "GET pytorchjobs"}
    end_jobs("run-7", place, client, FAST)
    assert "jobs of the run were not searched, because this account may list none" in capfd.readouterr().err
