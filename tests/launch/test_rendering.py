"""The jobs that are asked for: what Kubernetes, the operators, KFP and Pod Security want of them."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from launching import NAMESPACE, SECRET, work_for
from playing import WORKFLOW, own_pod

from comface.errors import ConfigurationError
from comface.launch.cluster_launcher import KINDS, make_request
from comface.launch.config import JobConfig
from comface.launch.place import FIELD_PATHS, STORE_KEYS, Forwarded, Place, forwarded, place_of
from comface.launch.request import job_name, label_value, owner_reference, work_digest

PLACE = Place("launcher-1", "uid-1", NAMESPACE)
FULL = Forwarded(
    resources={"limits": {"nvidia.com/gpu": "1", "memory": "900Gi"}, "requests": {"cpu": "90", "nvidia.com/gpu": "1"}},
    env=[SECRET],
    node_selector={"pool": "a100"},
    tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a100"]}]}]}}},
    volumes=[{"name": "faces", "persistentVolumeClaim": {"claimName": "faces"}}],
    volume_mounts=[{"name": "faces", "mountPath": "/faces"}],
)  # fmt: skip


def render(
    kind: str = "pytorchjob", given: Forwarded = FULL, nodes: int = 4, gpus: int = 8, user: int = 1000, **job: Any
) -> dict[str, Any]:
    work = work_for(JobConfig(kind=kind, **job), nodes=nodes)
    config = work.config.model_copy(update={"gpus_per_node": gpus})
    work = SimpleNamespace(**{**vars(work), "config": config, "arguments": work.arguments})
    return KINDS[kind].render(make_request(work, PLACE, given, own_pod(), user))


def pods_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Pod templates, whatever the kind."""
    if body["kind"] == "PyTorchJob":
        return [replica["template"] for replica in body["spec"]["pytorchReplicaSpecs"].values()]
    patch = body["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    return [patch["template"]["spec"]["template"]]


def trainer_of(body: dict[str, Any]) -> dict[str, Any]:
    """image, command, args, env, resources, whatever the kind."""
    if body["kind"] == "PyTorchJob":
        return pods_of(body)[0]["spec"]["containers"][0]
    trainer = body["spec"]["trainer"]
    return {**trainer, "resources": trainer["resourcesPerNode"]}


def test_four_nodes_of_eight_gpus_are_a_master_and_three_workers() -> None:
    spec = render()["spec"]
    assert {role: part["replicas"] for role, part in spec["pytorchReplicaSpecs"].items()} == {"Master": 1, "Worker": 3}
    assert {part["restartPolicy"] for part in spec["pytorchReplicaSpecs"].values()} == {"OnFailure"}
    assert spec["nprocPerNode"] == "8"
    policy = spec["runPolicy"]
    assert (policy["backoffLimit"], policy["activeDeadlineSeconds"]) == (20, 1_209_600)
    assert [pod["spec"]["containers"][0]["name"] for pod in pods_of(render())] == ["pytorch", "pytorch"]


def test_one_node_is_a_master_alone_and_no_gpus_are_one_process() -> None:
    spec = render(nodes=1, gpus=0)["spec"]
    assert list(spec["pytorchReplicaSpecs"]) == ["Master"]
    assert spec["nprocPerNode"] == "1"
    assert not any("gpu" in name for name in trainer_of(render(nodes=1, gpus=0))["resources"]["limits"])


def test_a_trainjob_asks_for_the_same() -> None:
    spec = render("trainjob")["spec"]
    assert (spec["trainer"]["numNodes"], spec["trainer"]["numProcPerNode"]) == (4, 8)
    assert spec["runtimeRef"]["name"] == "torch-distributed"
    assert spec["activeDeadlineSeconds"] == 1_209_600


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_pipelines_task_asks_for_reaches_the_pods(kind: str) -> None:
    body = render(kind)
    assert trainer_of(body)["env"][0] == SECRET
    for pod in pods_of(body):
        spec = pod["spec"]
        assert spec["nodeSelector"] == FULL.node_selector
        assert spec["tolerations"] == FULL.tolerations
        assert spec["affinity"] == FULL.affinity
        assert FULL.volumes[0] in spec["volumes"]
        assert FULL.volume_mounts[0] in spec["containers"][0]["volumeMounts"]
        assert spec["imagePullSecrets"] == [{"name": "pull"}]
    resources = trainer_of(body)["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"] == "900Gi"
    assert resources["requests"]["cpu"] == "90"
    assert resources["limits"]["nvidia.com/gpu"] == "8", "as many as processes, whatever the task says"
    assert "nvidia.com/gpu" not in resources["requests"]


def test_another_vendors_accelerator_is_the_tasks_word() -> None:
    given = Forwarded(resources={"limits": {"amd.com/gpu": "1"}})
    limits = trainer_of(render(given=given))["resources"]["limits"]
    assert limits["amd.com/gpu"] == "8"
    assert "nvidia.com/gpu" not in limits


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_task_the_configuration_sizes_the_pods(kind: str) -> None:
    resources = trainer_of(render(kind, Forwarded(), cpus=7, memory_gib=9, scratch_gib=11))["resources"]
    assert resources["requests"] == {"memory": "9Gi", "cpu": "7", "ephemeral-storage": "11Gi"}
    assert resources["limits"] == {"memory": "9Gi", "ephemeral-storage": "11Gi", "nvidia.com/gpu": "8"}


@pytest.mark.parametrize("kind", KINDS)
def test_pods_have_shared_memory_and_a_writable_tmp_unless_the_task_brings_them(kind: str) -> None:
    spec = pods_of(render(kind, shared_memory_gib=3))[0]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "3Gi"}
    assert "emptyDir" in volumes[mounts["/tmp"]]
    given = Forwarded(volumes=[{"name": "nvme", "hostPath": {"path": "/nvme"}}],
                      volume_mounts=[{"name": "nvme", "mountPath": "/tmp"}])  # fmt: skip
    brought = pods_of(render(kind, given))[0]["spec"]["containers"][0]["volumeMounts"]
    assert [mount["name"] for mount in brought if mount["mountPath"] == "/tmp"] == ["nvme"]


