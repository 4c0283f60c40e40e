"""Pod Security Standard `restricted`, as https://kubernetes.io/docs/concepts/security/pod-security-standards lists its
controls: in goes a pod's spec, out come its violations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = ("RuntimeDefault", "Localhost")
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def violations(pod: dict[str, Any]) -> Iterator[str]:
    own = pod.get("securityContext") or {}
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is a {'/'.join(sorted(kinds - VOLUMES))}"
    if not {sysctl["name"] for sysctl in own.get("sysctls") or []} <= SAFE_SYSCTLS:
        yield "an unsafe sysctl is set"
    yield from _context("the pod", own)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(field) or []:
            yield from _container(container, own)


def _context(who: str, context: dict[str, Any]) -> Iterator[str]:
    """What no security context, of a pod or a container, may say."""
    if context.get("runAsNonRoot") is False:
        yield f"{who} may run as root"
    if context.get("runAsUser") == 0:
        yield f"{who} runs as user 0"
    if "seccompProfile" in context and context["seccompProfile"].get("type") not in SECCOMP:
        yield f"{who} has no seccomp profile"
    if context.get("procMount", "Default") != "Default":
        yield f"{who} unmasks /proc"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield f"{who} is a host process"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{who} sets SELinux options"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield f"{who} has no AppArmor profile"


def _container(container: dict[str, Any], pod_context: dict[str, Any]) -> Iterator[str]:
    who = f"container {container['name']}"
    context = container.get("securityContext") or {}
    yield from _context(who, context)
    if context.get("privileged"):
        yield f"{who} is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{who} may gain privileges"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"{who} keeps capabilities"
    if not set(capabilities.get("add") or []) <= {"NET_BIND_SERVICE"}:
        yield f"{who} adds capabilities"
    if not (context.get("runAsNonRoot") or ("runAsNonRoot" not in context and pod_context.get("runAsNonRoot"))):
        yield f"{who} does not have to run as another than root"
    if "seccompProfile" not in context and "seccompProfile" not in pod_context:
        yield f"{who} has no seccomp profile"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield f"{who} opens a port of the host"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        handler = container.get(probe) or {}
        if (handler.get("httpGet") or {}).get("host") or (handler.get("tcpSocket") or {}).get("host"):
            yield f"{who} probes another host"
