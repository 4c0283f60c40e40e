"""What the overlays of k8s/ build to: every overlay, as kubectl makes it, parsed once."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="needs kubectl (https://kubernetes.io/docs/tasks/tools), whose kustomize builds the overlays",
)
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)

Object = dict[str, Any]


@functools.cache
def built(overlay: str) -> tuple[Object, ...]:
    done = subprocess.run(["kubectl", "kustomize", K8S / "overlays" / overlay], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[Object]:
    return [item for item in built(overlay) if item["kind"] in kinds]


def named(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def pod_specs(items: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Every pod template, whatever object holds it."""
    for item in items:
        spec = item.get("spec", {})
        if item["kind"] == "Pod":
            yield named(item), spec
        elif item["kind"] == "CronJob":
            yield named(item), spec["jobTemplate"]["spec"]["template"]["spec"]
        elif item["kind"] == "PyTorchJob":
            for role, replica in spec["pytorchReplicaSpecs"].items():
                yield f"{named(item)} {role}", replica["template"]["spec"]
        elif item["kind"] == "InferenceService":
            yield named(item), spec["predictor"]
        elif "template" in spec:
            yield named(item), spec["template"]["spec"]


def containers(pod: Object) -> Iterator[Object]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(field, [])
