"""The service in a cluster: its pods, its edges, and the same as KServe's InferenceService."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jsonschema
import pytest
from overlays import ROOT, Object, containers, named, needs_kubectl
from restricted import violations
from test_manifests import crd_schemas, production_with

from comface.commands.program import comface
from comface.runtime.monitoring import METRICS_LABEL
from comface.serve.app import NAME

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
    assert container["resources"]["requests"]["cpu"] == str(found.params["workers"])
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert spec["serviceAccountName"] == items["ServiceAccount/comface-serve"]["metadata"]["name"]
    assert spec["automountServiceAccountToken"] is False


def test_the_edges_are_those_of_its_pods(items: dict[str, Object]) -> None:
    labels, _ = pod(items)
    assert labels.items() >= LABELS.items()
    for edge in ("serve-from-clients", "serve-to-store"):
        assert items[f"NetworkPolicy/{edge}"]["spec"]["podSelector"]["matchLabels"] == LABELS
    into = items["NetworkPolicy/store-from-serve"]["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert into == LABELS


def test_probes_ask_paths_that_the_service_answers(items: dict[str, Object]) -> None:
    (container,) = containers(pod(items)[1])
    source = (ROOT / "components" / "comface" / "serve" / "app.py").read_text()
    for probe in ("readinessProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert f'"{path}"' in source
        assert (path == "/readyz") == (probe == "readinessProbe")  # a pod that loads its model is not restarted


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
