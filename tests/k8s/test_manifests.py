"""Every overlay of k8s/ builds, is valid for Kubernetes 1.32 to 1.36, and keeps the promises of its pages."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from overlays import (
    K8S,
    OVERLAYS,
    ROOT,
    Object,
    built,
    containers,
    every_overlay,
    named,
    needs_kubectl,
    of_kind,
    pod_specs,
)
from restricted import violations

from comface.runtime.monitoring import METRICS_LABEL

pytestmark = needs_kubectl
VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36")
ACCOUNTS_OF_KFP = {"pipeline-runner"}
"""Accounts that KFP brings in its own namespace."""
WITHOUT_DEFINITION = {"scheduling.volcano.sh"}
"""Groups whose definitions are not at hand."""
EDGE = re.compile(r"default-deny|[a-z-]+-(to|from)-[a-z-]+")


def secrets_template() -> list[Object]:
    return list(yaml.safe_load_all((K8S / "secrets.template.yaml").read_text()))


def distinct() -> dict[str, Object]:
    """The objects of all overlays, each content once."""
    return {json.dumps(item, sort_keys=True): item for overlay in OVERLAYS for item in built(overlay)}


@functools.cache
def crd_schemas() -> dict[tuple[str, str], dict[str, Any]]:
    folder = os.environ.get("COMFACE_CRDS", "")
    if not folder:
        pytest.skip("COMFACE_CRDS names no folder with the published CustomResourceDefinitions")
    found = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                if version["served"]:
                    found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = closed(schema)
    return found


def closed(schema: Any) -> Any:
    """The schema under strict field validation: a field that it does not name is an error."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if result.pop("x-kubernetes-int-or-string", False) is True:
        result.pop("type", None)
    open_ended = result.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in result
    if result.get("type") == "object" and "properties" in result and not open_ended:
        result["additionalProperties"] = False
        result["properties"] |= {} if "kind" not in result["properties"] else {"metadata": {"type": "object"}}
    return result


@every_overlay
def test_an_overlay_builds_to_objects_that_have_a_kind_and_a_name_of_their_own(overlay: str) -> None:
    names = [
        (item["apiVersion"], item["kind"], item["metadata"].get("namespace"), named(item)) for item in built(overlay)
    ]
    assert names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "version", [VERSIONS[0], *(pytest.param(v, marks=pytest.mark.system) for v in VERSIONS[1:-1]), VERSIONS[-1]]
)
def test_every_object_is_valid_for_a_version_of_kubernetes(version: str) -> None:
    custom = set()
    for item in distinct().values():
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            custom.add((item["apiVersion"], item["kind"]))
    assert all("." in api for api, _ in custom), custom
    assert not {api for api, _ in custom if api.partition("/")[0].endswith(".k8s.io") and "kueue" not in api}


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    service = next(item for item in built("production") if item["kind"] == "Service")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "spec": {**service["spec"], "port": 1}}, "1.34", strict=True)


def test_every_custom_resource_satisfies_its_own_definition() -> None:
    schemas = crd_schemas()
    checked = set()
    for item in distinct().values():
        key = item["apiVersion"], item["kind"]
        group = key[0].partition("/")[0]
        if group not in WITHOUT_DEFINITION and "." in group and not group.endswith(".k8s.io"):
            assert key in schemas, key
        if key in schemas:
            jsonschema.Draft202012Validator(schemas[key]).validate(item)
            checked.add(item["kind"])
    assert {"PodMonitor", "PrometheusRule", "ServiceMonitor", "ClusterQueue", "LocalQueue"} <= checked


def test_a_field_that_a_definition_does_not_know_would_be_found() -> None:
    monitor = next(item for item in built("monitoring") if item["kind"] == "PodMonitor")
    schema = crd_schemas()[monitor["apiVersion"], "PodMonitor"]
    endpoint = {**monitor["spec"]["podMetricsEndpoints"][0], "intervall": "15s"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**monitor, "spec": {**monitor["spec"], "podMetricsEndpoints": [endpoint]}}, schema)


@every_overlay
def test_every_pod_satisfies_the_standard_restricted(overlay: str) -> None:
    found = {name: list(violations(pod)) for name, pod in pod_specs(built(overlay))}
    assert not {name: why for name, why in found.items() if why}


@every_overlay
def test_every_container_has_a_read_only_root_and_a_limit_of_memory(overlay: str) -> None:
    for name, pod in pod_specs(built(overlay)):
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["resources"]["limits"]["memory"], name
            assert container["resources"]["requests"]["cpu"], name