@pytest.mark.parametrize("kind", KINDS)
def test_pods_keep_to_pod_security_restricted(kind: str) -> None:
    for pod in pods_of(render(kind)):
        assert pod["spec"]["securityContext"] == {
            "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 1000,
        }  # fmt: skip
        assert pod["spec"]["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True,
        }  # fmt: skip
        assert not {"hostNetwork", "hostIPC", "hostPID"} & pod["spec"].keys()


@pytest.mark.parametrize("kind", KINDS)
def test_rdma_brings_its_device_and_locked_memory(kind: str) -> None:
    body = render(kind, rdma="rdma/hca")
    assert trainer_of(body)["resources"]["limits"]["rdma/hca"] == "1"
    capabilities = pods_of(body)[0]["spec"]["containers"][0]["securityContext"]["capabilities"]
    assert capabilities == {"drop": ["ALL"], "add": ["IPC_LOCK"]}


def test_kueue_starts_the_job_suspended_and_the_operators_gang_is_another_thing() -> None:
    queued = render(queue="gpus")
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert queued["spec"]["runPolicy"]["suspend"] is True
    assert render("trainjob", queue="gpus")["spec"]["suspend"] is True
    ganged = render(gang=True, scheduler="volcano", priority_class="comface-pretrain")
    policy = ganged["spec"]["runPolicy"]
    assert policy["schedulingPolicy"] == {"minAvailable": 4, "priorityClass": "comface-pretrain"}
    assert "suspend" not in policy
    spec = pods_of(ganged)[0]["spec"]
    assert (spec["schedulerName"], spec["priorityClassName"]) == ("volcano", "comface-pretrain")
    with pytest.raises(ValueError, match="exclude each other"):
        JobConfig(queue="gpus", gang=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_job_runs_the_steps_image_and_is_owned_by_its_workflow_or_else_its_pod(kind: str) -> None:
    body = render(kind)
    (owner,) = body["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "launcher-1", "uid": "uid-1"}
    assert trainer_of(body)["image"] == own_pod()["spec"]["containers"][1]["image"]
    assert trainer_of(render(kind, image="other"))["image"] == "other"
    others = [{"kind": "ReplicaSet", "name": "x"}, {"kind": "Workflow", "name": "half"}]
    for references in (None, others):
        assert owner_reference(PLACE, {"metadata": {"ownerReferences": references}}) == owner
    pod = {"metadata": {"ownerReferences": [*others, {**WORKFLOW, "controller": True, "blockOwnerDeletion": True}]}}
    assert owner_reference(PLACE, pod) == WORKFLOW


@pytest.mark.parametrize("kind", KINDS)
def test_no_autoscaler_tidies_a_training_away(kind: str) -> None:
    for pod in pods_of(render(kind)):
        annotations = pod["metadata"]["annotations"]
        assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        assert annotations["karpenter.sh/do-not-disrupt"] == "true"


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_no_task_made_tolerates_what_the_pipelines_task_does(kind: str) -> None:
    assert pods_of(render(kind, Forwarded()))[0]["spec"]["tolerations"] == FULL.tolerations
    assert "tolerations" not in pods_of(render(kind, Forwarded(), gpus=0))[0]["spec"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_no_task_gave_a_store_takes_that_of_the_pipelines_secret(kind: str) -> None:
    env = {item["name"]: item for item in trainer_of(render(kind, Forwarded()))["env"]}
    for key in STORE_KEYS:
        reference = {"name": "comface-store", "key": key, "optional": True}
        assert env[key] == {"name": key, "valueFrom": {"secretKeyRef": reference}}
    own_endpoint = {"name": "AWS_ENDPOINT_URL", "value": "http://minio:9000"}
    env_of = trainer_of(render(kind, Forwarded(env=[own_endpoint])))["env"]
    assert [item for item in env_of if item["name"] == "AWS_ENDPOINT_URL"] == [own_endpoint]
    names = [item["name"] for item in trainer_of(render(kind, Forwarded(env=[SECRET])))["env"]]
    assert "AWS_SESSION_TOKEN" not in names, "nothing is mixed with a key of the task's own"


@pytest.mark.parametrize("kind", KINDS)
def test_torchrun_is_given_the_plan_as_it_is(kind: str) -> None:
    trainer = trainer_of(render(kind))
    assert trainer["command"] == ["torchrun", "-m", "comface.pretrain.worker"]
    assert trainer["args"] == [
        "--result", "s3://bucket/artifacts/backbone/1", "--told", "/dev/termination-log",
        '{"store":"s3://bucket/artifacts"}', "s3://bucket/artifacts/shards/1",
    ]  # fmt: skip
    request = make_request(work_for(JobConfig()), PLACE, FULL, own_pod(), 0)
    from comface.launch.podspec import arguments

    assert arguments(SimpleNamespace(arguments=["a$(HOME)b"])) == ["a$$(HOME)b"], "Kubernetes would replace it"
    assert request.user == 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_the_job_only_where_it_is_found(kind: str) -> None:
    text = yaml.safe_dump(render(kind))
    assert text.count("AWS_SECRET_ACCESS_KEY") == text.count("secretKeyRef") >= 1
    assert not re.search(r"name: AWS_\w+\n\s+value:", text)


def test_a_credential_that_is_a_plain_value_is_refused() -> None:
    task = SimpleNamespace(env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"}])
    with pytest.raises(ConfigurationError, match="take it from a secret") as error:
        forwarded(task)
    assert "hunter2" not in str(error.value)


def test_kfps_local_runner_forwards_nothing() -> None:
    from kfp import dsl

    assert forwarded(dsl.TaskConfig()) == forwarded(None) == Forwarded()


def test_the_steps_own_field_paths_stay_with_it() -> None:
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in FIELD_PATHS.items()]
    assert forwarded(SimpleNamespace(env=[*env, SECRET])).env == [SECRET]
    assert place_of({}) is None
    assert place_of({"COMFACE_POD_NAME": "a", "COMFACE_POD_UID": "b", "COMFACE_POD_NAMESPACE": "c"}) == Place(*"abc")


@pytest.mark.parametrize(
    "run", ["", "a1b2c3d4-0000-4000-8000-123456789abc", "Comface Run_7 " * 9, "-äöü-", "9" * 80, "projects/x/run.y"]
)
def test_a_name_is_a_dns_label_of_at_most_50_characters(run: str) -> None:
    name = job_name(run, "f" * 64)
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 50
    assert re.fullmatch("([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?", label_value(run))
    assert len(label_value(run)) <= 63


def test_a_name_is_the_works_own_and_the_same_at_every_attempt() -> None:
    first, again = (work_for(JobConfig()) for _ in range(2))
    assert work_digest(first) == work_digest(again)
    others = {work_digest(work_for(JobConfig(), run=run)) for run in ("run-7", "run-8")}
    assert len(others) == 2


# What the operators' own types and schemas say


def camel(model: Any, value: Any, path: str = "") -> list[str]:
    """Fields of `value` that the typed model does not have."""
    known = set(model.attribute_map.values())
    return [f"{path}.{name}" for name in value if name not in known]


def test_the_operators_own_models_take_the_pytorchjob() -> None:
    models = pytest.importorskip("kubeflow.training.models", reason="kubeflow-training is not installed")
    from kubernetes import client

    body = render(queue="gpus", rdma="rdma/hca", priority_class="comface-pretrain")
    spec, policy = body["spec"], body["spec"]["runPolicy"]
    wrong = camel(models.KubeflowOrgV1PyTorchJob, body) + camel(models.KubeflowOrgV1PyTorchJobSpec, spec)
    wrong += camel(models.KubeflowOrgV1RunPolicy, policy) + camel(client.V1ObjectMeta, body["metadata"])
    for replica in spec["pytorchReplicaSpecs"].values():
        pod = replica["template"]["spec"]
        wrong += camel(models.KubeflowOrgV1ReplicaSpec, replica) + camel(client.V1PodSpec, pod)
        wrong += camel(client.V1Container, pod["containers"][0])
        wrong += camel(client.V1SecurityContext, pod["containers"][0]["securityContext"])
        wrong += camel(client.V1PodSecurityContext, pod["securityContext"])
    assert wrong == []
    from kubeflow.training.api_client import ApiClient

    typed = ApiClient().deserialize(SimpleNamespace(data=json.dumps(body)), models.KubeflowOrgV1PyTorchJob)
    assert typed.spec.nproc_per_node == "8"
    assert typed.spec.run_policy.suspend is True
    assert typed.spec.pytorch_replica_specs["Worker"].template.spec.containers[0].name == "pytorch"


CRDS = os.environ.get("COMFACE_CRDS", "")
DEFINITIONS = {"pytorchjob": "kubeflow.org_pytorchjobs.yaml", "trainjob": "trainer.kubeflow.org_trainjobs.yaml"}


@functools.cache
def published(kind: str) -> dict[str, Any]:
    definition = yaml.load((Path(CRDS) / DEFINITIONS[kind]).read_text(), yaml.CSafeLoader)
    schema = strict(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, refusing fields that it does not name, as the API server does with strict field validation."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    fields = schema.get("properties", {})
    rest = {k: strict(v) if isinstance(v, dict) else v for k, v in schema.items() if k != "properties"}
    if not fields:
        return rest
    return {"additionalProperties": False, **rest, "properties": {name: strict(v) for name, v in fields.items()}}


@pytest.mark.skipif(not CRDS, reason="COMFACE_CRDS does not name a folder with the published CRDs")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("job", [{}, {"queue": "gpus"}, {"rdma": "rdma/hca", "service_account": "comface-trainer"}])
@pytest.mark.parametrize("given", [FULL, Forwarded()])
def test_the_published_schema_takes_the_job(kind: str, job: dict[str, Any], given: Forwarded) -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(published(kind))
    body = render(kind, given, **job)
    assert [error.message for error in validator.iter_errors(body)] == []
    assert not validator.is_valid({**body, "spec": {**body["spec"], "unknown": 1}})
