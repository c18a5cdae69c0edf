"""What the DaemonSet says of its pod, in podman's words: the same rights, and no more."""

from pathlib import Path
from typing import Any

import yaml

from tests.e2e.daemon import ROOT

Manifest = dict[str, Any]


def pod() -> Manifest:
    """The pod of the plain DaemonSet, to be changed at will."""
    text = (ROOT / "deploy" / "kubernetes" / "daemonset.yaml").read_text(encoding="utf-8")
    (daemon_set,) = [document for document in yaml.safe_load_all(text) if document["kind"] == "DaemonSet"]
    return dict(daemon_set["spec"]["template"]["spec"])


def arguments(spec: Manifest) -> list[str]:
    """The command line of its only container."""
    (container,) = spec["containers"]
    return list(container["args"])


def options(spec: Manifest, folders: dict[str, Path]) -> list[str]:
    """How podman begins such a container.

    A right that is not translated here fails, so that no manifest grants what was not tried.

    Args:
        spec: the pod.
        folders: what stands for each of its volumes, by name.
    """
    (container,) = spec["containers"]
    mine, shared = dict(container["securityContext"]), dict(spec["securityContext"])
    user = shared.pop("runAsUser"), shared.pop("runAsGroup")
    assert (mine.pop("allowPrivilegeEscalation"), mine.pop("readOnlyRootFilesystem")) == (False, True)
    assert (mine.pop("privileged", False), mine.pop("capabilities")) == (False, {"drop": ["ALL"]})
    assert mine.pop("seccompProfile", shared.pop("seccompProfile", None)) == {"type": "RuntimeDefault"}
    assert (mine, shared) == ({}, {})
    words = [
        *(f"--user={user[0]}:{user[1]}", "--cap-drop=all", "--security-opt=no-new-privileges"),
        *("--read-only", "--read-only-tmpfs=false", "--network=host"),
        f"--stop-timeout={spec['terminationGracePeriodSeconds']}",
        f"--memory={container['resources']['limits']['memory'].removesuffix('i').lower()}",
        *(f"--env={item['name']}={item['value']}" for item in container["env"] if "value" in item),
    ]
    if spec.get("hostPID"):
        words.append("--pid=host")
    for mount in container["volumeMounts"]:
        mode = ":ro" if mount.get("readOnly") else ""
        words.append(f"--volume={folders[mount['name']]}:{mount['mountPath']}{mode}")
    return words
