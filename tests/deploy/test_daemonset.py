"""The plain DaemonSet: valid for Kubernetes, and no more rights than this release uses."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests import next_release

Manifest = dict[str, Any]


@pytest.mark.parametrize("version", ["1.28", kubernetes_validate.latest_version()])
def test_kubernetes_accepts_the_manifest(daemonset_file: Path, version: str) -> None:
    """Every document is valid under the strict schemas of the oldest version supported and of the newest."""
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(daemonset_file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert (result.stdout + result.stderr).count("passed for resource") == 4


def test_a_misspelled_key_is_noticed(daemonset_file: Path, tmp_path: Path) -> None:
    """The validation is not a formality: a key that Kubernetes would ignore fails it."""
    broken = tmp_path / "daemonset.yaml"
    broken.write_text(daemonset_file.read_text().replace("hostPID:", "hostPid:"))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", "1.28", str(broken)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode != 0
    assert "hostPid" in result.stdout + result.stderr


def test_no_api_token_is_mounted(manifests: dict[str, Manifest], pod: Manifest) -> None:
    """Nothing asks the API server, so neither account nor pod mounts a token, and no role exists."""
    assert not manifests["ServiceAccount"]["automountServiceAccountToken"]
    assert not pod["automountServiceAccountToken"]
    assert set(manifests) == {"Namespace", "ServiceAccount", "ConfigMap", "DaemonSet"}


def test_the_container_has_no_capability_and_cannot_gain_one(pod: Manifest, container: Manifest) -> None:
    """Uid 0 without capabilities or escalation, on a read-only root, under the seccomp filter."""
    assert pod["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_only_the_process_ids_of_the_host_are_shared(pod: Manifest) -> None:
    """NVML tells host process ids, so hostPID is needed; the host's network and IPC are not."""
    assert pod["hostPID"]
    assert "hostNetwork" not in pod
    assert "hostIPC" not in pod


def test_the_namespace_allows_what_the_pod_needs(manifests: dict[str, Manifest]) -> None:
    """The pod's hostPID and hostPath exceed the baseline standard, which admission must let pass."""
    labels = manifests["Namespace"]["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"


def test_it_sees_every_gpu_and_takes_none(pod: Manifest, container: Manifest) -> None:
    """The runtime shows all GPUs for reading; a request would take a GPU away from serving."""
    environment = {item["name"]: item["value"] for item in container["env"] if "value" in item}

    assert pod["runtimeClassName"] == "nvidia"
    assert environment == {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"}
    named = [resource for amounts in container["resources"].values() for resource in amounts]
    assert set(named) == {"cpu", "memory"}


def test_the_exporter_knows_its_node(container: Manifest) -> None:
    """Prices matched by host mean the node's name, not the pod's; its kubelet listens at its address.

    The pod's own name and namespace say which allocation of the kubelet is its own.
    """
    variables = {item["name"]: item["valueFrom"] for item in container["env"] if "valueFrom" in item}

    assert variables == {
        "NODE_NAME": {"fieldRef": {"fieldPath": "spec.nodeName"}},
        "NODE_IP": {"fieldRef": {"fieldPath": "status.hostIP"}},
        "POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "POD_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
    }


def test_a_driver_upgrade_can_evict_it(pod: Manifest) -> None:
    """gpu-operator pauses labels before it unloads the driver: each node term names one of them."""
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    keys = [{part["key"] for part in term["matchExpressions"]} for term in required["nodeSelectorTerms"]]

    assert keys == [
        {"nvidia.com/gpu.deploy.client"},
        {
            "nvidia.com/gpu.present",
            "nvidia.com/gpu.deploy.client",
            "nvidia.com/gpu.deploy.operator-validator",
            "nvidia.com/gpu.workload.config",
        },
    ]


def test_it_runs_on_tainted_gpu_nodes(pod: Manifest) -> None:
    """GPU nodes are commonly tainted against pods that request no GPU."""
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]


def test_the_ledger_outlives_the_pod(pod: Manifest, container: Manifest) -> None:
    """The ledger lies on the node at the path that the flag names, the only path that can be written."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    folder = "/var/lib/inference-cost-exporter"

    assert volumes["ledger"]["hostPath"] == {"path": folder, "type": "DirectoryOrCreate"}
    assert mounts["ledger"] == {"name": "ledger", "mountPath": folder}
    assert mounts["config"]["readOnly"]
    assert set(mounts) == {"config", "ledger", "pod-resources"} == set(volumes)


def test_the_kubelets_folder_is_mounted_to_be_read(pod: Manifest, container: Manifest) -> None:
    """The folder and not the socket, which a kubelet makes anew when it starts."""
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "pod-resources")
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "pod-resources")
    folder = "/var/lib/kubelet/pod-resources"

    assert volume["hostPath"] == {"path": folder, "type": "Directory"}
    assert mount == {"name": "pod-resources", "mountPath": folder, "readOnly": True}


def test_the_arguments_name_the_mounted_files(container: Manifest) -> None:
    """Configuration and ledger are where the mounts put them; a ConfigMap that changed needs no restart."""
    assert container["args"] == [
        "--config.file=/etc/inference-cost-exporter/config.yaml",
        "--config.watch",
        "--ledger.path=/var/lib/inference-cost-exporter/ledger.db",
    ]


def test_two_pods_never_share_a_ledger(manifests: dict[str, Manifest]) -> None:
    """A surge would start the new pod beside the old one, and a ledger has one writer."""
    strategy = manifests["DaemonSet"]["spec"]["updateStrategy"]

    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0}}


def test_probes_ask_the_process_only(container: Manifest) -> None:
    """Being alive is the HTTP server's answer, never a matter of NVML; ready is one tick taken."""
    assert container["ports"] == [{"name": "metrics", "containerPort": 9844, "protocol": "TCP"}]
    probes = {
        name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }

    assert probes == {
        "startupProbe": {"path": "/-/healthy", "port": "metrics"},
        "livenessProbe": {"path": "/-/healthy", "port": "metrics"},
        "readinessProbe": {"path": "/-/ready", "port": "metrics"},
    }


def test_the_start_may_wait_for_the_ledger(container: Manifest) -> None:
    """The exporter waits up to 30 seconds for a ledger still held; the start allows twice that and more."""
    probe = container["startupProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] > 60


def test_the_image_is_this_release(manifests: dict[str, Manifest], container: Manifest) -> None:
    """The manifest is versioned with the code it deploys."""
    assert container["image"] == f"inference-cost-exporter:{next_release.VERSION}"
    labels = manifests["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/version"] == next_release.VERSION
    assert manifests["DaemonSet"]["metadata"]["labels"]["app.kubernetes.io/version"] == next_release.VERSION


def test_the_selector_finds_the_pods(manifests: dict[str, Manifest]) -> None:
    """The selector, which can never be changed, names no version."""
    selector = manifests["DaemonSet"]["spec"]["selector"]["matchLabels"]

    assert selector == {"app.kubernetes.io/name": "inference-cost-exporter"}
    assert selector.items() <= manifests["DaemonSet"]["spec"]["template"]["metadata"]["labels"].items()


def test_every_object_is_in_the_one_namespace(manifests: dict[str, Manifest]) -> None:
    """Nothing lands in whatever namespace the reader's kubectl happens to point at."""
    name = manifests["Namespace"]["metadata"]["name"]
    placed = {kind: document["metadata"].get("namespace") for kind, document in manifests.items()}

    assert placed == {"Namespace": None, "ServiceAccount": name, "ConfigMap": name, "DaemonSet": name}
