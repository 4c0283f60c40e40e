"""The admission policy on secrets: its CEL expressions, evaluated on pods as they would be created.

Needs a CEL interpreter (`pip install cel-python`); an API server compiles the same expressions when it takes them."""

from __future__ import annotations

from typing import Any

import pytest
from overlays import needs_kubectl, of_kind

celpy = pytest.importorskip("celpy", reason="cel-python is not installed")
pytestmark = needs_kubectl
KUBE_SYSTEM = "system:serviceaccount:kube-system:"
OPERATOR = "system:serviceaccount:kubeflow:training-operator"
STEP = {"name": "main", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "comface-store", "key": "A"}}},
                                {"name": "B", "value": "b"}, {"name": "C", "valueFrom": {"fieldRef": {}}}]}  # fmt: skip
ROOT_ENV = {"name": "R", "valueFrom": {"secretKeyRef": {"name": "minio-root", "key": "MINIO_ROOT_PASSWORD"}}}


def refused(pod: dict[str, Any], creator: str, owner: tuple[str, str] | None = None) -> list[str]:
    """The messages with which the policy refuses a pod."""
    (policy,) = of_kind("production", "ValidatingAdmissionPolicy")
    spec = policy["spec"]
    metadata = {"name": "p", **({"ownerReferences": [{"kind": owner[0], "name": owner[1]}]} if owner else {})}
    values = {"object": {"metadata": metadata, "spec": pod}, "request": {"userInfo": {"username": creator}}}

    def told(expression: str) -> Any:
        environment = celpy.Environment()
        found = environment.program(environment.compile(expression))
        return found.evaluate({name: celpy.json_to_cel(value) for name, value in values.items()})

    if not all(told(condition["expression"]) for condition in spec["matchConditions"]):
        return []
    values["variables"] = {}
    values["variables"] = {each["name"]: told(each["expression"]) for each in spec["variables"]}
    return [each["message"] for each in spec["validations"] if not told(each["expression"])]


def test_steps_and_trainers_take_the_secrets_that_they_need() -> None:
    volumes = [{"name": "s", "secret": {"secretName": "mlpipeline-minio-artifact"}}, {"name": "e", "emptyDir": {}},
               {"name": "t", "projected": {"sources": [{"serviceAccountToken": {}}]}}]  # fmt: skip
    pod = {"containers": [STEP, {"name": "bare"}], "initContainers": [{"name": "init"}], "volumes": volumes}
    assert refused(pod, OPERATOR) == []
    assert refused({"containers": [{"name": "bare"}]}, OPERATOR) == []


@pytest.mark.parametrize(
    ("creator", "owner"),
    [
        (OPERATOR, ("PyTorchJob", "minio")),
        ("system:serviceaccount:argo:argo", ("Workflow", "comface-x7")),
        (f"{KUBE_SYSTEM}job-controller", ("Job", "comface-run-7-node-0")),
        (f"{KUBE_SYSTEM}statefulset-controller", ("StatefulSet", "other")),
        ("system:serviceaccount:comface:statefulset-controller", ("StatefulSet", "minio")),
    ],
)
@pytest.mark.parametrize(
    "pod",
    [
        {"containers": [{"name": "main", "env": [ROOT_ENV]}]},
        {"containers": [STEP], "initContainers": [{"name": "init", "env": [ROOT_ENV]}]},
        {"containers": [{"name": "main", "envFrom": [{"configMapRef": {}}, {"secretRef": {"name": "minio-root"}}]}]},
        {"containers": [STEP], "volumes": [{"name": "v", "secret": {"secretName": "minio-tls"}}]},
        {"containers": [STEP], "volumes": [{"projected": {"sources": [{"secret": {"name": "minio-root"}}]}}]},
    ],
    ids=["env", "init", "envFrom", "volume", "projected"],
)  # fmt: skip
def test_nobody_else_takes_minios_whoever_makes_the_pod(
    creator: str, owner: tuple[str, str], pod: dict[str, Any]
) -> None:
    assert len(refused(pod, creator, owner)) == 1


@pytest.mark.parametrize(
    ("kind", "controller", "creator"),
    [("StatefulSet", "minio", "statefulset-controller"), ("Job", "minio-setup", "job-controller")],
)
def test_minio_itself_takes_its_own(kind: str, controller: str, creator: str) -> None:
    (made,) = [item for item in of_kind("production", kind) if item["metadata"]["name"] == controller]
    pod = made["spec"]["template"]["spec"]
    assert refused(pod, f"{KUBE_SYSTEM}{creator}", (kind, controller)) == []
    assert refused(pod, "system:kube-controller-manager", (kind, controller)) == []
    assert refused(pod, OPERATOR, (kind, controller)), "made by somebody else it is refused"