@every_overlay
def test_a_namespace_that_is_made_is_restricted_and_denies_by_default(overlay: str) -> None:
    for namespace in of_kind(overlay, "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        deny = [p for p in of_kind(overlay, "NetworkPolicy") if p["metadata"]["name"] == "default-deny"]
        assert [p["spec"] for p in deny] == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]
        assert {"ResourceQuota", "LimitRange"} <= {item["kind"] for item in built(overlay)}


@every_overlay
def test_every_edge_is_named_after_its_ends_and_says_whom_and_which_port(overlay: str) -> None:
    for policy in of_kind(overlay, "NetworkPolicy"):
        name = policy["metadata"]["name"]
        assert EDGE.fullmatch(name), name
        for side, peers in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(side, []):
                assert rule.get(peers), f"{name} lets everybody"
                assert all(peer and peer.get("podSelector", True) != {} for peer in rule[peers]), name
                assert rule.get("ports") or name == "trainers-to-trainers", name
                assert all("port" in port for port in rule.get("ports", [])), name


@every_overlay
def test_no_edge_leads_to_the_whole_internet(overlay: str) -> None:
    assert "0.0.0.0/0" not in json.dumps(of_kind(overlay, "NetworkPolicy"))


@every_overlay
def test_every_account_that_is_used_exists(overlay: str) -> None:
    there = {item["metadata"]["name"] for item in of_kind(overlay, "ServiceAccount")}
    if not of_kind(overlay, "Namespace"):
        there |= ACCOUNTS_OF_KFP
    for name, pod in pod_specs(built(overlay)):
        assert pod["serviceAccountName"] in there, name
        assert pod["automountServiceAccountToken"] is False, name
    for binding in of_kind(overlay, "RoleBinding", "ClusterRoleBinding"):
        assert {subject["name"] for subject in binding["subjects"]} <= there, named(binding)
        kind = binding["roleRef"]["kind"]
        assert binding["roleRef"]["name"] in {item["metadata"]["name"] for item in of_kind(overlay, kind)}


@every_overlay
def test_no_role_holds_a_wildcard_or_reads_any_secret_but_those_it_names(overlay: str) -> None:
    beyond = [rule for role in of_kind(overlay, "ClusterRole") for rule in role["rules"]]
    assert beyond in ([], [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}])
    for role in of_kind(overlay, "Role"):
        for rule in role["rules"]:
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], named(role)
            if {"secrets", "configmaps"} & set(rule["resources"]):
                assert rule["verbs"] == ["get"]
                assert rule["resourceNames"], named(role)


@every_overlay
def test_every_image_has_a_release_or_a_digest_and_none_is_latest(overlay: str) -> None:
    for name, pod in pod_specs(built(overlay)):
        for container in containers(pod):
            assert re.search(r"[^/]+(@sha256:[0-9a-f]{64}|:[\w.-]*\d[\w.-]*)$", container["image"]), (name, container)
            assert not container["image"].endswith(":latest")


def test_latest_stands_nowhere() -> None:
    for path in K8S.rglob("*"):
        if path.is_file():
            assert not re.search(r":latest\b", path.read_text()), path


