"""What a step knows of the pod it runs in, and what KFP forwards from its task to the job.

In: environment variables that pipelines/comface.py sets by field path, the pod as the API shows it, and
`dsl.TaskConfig` (KFP 2.15 and newer). Out: `Place`, `Forwarded`. Outside such a pod, `place_of` returns None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from comface.cluster.client import parts
from comface.errors import ConfigurationError

FIELD_PATHS = {
    "COMFACE_POD_NAME": "metadata.name",
    "COMFACE_POD_UID": "metadata.uid",
    "COMFACE_POD_NAMESPACE": "metadata.namespace",
}
"""Environment variable -> field of the pod."""
STORE_SECRET = "comface-store"
STORE_KEYS = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Environment of every step, and of every pod of a job that is launched from outside the pipeline."""
REGISTER_KEYS = (
    "COMFACE_SIGNING_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)
"""Further environment of the register step alone, if the secret has it: what signs models, and copies the registry."""
CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
STEP_CONTAINER = "main"
"""KFP's (that is, Argo's) name of a step's own container."""


@dataclass(frozen=True)
class Place:
    """A step's own pod: the job's owner."""

    pod: str
    uid: str
    namespace: str


def place_of(environment: Mapping[str, str]) -> Place | None:
    values = [environment.get(name, "") for name in FIELD_PATHS]
    return Place(*values) if all(values) else None


@dataclass(frozen=True)
class Forwarded:
    """Parts of a pod's specification, as Kubernetes spells them."""

    resources: dict[str, Any] = field(default_factory=dict)
    env: list[dict[str, Any]] = field(default_factory=list)
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    affinity: dict[str, Any] = field(default_factory=dict)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    volume_mounts: list[dict[str, Any]] = field(default_factory=list)


def forwarded(task: Any) -> Forwarded:
    """The content of a `dsl.TaskConfig` (KFP's local runner leaves its fields None). Raises ConfigurationError for a
    credential that is a plain value: it would be visible in the pipeline, in the job and in its artifact."""
    env = [item for item in getattr(task, "env", None) or [] if item["name"] not in FIELD_PATHS]
    for item in env:
        if item["name"] in CREDENTIALS and item.get("value"):
            raise ConfigurationError(
                f"The pretrain task has {item['name']} as a plain value; take it from a secret "
                "(kubernetes.use_secret_as_env)."
            )
    given = {each.name: getattr(task, each.name, None) for each in fields(Forwarded)}
    return Forwarded(**{**{name: value for name, value in given.items() if value}, "env": env})


def image_of(pod: Mapping[str, Any]) -> str:
    """The image of the step's own container, so that the job runs the same code; by digest if the pipeline uses one."""
    images = {container.get("name"): container.get("image") for container in parts(pod["spec"], "containers")}
    image = images.get(STEP_CONTAINER) or next(iter(images.values()), None)
    if not image:
        raise ConfigurationError("The step's own pod names no image; set pretrain.job.image.")
    return str(image)


def pull_secrets_of(pod: Mapping[str, Any]) -> list[dict[str, str]]:
    return parts(pod["spec"], "imagePullSecrets")
