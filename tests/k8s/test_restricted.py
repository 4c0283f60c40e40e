"""The policy check itself: a pod that satisfies `restricted` passes, and each way to break it is found."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from restricted import violations

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "main",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
    "volumes": [{"name": "scratch", "emptyDir": {}}],
}


def test_a_pod_that_satisfies_the_standard_has_no_violations() -> None:
    assert list(violations(GOOD)) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("hostNetwork",), True),
        (("hostPID",), True),
        (("hostIPC",), True),
        (("volumes",), [{"name": "host", "hostPath": {"path": "/"}}]),
        (("volumes",), [{"name": "nfs", "nfs": {"server": "a", "path": "/"}}]),
        (("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
        (("securityContext", "runAsUser"), 0),
        (("securityContext", "runAsNonRoot"), None),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
        (("securityContext",), {}),
        (("containers", 0, "securityContext"), {}),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), None),
        (("containers", 0, "securityContext", "privileged"), True),
        (("containers", 0, "securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
        (("containers", 0, "securityContext", "capabilities"), {"drop": ["ALL"], "add": ["IPC_LOCK"]}),
        (("containers", 0, "securityContext", "runAsNonRoot"), False),
        (("containers", 0, "securityContext", "runAsUser"), 0),
        (("containers", 0, "securityContext", "procMount"), "Unmasked"),
        (("containers", 0, "securityContext", "seLinuxOptions"), {"type": "spc_t"}),
        (("containers", 0, "securityContext", "appArmorProfile"), {"type": "Unconfined"}),
        (("containers", 0, "ports"), [{"containerPort": 80, "hostPort": 80}]),
        (("initContainers",), [{"name": "init", "securityContext": {"privileged": True}}]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_each_way_to_break_the_standard_is_found(place: tuple[Any, ...], value: Any) -> None:
    pod = copy.deepcopy(GOOD)
    *above, last = place
    inside: Any = pod
    for key in above:
        inside = inside[key]
    inside[last] = value
    assert list(violations(pod))