@every_overlay
def test_no_overlay_holds_a_secret(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    text = json.dumps([item.get("data", {}) for item in of_kind(overlay, "ConfigMap")])
    assert not re.search(r"(?i)(password|secret_?key|access_?key)\W{1,4}[0-9a-zA-Z/+]{16,}", text)


def test_the_template_of_the_secrets_holds_placeholders_only() -> None:
    template = (K8S / "secrets.template.yaml").read_text()
    for secret in yaml.safe_load_all(template):
        assert "data" not in secret
        for value in secret["stringData"].values():
            assert re.fullmatch(r"(comface:)?@(RANDOM10|RANDOM20|KEY32|ENDPOINT)@|us-east-1", value)


@every_overlay
def test_every_secret_that_a_pod_reads_is_in_the_template(overlay: str) -> None:
    template = {s["metadata"]["name"]: s["stringData"] for s in secrets_template()}
    for name, pod in pod_specs(built(overlay)):
        for container in containers(pod):
            for source in container.get("envFrom", []):
                assert source["secretRef"]["name"] in template, name
            for variable in container.get("env", []):
                key = variable.get("valueFrom", {}).get("secretKeyRef")
                assert key is None or key["key"] in template[key["name"]], (name, key)


@every_overlay
def test_a_priority_that_is_used_exists(overlay: str) -> None:
    there = {item["metadata"]["name"] for item in of_kind(overlay, "PriorityClass")}
    for name, pod in pod_specs(built(overlay)):
        assert pod.get("priorityClassName", "comface-store") in there, name


@every_overlay
def test_everything_lies_in_one_namespace(overlay: str) -> None:
    spaces = {item["metadata"]["namespace"] for item in built(overlay) if "namespace" in item["metadata"]}
    spaces |= {s["namespace"] for item in of_kind(overlay, "ClusterRoleBinding") for s in item["subjects"]}
    assert len(spaces) == 1
    for config in of_kind(overlay, "ConfigMap"):
        for host in re.findall(r"\bminio\.([a-z-]+)\.svc", json.dumps(config["data"])):
            assert {host} == spaces, named(config)


def test_every_overlay_and_option_is_on_the_page_for_the_cluster() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    for folder in (*K8S.glob("overlays/*"), *K8S.glob("components/*")):
        assert f"`{folder.name}`" in page, folder.name


def production_with(component: str, folder: Path, overlay: str = "production") -> tuple[Object, ...]:
    above = os.path.relpath(K8S, folder.resolve())
    made = {"resources": [f"{above}/overlays/{overlay}"], "components": [f"{above}/components/{component}"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(made))
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize(
    "component", [path.name for path in sorted(K8S.glob("components/*")) if path.name != "production-size"]
)
def test_every_option_builds_on_production_and_keeps_its_pods_restricted(component: str, tmp_path: Path) -> None:
    items = production_with(component, tmp_path)
    assert items != built("production")
    for name, pod in pod_specs(items):
        assert list(violations(pod)) == [], name
    for item in (item for item in items if item not in built("production")):
        with contextlib.suppress(kubernetes_validate.SchemaNotFoundError):
            kubernetes_validate.validate(item, VERSIONS[-1], strict=True)


def test_the_role_of_the_launcher_allows_what_the_launcher_asks_for() -> None:
    source = (ROOT / "components" / "comface" / "launch" / "api.py").read_text()
    asked = set(re.findall(r'f?"(get|list|watch|create|patch|delete) (pods(?:/log)?|\{self\.kind\.PLURAL\})"', source))
    assert len(asked) >= 6
    asked |= {("list", "events"), ("list", "resourcequotas"), ("watch", "{self.kind.PLURAL}"), ("get", "pods/log")}
    role = next(item for item in of_kind("production", "Role") if item["metadata"]["name"] == "comface-launch")
    allowed = {(verb, what) for rule in role["rules"] for what in rule["resources"] for verb in rule["verbs"]}
    assert {(verb, what.replace("{self.kind.PLURAL}", "pytorchjobs")) for verb, what in asked} <= allowed


def test_a_training_job_as_the_launcher_renders_it_is_let_in_by_the_namespace() -> None:
    from kubernetes.utils.quantity import parse_quantity

    from comface.launch import podspec, pytorchjob
    from comface.launch.config import JobConfig
    from comface.launch.place import Forwarded, Place
    from comface.launch.request import JobRequest

    job = JobConfig(priority_class="comface-pretrain", queue="comface")
    request = JobRequest(
        name="comface-1", digest="0", run="r", training="", place=Place("p", "u", "comface"), owner={"kind": "Pod"},
        image="comface-python:0.2.0", pull_secrets=[], user=10001, arguments=["a"], nodes=4, gpus_per_node=8, job=job,
        forwarded=Forwarded(),
    )  # fmt: skip
    made = pytorchjob.render(request)
    specs = dict(pod_specs((made,)))
    labels = made["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["metadata"]["labels"]
    for edge in ("trainers-to-trainers", "trainers-to-store"):
        policy = next(item for item in of_kind("production", "NetworkPolicy") if item["metadata"]["name"] == edge)
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items(), edge
    assert METRICS_LABEL in labels
    assert len(specs) == 2
    assert not {name: found for name, pod in specs.items() if (found := list(violations(pod)))}
    asked = podspec.resources(request)
    per_node = {name: parse_quantity(value) for name, value in (asked["limits"] | asked["requests"]).items()}
    assert {item["metadata"]["name"] for item in of_kind("kueue", "LocalQueue")} == {job.queue}
    group = of_kind("kueue", "ClusterQueue")[0]["spec"]["resourceGroups"][0]
    queue = {resource["name"]: resource["nominalQuota"] for resource in group["flavors"][0]["resources"]}
    quota = of_kind("production", "ResourceQuota")[0]["spec"]["hard"]
    assert per_node.keys() <= set(group["coveredResources"])
    for name, amount in per_node.items():
        assert parse_quantity(queue[name]) >= request.nodes * amount, name
        assert parse_quantity(quota[f"requests.{name}"]) > request.nodes * amount, name


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name not in ("dev", "monitoring")])
def test_the_paper_run_has_room_wherever_it_may_run(overlay: str) -> None:
    from comface.launch.quota import room
    from comface.plan.configuration import resolve

    found = room(resolve("paper", []).pretrain, of_kind(overlay, "ResourceQuota"))
    assert found.never == []


@every_overlay
def test_no_quota_counts_jobs_which_are_kept_after_they_end(overlay: str) -> None:
    for quota in of_kind(overlay, "ResourceQuota"):
        assert not [name for name in quota["spec"]["hard"] if name.startswith("count/") and "jobs" in name]


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name not in ("monitoring", "kueue", "volcano")])
def test_an_overlay_asks_for_no_definitions_that_a_bare_cluster_lacks(overlay: str) -> None:
    groups = {item["apiVersion"].rpartition("/")[0] for item in built(overlay)}
    assert not [group for group in groups if "." in group and not group.endswith(".k8s.io")]


