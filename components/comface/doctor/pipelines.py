"""The KFP server: does it answer, and can the pipeline run on its version?

In: endpoint and namespace. Out: one row. The version is what the server reports, or the tag of its deployment's image.
"""

from __future__ import annotations

import re

from comface.cluster.client import Cluster, NoAnswer, NotPermitted, Refused, part, parts
from comface.doctor.rows import Row
from comface.submit.connection import connect

SECTION = "Kubeflow Pipelines"
LEAST = (2, 15)
"""From this version on, KFP forwards a task's settings to the training job (TaskConfig)."""
DEPLOYMENT = "/apis/apps/v1/namespaces/kubeflow/deployments/ml-pipeline"


def kfp_row(endpoint: str | None, namespace: str | None, cluster: Cluster | None) -> Row:
    connection = connect(endpoint, namespace)
    version = str(connection.health().get("tag_name") or (_image_tag(cluster) if cluster else ""))
    users = f", namespace {connection.namespace}" if connection.namespace else ""
    found = f"{connection.endpoint} answers: KFP {version or 'of unknown version'}{users}"
    numbers = re.search(r"(\d+)\.(\d+)", version)
    if numbers is None:
        return Row(SECTION, "API", "ok", found)
    if (int(numbers[1]), int(numbers[2])) < LEAST:
        return Row(SECTION, "API", "red", found, f"upgrade KFP to {LEAST[0]}.{LEAST[1]} or later")
    return Row(SECTION, "API", "ok", found)


def _image_tag(cluster: Cluster) -> str:
    try:
        deployment = cluster.get(DEPLOYMENT) or {}
    except (NotPermitted, NoAnswer, Refused):
        return ""
    containers = parts(part(part(part(deployment, "spec"), "template"), "spec"), "containers")
    tags = [re.search(r":([\w.-]+)$", str(each.get("image", "")).partition("@")[0]) for each in containers]
    return next((tag[1] for tag in tags if tag), "")
