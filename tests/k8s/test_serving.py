"""The service in a cluster: its pods, its edges, and the same as KServe's InferenceService."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import httpx
import jsonschema
import pytest
from overlays import ROOT, Object, containers, named, needs_kubectl
from restricted import violations
from test_manifests import crd_schemas, production_with

from comface.commands.program import comface
from comface.runtime.monitoring import METRICS_LABEL
from comface.serve.app import NAME, make_app
from comface.serve.limits import Limits
from comface.serve.service import Service
from comface.serve.work import Recipe

pytestmark = needs_kubectl
LABELS = {"app.kubernetes.io/name": "comface", "app.kubernetes.io/component": "serve"}


@pytest.fixture(scope="module", params=["serving", "serving-kserve"])
def items(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Object]:
    return {named(item): item for item in production_with(request.param, tmp_path_factory.mktemp(request.param))}


def pod(items: dict[str, Object]) -> tuple[dict[str, str], Object]:
    """Labels and spec of the pods that serve."""
    if "InferenceService/comface" in items:
        spec = items["InferenceService/comface"]["spec"]["predictor"]
        return spec["labels"], spec
    template = items["Deployment/comface-serve"]["spec"]["template"]
    return template["metadata"]["labels"], template["spec"]


def test_the_pods_are_restricted_and_run_what_the_command_line_takes(items: dict[str, Object]) -> None:
    _, spec = pod(items)
    assert list(violations(spec)) == []
    (container,) = containers(spec)
    command, *words = container["args"]
    found = comface.commands[command].make_context(command, words)  # refuses unknown options
    assert str(found.params["metrics_port"]) == pod(items)[0][METRICS_LABEL]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container["image"] == f"comface-serving-python:{version}"
    cores = {variable["name"]: variable.get("value") for variable in container["env"]}["OMP_NUM_THREADS"]
    assert container["resources"]["requests"]["cpu"] == str(found.params["workers"]) == cores
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert spec["serviceAccountName"] == items["ServiceAccount/comface-serve"]["metadata"]["name"]
    assert spec["automountServiceAccountToken"] is False


def test_the_edges_are_those_of_its_pods(items: dict[str, Object]) -> None:
    labels, _ = pod(items)
    assert labels.items() >= LABELS.items()
    for edge in ("serve-from-clients", "servers-to-store"):
        assert items[f"NetworkPolicy/{edge}"]["spec"]["podSelector"]["matchLabels"] == LABELS
    into = items["NetworkPolicy/store-from-clients"]["spec"]["ingress"][0]["from"]
    assert {"podSelector": {"matchLabels": LABELS}} in into


@pytest.mark.parametrize("overlay", ["dev", "production", "external-s3", "seaweedfs"])
def test_its_pods_reach_the_store_of_each_overlay(overlay: str, tmp_path: Path) -> None:
    items = production_with("serving", tmp_path, overlay)
    edges = [item["spec"] for item in items if item["kind"] == "NetworkPolicy"]
    store = [each for item in items if named(item) == "NetworkPolicy/steps-to-store" for each in item["spec"]["egress"]]
    assert bool(store) == (overlay != "dev")  # a standalone KFP has no edges, so none of its own may close its pods
    out = [
        edge for edge in edges if edge["podSelector"].get("matchLabels") == LABELS and "Egress" in edge["policyTypes"]
    ]
    assert [edge["egress"] for edge in out] == [[each] for each in store]
    closed = [edge["podSelector"] for edge in edges if "Ingress" in edge["policyTypes"]]
    assert overlay != "dev" or closed == [{"matchLabels": LABELS}]


def test_a_pod_that_loads_its_model_gets_no_requests_and_is_not_restarted(items: dict[str, Object]) -> None:
    service = Service(Recipe("file:///nowhere", "comface@v1", 1, 1), 1, Limits())  # its workers are not started
    (container,) = containers(pod(items)[1])

    async def status(path: str) -> int:
        transport = httpx.ASGITransport(app=make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://pod") as client:
            return (await client.get(path)).status_code

    for probe, expected in (("readinessProbe", 503), ("livenessProbe", 200)):
        assert asyncio.run(status(container[probe]["httpGet"]["path"])) == expected


def test_a_pod_that_stops_has_time_to_answer_what_it_has_taken(items: dict[str, Object]) -> None:
    _, spec = pod(items)
    (container,) = containers(spec)
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < pause_s <= spec["terminationGracePeriodSeconds"] - Limits().wait_s - Limits().work_s


def test_the_inference_service_replaces_the_deployment_and_satisfies_kserves_definition(tmp_path: Path) -> None:
    items = {named(item): item for item in production_with("serving-kserve", tmp_path)}
    assert items.keys().isdisjoint({"Deployment/comface-serve", "Service/comface-serve"})
    service = items["InferenceService/comface"]
    assert service["metadata"]["name"] == NAME  # clients of the V1 protocol name the model as the service
    assert [each["name"] for each in containers(service["spec"]["predictor"])] == ["kserve-container"]
    schemas = crd_schemas()
    key = service["apiVersion"], "InferenceService"
    if key not in schemas:
        pytest.skip("COMFACE_CRDS has no definition of InferenceService")
    jsonschema.Draft202012Validator(schemas[key]).validate(service)


def test_the_metrics_port_is_the_one_that_monitoring_may_ask() -> None:
    policy = (ROOT / "k8s" / "components" / "monitoring" / "network.yaml").read_text()
    scrape = (ROOT / "k8s" / "components" / "monitoring" / "scrape.yaml").read_text()
    for component in ("serving/serving.yaml", "serving-kserve/inference-service.yaml"):
        text = (ROOT / "k8s" / "components" / component).read_text()
        (port,) = set(re.findall(r'--metrics-port, "(\d+)"', text))
        assert f"port: {port}" in policy
        (name,) = re.findall(r"- name: ([a-z-]+)\n +image:", text)
        assert name in re.search(r"regex: (main.*)", scrape)[1].split("|")