def test_no_autoscaler_evicts_the_launcher_of_a_training() -> None:
    *_, platform = yaml.safe_load_all((ROOT / "pipelines" / "comface.yaml").read_text())
    executor = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-pretrain"]
    assert executor["podMetadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_the_init_container_that_the_operator_adds_is_let_in_too() -> None:
    operator = yaml.safe_load((K8S / "training-operator" / "init-container.yaml").read_text())
    text = operator["data"]["initContainer.yaml"]
    for placeholder in ("InitContainerImage", "MasterAddr", "MaxTries"):
        assert "{{." + placeholder + "}}" in text
        text = text.replace("{{." + placeholder + "}}", "1")
    pod = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
    assert list(violations({**pod, "initContainers": yaml.safe_load(text)})) == []
    mount = yaml.safe_load((K8S / "training-operator" / "mount.yaml").read_text())["spec"]["template"]["spec"]
    assert mount["volumes"][0]["configMap"]["name"] == operator["metadata"]["name"]


def test_the_pod_that_a_person_launches_from_is_let_in_by_the_namespace() -> None:
    page = (ROOT / "docs" / "launcher.md").read_text()
    (text,) = re.findall(r"--overrides='(.+?}})'\n", page, re.DOTALL)
    assert list(violations(json.loads(text.replace("'\"$IMAGE\"'", "x"))["spec"])) == []


def test_the_pipelines_steps_are_what_the_manifests_expect() -> None:
    """What KFP 2.16 adds by itself is checked in its own sources; what it does not add, the pipeline asks for."""
    *_, platform = yaml.safe_load_all((ROOT / "pipelines" / "comface.yaml").read_text())
    steps = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    template = {s["metadata"]["name"]: s["stringData"] for s in secrets_template()}
    assert {"exec-resolve", "exec-synthesize", "exec-pretrain", "exec-transfer", "exec-finish"} <= steps.keys()
    for name, step in steps.items():
        assert step["securityContext"] == {"runAsNonRoot": True}, name
        keys: dict[str, set[str]] = {}  # the register step reads two sets of keys from one secret
        for secret in step["secretAsEnv"]:
            keys.setdefault(secret["secretName"], set()).update(pair["secretKey"] for pair in secret["keyToEnv"])
        assert all(template[secret].keys() <= found for secret, found in keys.items()), name
    labelled = {name for name, step in steps.items() if METRICS_LABEL in step.get("podMetadata", {}).get("labels", {})}
    assert labelled == {"exec-synthesize"}
    monitor = of_kind("monitoring", "PodMonitor")[0]["spec"]
    assert monitor["selector"]["matchExpressions"] == [{"key": METRICS_LABEL, "operator": "Exists"}]
    assert METRICS_LABEL.replace("-", "_") in json.dumps(monitor["podMetricsEndpoints"])


def test_behind_tls_everything_that_reaches_minio_says_https(tmp_path: Path) -> None:
    items = {named(item): item for item in production_with("minio-tls", tmp_path)}
    server = items["StatefulSet/minio"]["spec"]["template"]["spec"]
    probes = [server["containers"][0][probe]["httpGet"]["scheme"] for probe in ("startupProbe", "livenessProbe")]
    assert probes == ["HTTPS", "HTTPS"]
    certs = next(volume for volume in server["volumes"] if volume["name"] == "certs")
    assert [item["path"] for item in certs["secret"]["items"]] == ["public.crt", "private.key"]
    job = items["Job/minio-setup"]["spec"]["template"]["spec"]["containers"][0]
    values = {variable["name"]: variable.get("value") for variable in job["env"]}
    assert (values["MINIO_SCHEME"], values["MINIO_ENDPOINT"]) == ("https", "minio.comface.svc:9000")
    assert "disableSSL: false" in items["ConfigMap/kfp-launcher"]["data"]["providers"]
    assert "insecure: false" in items["ConfigMap/artifact-repositories"]["data"]["comface"]
