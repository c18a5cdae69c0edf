"""The Pod Security level that a pod is admitted at: restricted, baseline or privileged.

As kubernetes.io/docs/concepts/security/pod-security-standards has it.
"""

from collections.abc import Iterator
from typing import Any, Final

CAPABILITIES: Final = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
SELINUX_TYPES: Final = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}

Part = dict[str, Any]


def level(pod: Part) -> str:
    """The strictest level whose checks all pass."""
    if next(beyond_baseline(pod), None):
        return "privileged"
    return "baseline" if next(beyond_restricted(pod), None) else "restricted"


def beyond_baseline(pod: Part) -> Iterator[str]:
    """What the baseline forbids."""
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    yield from ("hostPath" for volume in pod.get("volumes", ()) if "hostPath" in volume)
    for container in containers(pod):
        security = container.get("securityContext", {})
        added = {*security.get("capabilities", {}).get("add", ())}
        yield from (["privileged"] if security.get("privileged") else [])
        yield from sorted(added - CAPABILITIES)
        yield from (["procMount"] if security.get("procMount", "Default") != "Default" else [])
        yield from ("hostPort" for port in container.get("ports", ()) if port.get("hostPort"))
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            handler = container.get(probe, {})
            yield from (kind for kind in ("httpGet", "tcpSocket") if handler.get(kind, {}).get("host"))
    for security in contexts(pod):
        options = security.get("seLinuxOptions", {})
        yield from (
            ["seLinuxOptions"]
            if options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role")
            else []
        )
        for profile in ("seccompProfile", "appArmorProfile"):
            yield from ([profile] if security.get(profile, {}).get("type") == "Unconfined" else [])
        yield from ("sysctls" for _ in security.get("sysctls", ()))  # some are allowed, and none is used here


def beyond_restricted(pod: Part) -> Iterator[str]:
    """What the restricted level forbids, or misses, beside the baseline."""
    whole = pod.get("securityContext", {})
    yield from ("volumes" for volume in pod.get("volumes", ()) if not {*volume} - {"name"} <= VOLUMES)
    for container in containers(pod):
        own = container.get("securityContext", {})
        capabilities = own.get("capabilities", {})
        user = own.get("runAsUser", whole.get("runAsUser"))
        profile = own.get("seccompProfile", whole.get("seccompProfile", {}))
        checks = {
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": own.get("runAsNonRoot", whole.get("runAsNonRoot")) is True,
            "runAsUser": user != 0,
            "seccompProfile": profile.get("type") in {"RuntimeDefault", "Localhost"},
            "drop": "ALL" in capabilities.get("drop", ()),
            "add": {*capabilities.get("add", ())} <= {"NET_BIND_SERVICE"},
        }
        yield from (name for name, passed in checks.items() if not passed)


def containers(pod: Part) -> list[Part]:
    """All of them, those of the start first."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def contexts(pod: Part) -> list[Part]:
    """The pod's, and those of its containers."""
    return [part.get("securityContext", {}) for part in (pod, *containers(pod))]
