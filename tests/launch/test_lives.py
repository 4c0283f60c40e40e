"""Lives of a training job, each played against a real HTTP API with the real client, each ending as it should.

What is asserted: exit code, the one sentence, the requests that were made, and what is left in the cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes_api import Fault, KubernetesApi
from launching import FAST, NAMESPACE, launcher_for
from playing import Operator, Played, own_pod, told

from comface.launch import pytorchjob
from comface.launch.api import Api
from comface.launch.cluster_launcher import end_jobs
from comface.launch.place import Place

KINDS = ("pytorchjob", "trainjob")
NAME = "comface-run-7-"


def jobs(api: KubernetesApi) -> list[str]:
    return [name for plural, name in api.cluster.objects if plural != "pods"]


def when(api: KubernetesApi, happened: Any, act: Any) -> None:
    threading.Thread(target=lambda: (api.cluster.wait(happened, 60), act()), daemon=True).start()


def creations(api: KubernetesApi) -> int:
    return api.cluster.asked("^POST ")


def deletions(api: KubernetesApi) -> int:
    return api.cluster.asked("^DELETE ")


def success(job: Played) -> None:
    job.start()
    job.cluster.log(job.pods[0], "epoch 1/2", "epoch 2/2")
    job.succeed()


def forever(job: Played) -> None:
    job.start()


def evicted(job: Played) -> None:
    job.start()
    job.report(1, phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    job.fail()


# Ends of the training itself


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_succeeds_ends_the_step_well_and_its_log_is_the_steps(launch, api, kind) -> None:
    ending = launch(success, kind=kind)
    assert (ending.code, ending.sentence) == (0, "")
    said = [line.partition(" INFO ")[2] for line in ending.said.splitlines() if "[rank 0]" in line]
    assert said[:2] == ["[rank 0] epoch 1/2", "[rank 0] epoch 2/2"]
    assert creations(api) == 1
    assert deletions(api) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_fails_fails_the_step_with_the_failing_pods_last_error(launch, api, kind) -> None:
    def crash(job: Played) -> None:
        job.start()
        job.cluster.log(job.pods[1], "Traceback (most recent call last):", "[rank1]: RuntimeError: CUDA out of memory",
                        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ")  # fmt: skip
        job.end_container(1, 1)
        time.sleep(0.01)
        job.end_container(0, 1)
        job.fail()

    ending = launch(crash, kind=kind)
    assert ending.code == 1
    pod = ending.operator.jobs[0].pods[1]
    assert f"failed in its pod '{pod}'" in ending.sentence
    assert "exit code 1: RuntimeError: CUDA out of memory" in ending.sentence
    assert f"[{pod}] Traceback" in ending.said
    assert deletions(api) == 0, "it is kept for who looks into it"


def test_the_sentence_of_a_process_and_its_exit_code_are_the_steps(launch) -> None:
    def damaged(job: Played) -> None:
        job.start()
        job.end_container(0, 1, message="torchrun: a peer has gone")
        job.end_container(1, 1, message=told(65, "The loss is not finite at epoch 1, step 9."))
        job.fail()

    ending = launch(damaged)
    assert (ending.code, ending.sentence) == (65, "The loss is not finite at epoch 1, step 9.")


@pytest.mark.parametrize("kind", KINDS)
def test_what_would_come_again_ends_the_job_before_it_is_restarted(launch, api, kind) -> None:
    def wrong(job: Played) -> None:
        job.start()
        job.end_container(0, 1, restarts=1, message=told(64, "The shards hold too few identities; shard again."))

    ending = launch(wrong, kind=kind)
    assert (ending.code, ending.sentence) == (64, "The shards hold too few identities; shard again.")
    assert jobs(api) == []


def test_a_pod_killed_for_memory_says_what_to_raise(launch) -> None:
    def hungry(job: Played) -> None:
        job.start()
        job.end_container(1, 137, reason="OOMKilled")
        job.fail()

    ending = launch(hungry)
    assert ending.code == 64
    assert "OOMKilled" in ending.sentence
    assert "pretrain.job.memory_gib" in ending.sentence


def test_a_failed_job_without_pods_still_fails_the_step(launch) -> None:
    def vanish(job: Played) -> None:
        job.condition("Created")
        job.fail(message="PyTorchJob is not valid")

    ending = launch(vanish)
    assert ending.code == 1
    assert "PyTorchJob is not valid" in ending.sentence


def test_failed_is_final_whatever_else_holds_and_wherever_it_stands(launch) -> None:
    def muddled(job: Played) -> None:
        job.start()
        job.condition("Failed", message="it failed")
        job.condition("Running")
        job.condition("Succeeded", status="False")

    assert launch(muddled).code == 1


def test_a_condition_that_does_not_hold_is_none(launch) -> None:
    def calm(job: Played) -> None:
        job.start()
        job.condition("Failed", status="False")
        job.condition("Succeeded", status="Unknown")
        job.seen()
        job.condition("Succeeded")
        job.condition("Running", status="False")

    assert launch(calm).code == 0


def test_a_published_result_counts_more_than_a_job_that_failed_after_it(launch) -> None:
    assert launch(lambda job: (job.start(), job.fail()), done=lambda: True).code == 0


# Taken away, and started again


@pytest.mark.parametrize("kind", KINDS)
def test_after_an_eviction_a_new_job_goes_on(launch, api, kind) -> None:
    ending = launch(evicted, success, kind=kind)
    assert ending.code == 0
    assert "was taken away (Evicted)" in ending.said
    assert creations(api) == 2


def test_after_a_preemption_a_new_job_goes_on(launch, api) -> None:
    def preempted(job: Played) -> None:
        job.start()
        target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
        job.report(0, conditions=[target])
        job.end_container(0, 143, message=told(143, "Pre-training was asked to stop; it is saved."))
        job.fail()

    ending = launch(preempted, success)
    assert ending.code == 0
    assert "PreemptionByScheduler" in ending.said
    assert creations(api) == 2


def test_evictions_without_end_end_the_step_with_try_again(launch, api) -> None:
    ending = launch(evicted, resubmissions=2)
    assert ending.code == 75
    assert "was disrupted 3 times" in ending.sentence
    assert creations(api) == 3


def test_pods_of_an_earlier_job_that_are_still_leaving_count_for_nothing(launch, api) -> None:
    def crowded(job: Played) -> None:
        for number in range(9):
            job.pod(f"{job.name}-old-{number}", number)
            old = api.cluster.get("pods", f"{job.name}-old-{number}")
            end = {"terminated": {"exitCode": 1, "message": told(65, "Something was wrong with it.")}}
            status = {"phase": "Failed", "containerStatuses": [{"name": "pytorch", "restartCount": 9, "state": end}]}
            metadata = {**old["metadata"], "creationTimestamp": "2020-01-01T00:00:00Z"}
            api.cluster.put("pods", {**old, "metadata": metadata, "status": status})
        job.start()
        job.seen()
        job.succeed()

    assert launch(crowded).code == 0


def test_a_pod_that_the_operator_makes_anew_is_no_failure(launch, api) -> None:
    def replaced(job: Played) -> None:
        job.start()
        job.report(1, phase="Failed", reason="Evicted")
        job.condition("Restarting")
        job.cluster.remove("pods", job.pods[1])
        job.pod(job.pods[1], 1)
        job.condition("Running")
        job.seen()
        job.succeed()

    assert launch(replaced).code == 0
    assert creations(api) == 1


def test_a_restart_storm_is_given_up_and_the_gpus_are_freed(launch, api) -> None:
    def storm(job: Played) -> None:
        job.start()
        job.cluster.log(f"{job.pods[0]} before", "RuntimeError: NCCL error: rank 1 is gone")
        for count in range(1, 30):
            job.end_container(0, 1, restarts=count, message="RuntimeError: NCCL error")
            time.sleep(0.02)

    ending = launch(storm, restarts=3)
    assert ending.code == 1
    assert "was restarted" in ending.sentence
    assert "RuntimeError: NCCL error: rank 1 is gone" in ending.sentence, "of the container before its restart"
    assert jobs(api) == []


def test_pods_that_are_made_anew_without_end_are_given_up(launch, api) -> None:
    def churn(job: Played) -> None:
        job.start()
        for _ in range(30):
            job.cluster.remove("pods", job.pods[1])
            job.pod(job.pods[1], 1)
            job.condition("Restarting")
            job.condition("Running")
            time.sleep(0.05)
            if job.cluster.get(job.plural, job.name) is None:
                return

    ending = launch(churn, restarts=2)
    assert ending.code == 75
    assert "was restarted 4 times" in ending.sentence
    assert jobs(api) == []


# Queues


@pytest.mark.parametrize("kind", KINDS)
def test_queued_time_counts_for_no_deadline(launch, api, kind) -> None:
    def queued(job: Played) -> None:
        job.condition("Suspended")
        time.sleep(2.2)
        job.suspend(False)
        job.condition("Suspended", status="False")
        success(job)

    ending = launch(queued, kind=kind, queue="gpus", deadline_s=2)
    assert ending.code == 0
    assert "is queued" in ending.said


def test_a_job_that_its_queue_takes_back_waits_and_goes_on(launch, api) -> None:
    def taken_back(job: Played) -> None:
        job.suspend(False)
        job.start()
        job.seen()
        job.suspend(True)
        for pod in job.pods:
            job.cluster.remove("pods", pod)
        job.condition("Running", status="False")
        job.condition("Suspended")
        job.seen()
        job.suspend(False)
        job.condition("Suspended", status="False")
        job.start()
        job.seen()
        job.succeed()

    ending = launch(taken_back, queue="gpus", restarts=1)
    assert ending.code == 0
    assert ending.said.count("is running") == 2
    assert creations(api) == 1


def test_pods_that_wait_for_a_node_are_waited_for_and_said(launch) -> None:
    def crowded(job: Played) -> None:
        job.condition("Created")
        no_node = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/9 nodes"}
        job.pod(job.pods[0], 0, "Pending", conditions=[no_node])
        job.seen()
        success(job)

    ending = launch(crowded)
    assert ending.code == 0
    assert ending.said.count("is waiting: Unschedulable: 0/9 nodes") == 1


# Taking up one's own job


def test_a_started_again_launcher_takes_up_its_job_and_owns_it(launch, api, left_behind) -> None:
    job = left_behind()
    job.start()
    when(api, lambda: api.cluster.asked("^PATCH"), job.succeed)
    ending = launch(success)
    assert ending.code == 0
    assert "reattaching to the job" in ending.said
    assert creations(api) == 0
    owner = api.cluster.get("pytorchjobs", job.name)["metadata"]["ownerReferences"]
    assert [(each["name"], each["uid"]) for each in owner] == [("launcher-1", "uid-1")]


def test_a_job_that_failed_while_nobody_looked_makes_room(launch, api, left_behind) -> None:
    left_behind().fail()
    assert launch(success).code == 0
    assert (creations(api), deletions(api)) == (1, 1)


def test_a_job_that_succeeded_but_left_no_result_makes_room(launch, api, left_behind) -> None:
    left_behind().condition("Succeeded")
    assert launch(success).code == 0
    assert (creations(api), deletions(api)) == (1, 1)


def test_somebody_elses_job_of_the_same_name_is_refused_and_left_alone(launch, api, left_behind) -> None:
    job = left_behind(lambda made: {**made, "metadata": {**made["metadata"], "annotations": {}}})
    ending = launch(success)
    assert ending.code == 64
    assert f"The PyTorchJob '{job.name}' belongs to another run" in ending.sentence
    assert deletions(api) == 0
    assert jobs(api) == [job.name]


def deleting(made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "metadata": {**made["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


def test_a_job_that_is_being_deleted_is_waited_out(launch, api, left_behind) -> None:
    job = left_behind(deleting)
    when(api, lambda: api.cluster.asked("^GET .*jobs/") > 2, lambda: api.cluster.remove("pytorchjobs", job.name))
    assert launch(success).code == 0
    assert creations(api) == 1


def test_a_job_that_never_goes_ends_the_step_with_try_again(launch, left_behind) -> None:
    left_behind(deleting)
    ending = launch(success, timing=replace(FAST, gone_s=0.5))
    assert ending.code == 75
    assert "does not finish" in ending.sentence


def test_a_stale_patch_is_made_again(launch, api, left_behind) -> None:
    job = left_behind()
    job.start()
    api.cluster.faults.append(Fault("^PATCH", status=409))
    when(api, lambda: api.cluster.asked("^PATCH") == 2, job.succeed)
    assert launch(success).code == 0
    assert api.cluster.asked("^PATCH") == 2


# Others


def test_a_job_that_somebody_deletes_ends_the_step_and_stays_deleted(launch, api) -> None:
    def deleted(job: Played) -> None:
        job.start()
        job.cluster.remove(job.plural, job.name)

    ending = launch(deleted)
    assert ending.code == 75
    assert "was deleted from outside" in ending.sentence
    assert creations(api) == 1


def test_a_job_that_is_cleared_away_after_its_result_is_fine(launch) -> None:
    published: list[bool] = []

    def cleared(job: Played) -> None:
        job.start()
        published.append(True)
        job.cluster.remove(job.plural, job.name)

    assert launch(cleared, done=lambda: bool(published)).code == 0


def test_another_job_in_its_place_is_neither_taken_nor_deleted(launch, api) -> None:
    def replaced(job: Played) -> None:
        job.start()
        with job.cluster.changed:
            body = job.cluster.get(job.plural, job.name)
            job.cluster.remove(job.plural, job.name)
            job.cluster.operator = None
            job.cluster.create(job.plural, {**body, "metadata": {"name": job.name, "annotations": {}}})

    ending = launch(replaced)
    assert ending.code == 75
    assert deletions(api) == 0
    assert len(jobs(api)) == 1


def test_a_deletion_is_of_that_very_job(api, left_behind, tmp_path) -> None:
    job = left_behind()
    client = Api(launcher_for(api.url, tmp_path).client(), NAMESPACE, pytorchjob, FAST)
    client.delete(job.name, "the uid of one that is gone")
    assert jobs(api) == [job.name]
    client.delete(job.name, api.cluster.get("pytorchjobs", job.name)["metadata"]["uid"])
    assert jobs(api) == []


# Bounds


def test_a_training_past_its_deadline_is_ended(launch, api) -> None:
    ending = launch(forever, deadline_s=1)
    assert ending.code == 75
    assert "exceeded its deadline of 1 s" in ending.sentence
    assert jobs(api) == []


@pytest.mark.parametrize(
    ("kind", "reason", "message"),
    [
        ("pytorchjob", "PyTorchJobFailed", "Job x has failed because it was active longer than specified deadline"),
        ("trainjob", "DeadlineExceeded", "TrainJob exceeded its active deadline"),
    ],
)
def test_a_deadline_that_the_operator_noticed_is_one_too(launch, kind, reason, message) -> None:
    ending = launch(lambda job: (job.start(), job.fail(reason, message)), kind=kind)
    assert ending.code == 75
    assert "exceeded its deadline" in ending.sentence


def test_a_job_that_no_operator_takes_up_is_not_waited_for(launch, api) -> None:
    ending = launch(lambda job: None, timing=replace(FAST, unseen_s=0.5))
    assert ending.code == 75
    assert "No operator accepted the job" in ending.sentence
    assert "the training operator" in ending.sentence
    assert jobs(api) == []


def test_an_image_that_cannot_be_pulled_ends_the_job(launch, api) -> None:
    def unpullable(job: Played) -> None:
        job.condition("Created")
        state = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
        job.pod(job.pods[0], 0, "Pending", containerStatuses=[{"name": "pytorch", "state": state}])

    ending = launch(unpullable, timing=replace(FAST, stuck_s=0.3))
    assert ending.code == 64
    assert "ImagePullBackOff: not found" in ending.sentence
    assert jobs(api) == []


# The API server


def test_an_api_server_that_restarts_is_waited_for(launch, api) -> None:
    def through_a_restart(job: Played) -> None:
        job.start()
        job.seen()
        api.restart(away_s=0.5)
        job.cluster.log(job.pods[0], "after the restart")
        job.succeed()

    ending = launch(through_a_restart)
    assert ending.code == 0
    assert "does not answer" in ending.said
    assert "[rank 0] after the restart" in ending.said


def test_an_api_server_that_stays_away_ends_the_step_but_not_the_job(launch, api) -> None:
    def gone(job: Played) -> None:
        job.start()
        job.seen()
        api.stop()

    ending = launch(gone, timing=replace(FAST, patience_s=0.5))
    assert ending.code == 75
    assert "the job keeps running" in ending.sentence
    assert len(jobs(api)) == 1


def test_a_watch_that_is_too_old_is_opened_anew(launch, api) -> None:
    def compacted(job: Played) -> None:
        job.start()
        for _ in range(6):
            api.cluster.forget_history()
            time.sleep(0.1)
        job.succeed()

    assert launch(compacted).code == 0


def test_watches_that_are_refused_again_and_again_make_no_storm(launch, api) -> None:
    def refused(job: Played) -> None:
        job.start()
        time.sleep(1)
        job.succeed()

    api.cluster.faults.append(Fault("watch=true", 10**6, 410))
    assert launch(refused, timing=replace(FAST, poll_s=0.2, backoff_s=0.2)).code == 0
    assert api.cluster.asked("watch=true") < 12


def test_too_many_requests_are_answered_with_the_wait_that_is_asked_for(launch, api) -> None:
    api.cluster.faults.append(Fault("^POST", status=429, headers={"Retry-After": "1"}))
    started = time.monotonic()
    assert launch(success).code == 0
    assert time.monotonic() - started > 1
    assert creations(api) == 2


def test_errors_of_the_server_are_tried_again_and_make_one_job(launch, api) -> None:
    api.cluster.faults += [Fault("^POST", 3, 500), Fault("^GET .*pytorchjobs", 4, 503), Fault("^GET .*pods", 2, 504)]
    assert launch(success).code == 0
    assert len(jobs(api)) == 1


def test_a_creation_whose_answer_was_lost_makes_one_job(launch, api) -> None:
    def unhurried(job: Played) -> None:
        time.sleep(0.3)
        success(job)

    api.cluster.faults.append(Fault("^POST", after=True))
    ending = launch(unhurried)
    assert ending.code == 0
    assert len(ending.operator.jobs) == 1
    assert creations(api) == 2


def test_an_answer_that_comes_too_late_is_asked_for_again(launch, api) -> None:
    api.cluster.faults.append(Fault("^GET .*/pytorchjobs/", 2, slow_s=0.5, status=500))
    assert launch(success, timing=replace(FAST, request_s=0.2)).code == 0


@pytest.mark.parametrize("body", [b"<html>gateway</html>", b'{"half": ', b'"text"'])
def test_an_answer_that_is_no_object_is_asked_for_again(launch, api, body) -> None:
    api.cluster.faults.append(Fault("^GET .*/pytorchjobs/", 2, status=200, body=body))
    assert launch(success).code == 0


def test_a_token_that_is_being_renewed_is_no_end(launch, api) -> None:
    api.cluster.faults.append(Fault("^GET", 3, 401))
    ending = launch(success)
    assert ending.code == 0
    assert "refuses the token for 'get pods'" in ending.said


@pytest.mark.parametrize(
    ("what", "verb"), [("POST pytorchjobs", "create pytorchjobs"), ("GET pods", "get pods"), ("GET pytorchjobs", "get")]
)
def test_a_missing_permission_is_named(launch, api, what, verb) -> None:
    api.cluster.forbidden.add(what)
    ending = launch(success)
    assert ending.code == 64
    assert f"Kubernetes has denied '{verb}" in ending.sentence
    assert "docs/launcher.md" in ending.sentence


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_without_the_operators_kind_is_said(launch, api, kind) -> None:
    api.cluster.kinds = {"pods"}
    ending = launch(success, kind=kind)
    assert ending.code == 64
    assert "install the " in ending.sentence


@pytest.mark.parametrize("status", [400, 422])
def test_a_job_that_the_cluster_does_not_take_is_not_sent_again(launch, api, status) -> None:
    api.cluster.faults.append(Fault("^POST", 9, status))
    ending = launch(success)
    assert ending.code == 64
    assert "Kubernetes refuses to create pytorchjobs" in ending.sentence
    assert creations(api) == 1


# Logs


def test_a_log_that_is_cut_goes_on_and_every_line_comes_once(launch, api) -> None:
    def cut(job: Played) -> None:
        api.cluster.log_cuts[job.pods[0]] = 2
        job.start()
        for number in range(8):
            job.cluster.log(job.pods[0], f"step {number}")
            time.sleep(0.1)
        job.succeed()

    said = launch(cut).said
    assert [said.count(f"[rank 0] step {number}\n") for number in range(8)] == [1] * 8


def test_the_log_of_rank_0s_next_pod_follows(launch) -> None:
    def moved(job: Played) -> None:
        job.start()
        job.cluster.log(job.pods[0], "before")
        job.seen()
        job.end_container(0, 1)
        job.cluster.wait(lambda: job.cluster.logs_read, 60)
        job.cluster.remove("pods", job.pods[0])
        job.cluster.ended.clear()
        job.cluster.logs.clear()
        job.pod(job.pods[0], 0)
        job.condition("Restarting")
        job.condition("Running")
        job.seen()
        job.cluster.log(job.pods[0], "behind")
        job.succeed()

    said = launch(moved).said
    assert said.index("[rank 0] before") < said.index("[rank 0] behind")


def test_json_lines_of_the_jobs_pods_are_shown_as_text_with_their_time_and_level(launch) -> None:
    told = {"time": "2026-11-24T22:54:38.123Z", "level": "WARNING", "step": "pretrain", "logger": "comface.pretrain"}

    def speaks(job: Played) -> None:
        job.start()
        job.cluster.log(job.pods[0], json.dumps({**told, "message": "The checkpoint was not saved."}))
        job.succeed()

    line = "2026-11-24T22:54:38Z WARNING pretrain: [rank 0] The checkpoint was not saved.\n"
    assert line in launch(speaks).said


def test_the_json_lines_of_a_pod_that_failed_are_shown_as_text_and_name_the_error(launch) -> None:
    told = {"time": "2026-11-24T22:54:38.123Z", "level": "ERROR", "step": "pretrain", "logger": "comface.execution"}

    def fails(job: Played) -> None:
        job.start()
        error = {"message": "The loss is not finite.", "exception": "Traceback (most recent call last):\nE: x"}
        job.cluster.log(job.pods[0], json.dumps({**told, **error}))
        job.end_container(0, 1)
        job.fail()

    ending = launch(fails)
    assert "The loss is not finite." in ending.sentence
    mark = f"[{ending.operator.jobs[0].pods[0]}] "
    shown = [line.partition(mark)[2] for line in ending.said.splitlines() if mark in line]
    assert shown == ["Traceback (most recent call last):", "E: x", "error in pretrain: The loss is not finite."]


# The launcher itself: processes and signals that are real


def start(api: KubernetesApi, folder: Path, attempt: int = 1) -> subprocess.Popen[str]:
    own = own_pod()
    name, uid = f"launcher-{attempt}", f"uid-{attempt}"
    api.cluster.put("pods", {**own, "metadata": {**own["metadata"], "name": name, "uid": uid}})
    environment = {**os.environ, "COMFACE_POD_NAME": name, "COMFACE_POD_UID": uid}
    script = Path(__file__).with_name("launching.py")
    command = [sys.executable, str(script), api.url, str(folder)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def running(api: KubernetesApi) -> Played:
    job = api.cluster.wait(lambda: next((j for j in api.cluster.operator.jobs), None), 60)
    api.cluster.wait(lambda: api.cluster.asked("watch=true"), 60)
    return job


def test_a_launcher_that_is_asked_to_stop_takes_its_job_along(api, tmp_path) -> None:
    api.cluster.operator = Operator(api.cluster, forever)
    child = start(api, tmp_path)
    running(api)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 143
    assert "Z ERROR pretrain: The step was asked to stop; its job is checkpointed" in said.splitlines()[-1]
    assert jobs(api) == []


def test_a_launcher_that_is_killed_leaves_its_job_and_the_next_one_takes_it_up(api, tmp_path) -> None:
    api.cluster.operator = Operator(api.cluster, forever)
    child = start(api, tmp_path)
    job = running(api)
    child.kill()
    child.communicate()
    assert jobs(api) == [job.name]
    again = start(api, tmp_path, attempt=2)
    api.cluster.wait(lambda: api.cluster.asked("^PATCH"), 60)
    job.succeed()
    _, said = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert creations(api) == 1


def test_a_launcher_that_is_asked_to_stop_while_the_server_is_away_does_not_hang(api, tmp_path) -> None:
    api.cluster.operator = Operator(api.cluster, forever)
    child = start(api, tmp_path)
    running(api)
    api.stop()
    time.sleep(0.2)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 143


def test_the_exit_handler_ends_what_outlived_its_step(api, left_behind, tmp_path) -> None:
    job = left_behind()
    job.start()
    other = {**api.cluster.get("pytorchjobs", job.name)}
    labels = {"comface.io/run": "another-run"}
    api.cluster.create("pytorchjobs", {**other, "metadata": {"name": "another", "labels": labels}})
    client = launcher_for(api.url, tmp_path).client
    end_jobs("run-7", Place("finish-1", "uid-9", NAMESPACE), client, FAST)
    assert jobs(api) == ["another"]
