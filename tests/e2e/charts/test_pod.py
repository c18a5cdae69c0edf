"""The DaemonSet that the chart renders: what it may do, what it sees, and where it runs."""

from typing import Any

import pytest
import yaml

from exporter.cli.arguments import program
from tests.e2e.charts.chart import (
    SCENARIOS,
    Manifest,
    container_of,
    manifests,
    of,
    only,
    pod_of,
    scenario,
    values,
)

METERS = tuple(name for name in SCENARIOS if name not in {"demo", "overrides"})
PRIVILEGED = {"gke"}
"""Platforms that open the device files to nothing less."""

TOLERATIONS = [
    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
    {
        "key": "kubernetes.azure.com/scalesetpriority",
        "operator": "Equal",
        "value": "spot",
        "effect": "NoSchedule",
    },
    {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
]
EVICTED = {
    "cluster-autoscaler.kubernetes.io/enable-ds-eviction": "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
}
FOLDER = "/var/lib/inference-cost-exporter"


def environment(container: Manifest) -> dict[str, str]:
    """The variables with values of their own."""
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


def mounted(objects: list[Manifest]) -> dict[str, tuple[Manifest, Manifest]]:
    """Volume and mount of each place."""
    volumes = {volume["name"]: volume for volume in pod_of(objects)["volumes"]}
    return {
        mount["mountPath"]: (volumes[mount["name"]], mount) for mount in container_of(objects)["volumeMounts"]
    }


@pytest.mark.parametrize("name", METERS)
def test_it_can_do_nothing_that_it_need_not(name: str) -> None:
    """No capability, no escalation, a root that is only read, and a filter on system calls."""
    security = container_of(of(name))["securityContext"]

    assert security == {
        "privileged": name in PRIVILEGED,
        "allowPrivilegeEscalation": name in PRIVILEGED,  # Kubernetes refuses one without the other
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod_of(of(name))["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "hostIPC" not in pod_of(of(name))


@pytest.mark.parametrize("name", METERS)
def test_it_takes_no_gpu(name: str) -> None:
    """It sees all of them without asking for one; a claim with admin access leaves them to others."""
    amounts = dict(container_of(of(name))["resources"])
    claims = amounts.pop("claims", [])

    assert {resource for part in amounts.values() for resource in part} <= {"cpu", "memory"}
    assert bool(claims) is (name == "dra")
    for template in (each for each in of(name) if each["kind"] == "ResourceClaimTemplate"):
        for request in template["spec"]["spec"]["devices"]["requests"]:
            assert request["exactly"]["adminAccess"] is True


@pytest.mark.parametrize("name", METERS)
def test_two_pods_never_share_a_ledger(name: str) -> None:
    """A ledger has one writer, whatever the strategy."""
    strategy = only("DaemonSet", of(name))["spec"]["updateStrategy"]

    assert strategy["type"] == "OnDelete" or strategy["rollingUpdate"]["maxSurge"] == 0


@pytest.mark.parametrize("name", METERS)
def test_what_is_mounted_is_only_read(name: str) -> None:
    """But for the ledger, and the device that says which GPUs are to be shown."""
    for path, (_, mount) in mounted(of(name)).items():
        written = path in {FOLDER, "/var/run/nvidia-container-devices/all"}
        assert mount.get("readOnly", False) is not written, path


@pytest.mark.parametrize("name", METERS)
def test_a_change_of_the_configuration_restarts_nothing(name: str) -> None:
    """The daemon watches the file in the mount, whose content a pod's template does not know."""
    objects = of(name)
    annotations = only("DaemonSet", objects)["spec"]["template"]["metadata"].get("annotations", {})
    volume, mount = mounted(objects)["/etc/inference-cost-exporter"]

    assert "--config.watch" in container_of(objects)["args"]
    assert not [key for key in annotations if "checksum" in key]
    assert set(volume["configMap"]) == {"name"}
    assert "subPath" not in mount  # which the kubelet never brings up to date


def test_a_changed_configuration_is_the_same_pod() -> None:
    """Two configurations, one DaemonSet."""
    settings = ({"config": {"interval": each}, "checkConfig": {"enabled": False}} for each in ("5s", "10s"))
    two = [manifests(*values(**each)) for each in settings]

    assert only("DaemonSet", two[0]) == only("DaemonSet", two[1])
    assert only("ConfigMap", two[0]) != only("ConfigMap", two[1])


@pytest.mark.parametrize(
    ("name", "runtime", "selector", "expected_keys"),
    [
        ("generic", None, {"node.example/gpu": "true"}, None),
        (
            "generic-runtime-class",
            "nvidia",
            None,
            {"nvidia.com/gpu.present", "feature.node.kubernetes.io/pci-10de.present"},
        ),
        ("gke", None, None, {"cloud.google.com/gke-accelerator"}),
        (
            "eks",
            None,
            None,
            {
                "nvidia.com/gpu.present",
                "feature.node.kubernetes.io/pci-10de.present",
                "k8s.amazonaws.com/accelerator",
                "eks.amazonaws.com/instance-gpu-manufacturer",
                "karpenter.k8s.aws/instance-gpu-manufacturer",
            },
        ),
    ],
)
def test_each_platform_has_its_nodes(
    name: str, runtime: str | None, selector: dict[str, str] | None, expected_keys: set[str] | None
) -> None:
    """By a selector or by labels of which one is enough; what the values choose is instead of either."""
    pod = pod_of(of(name))
    affinity: Any = pod.get("affinity", {}).get("nodeAffinity", {})
    wanted = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])

    assert pod.get("runtimeClassName") == runtime
    assert pod.get("nodeSelector") == selector
    assert all(len(term["matchExpressions"]) == 1 for term in wanted)
    assert {term["matchExpressions"][0]["key"] for term in wanted} == (expected_keys or set())


PRESENT = {"nvidia.com/gpu.present": "true"}
CLIENT = "nvidia.com/gpu.deploy.client"
VALIDATOR = "nvidia.com/gpu.deploy.operator-validator"
PAUSED = "paused-for-driver-upgrade"


def matches(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a node fits one expression, as Kubernetes defines its operators."""
    value = labels.get(expression["key"])
    return {
        "In": value in expression.get("values", []),
        "NotIn": value not in expression.get("values", []),
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]


@pytest.mark.parametrize("name", ["gpu-operator", "cdi"])
@pytest.mark.parametrize(
    ("labels", "there"),
    [
        ({**PRESENT, VALIDATOR: "true"}, True),  # releases 25.3.0 to 26.3.2
        ({**PRESENT, VALIDATOR: PAUSED}, False),
        ({**PRESENT, VALIDATOR: "true", CLIENT: "true"}, True),  # release 26.7.0
        ({**PRESENT, VALIDATOR: PAUSED, CLIENT: PAUSED}, False),
        ({**PRESENT, VALIDATOR: "true", CLIENT: "false"}, False),  # an operator's own choice
        ({**PRESENT}, True),  # the validator is off, or its label not there yet
        ({**PRESENT, "nvidia.com/gpu.workload.config": "vm-passthrough"}, False),  # no driver on the host
        ({VALIDATOR: "true"}, False),
        ({"nvidia.com/gpu.present": "false"}, False),
        ({}, False),
    ],
)
def test_gpu_operators_nodes_are_found_on_each_release(
    name: str, labels: dict[str, str], *, there: bool
) -> None:
    """One pod on each GPU node, with the label for clients and without; none while the driver is upgraded."""
    pod = pod_of(of(name))
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    alternatives = [term["matchExpressions"] for term in required["nodeSelectorTerms"]]

    assert "nodeSelector" not in pod
    assert any(all(matches(part, labels) for part in term) for term in alternatives) is there


def test_without_a_runtime_class_where_the_operator_removes_it() -> None:
    """The NRI plugin reads the annotation, and with it on there is no RuntimeClass nvidia to name."""
    assert pod_of(of("gpu-operator"))["runtimeClassName"] == "nvidia"
    assert "runtimeClassName" not in pod_of(of("cdi"))
    own = values(gpu={"visibility": "cdi", "runtimeClassName": "own"})
    assert pod_of(manifests(*own))["runtimeClassName"] == "own"


@pytest.mark.parametrize("name", METERS)
def test_it_runs_on_tainted_gpu_nodes(name: str) -> None:
    """GPU nodes are commonly tainted against pods that request no GPU.

    None tolerates a taint whose key it does not name: a node that is emptied is not to get the pod again.
    """
    given = pod_of(of(name))["tolerations"]

    assert given[: len(TOLERATIONS)] == TOLERATIONS
    assert all(each.get("key") for each in given)
    assert not {"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"} & {each["key"] for each in given}


@pytest.mark.parametrize("name", METERS)
def test_it_keeps_no_node_and_leaves_it_in_time(name: str) -> None:
    """An autoscaler may evict it, by SIGTERM and long enough for the last tick."""
    template = only("DaemonSet", of(name))["spec"]["template"]
    annotations = template["metadata"]["annotations"]

    assert EVICTED.items() <= annotations.items()
    assert not [key for key in annotations if key.startswith("karpenter.sh/")]
    assert template["spec"]["terminationGracePeriodSeconds"] >= 10


def test_own_choices_come_beside_the_platforms() -> None:
    """Tolerations, priority, labels, annotations, strategy, image."""
    objects = of("generic")
    pod = pod_of(objects)
    spec = only("DaemonSet", objects)["spec"]

    assert pod["tolerations"] == [
        *TOLERATIONS,
        {"key": "dedicated", "operator": "Equal", "value": "inference", "effect": "NoSchedule"},
    ]
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    digest = "sha256:" + "0123456789abcdef" * 4
    assert container_of(objects)["image"] == f"registry.example/ml/inference-cost-exporter@{digest}"
    assert spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 5
    assert spec["template"]["metadata"]["labels"]["team"] == "platform"
    assert spec["template"]["metadata"]["annotations"] == {**EVICTED, "example.com/owner": "platform"}
    assert only("PodDisruptionBudget", objects)["spec"]["minAvailable"] == 3


@pytest.mark.parametrize(
    ("name", "variables", "annotation", "mount"),
    [
        (
            "gpu-operator",
            {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"},
            None,
            None,
        ),
        ("eks", {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"}, None, None),
        (
            "eks-bottlerocket",
            {"NVIDIA_DRIVER_CAPABILITIES": "utility"},
            None,
            ("/var/run/nvidia-container-devices/all", {"path": "/dev/null"}),
        ),
        (
            "cdi",
            {"NVIDIA_VISIBLE_DEVICES": "void", "NVIDIA_DRIVER_CAPABILITIES": "utility"},
            {"nvidia.cdi.k8s.io/container.exporter": "management.nvidia.com/gpu=all"},
            None,
        ),
        (
            "gke",
            {"LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"},
            None,
            ("/usr/local/nvidia", {"path": "/home/kubernetes/bin/nvidia", "type": "Directory"}),
        ),
    ],
)
def test_it_sees_the_gpus(
    name: str,
    variables: dict[str, str],
    annotation: dict[str, str] | None,
    mount: tuple[str, dict[str, str]] | None,
) -> None:
    """By a variable, a mount, an annotation, or the driver's folder, as the platform has it."""
    objects = of(name)
    container = container_of(objects)
    annotations = only("DaemonSet", objects)["spec"]["template"]["metadata"].get("annotations", {})

    assert environment(container) == variables
    assert (annotation or {}).items() <= annotations.items()
    if mount is not None:
        assert mounted(objects)[mount[0]][0]["hostPath"] == mount[1]


def test_the_ledger_is_on_the_node_or_says_that_it_is_not() -> None:
    """A folder of the node unless emptyDir is asked for; always at the path that the flag names."""
    persistent, lost = (mounted(of(name))[FOLDER][0] for name in ("gpu-operator", "unprivileged"))

    assert persistent["hostPath"] == {"path": FOLDER, "type": "DirectoryOrCreate"}
    assert lost["emptyDir"] == {"sizeLimit": "512Mi"}
    assert f"--ledger.path={FOLDER}/ledger.db" in container_of(of("unprivileged"))["args"]


def test_secrets_are_mounted_where_the_configuration_names_them() -> None:
    """For the group of the process, and nobody else."""
    mounts = mounted(of("configured"))

    assert mounts["/files/r1"][0]["secret"] == {"secretName": "r1-token", "defaultMode": 0o440}
    assert mounts["/files/ca"][0]["configMap"] == {"name": "corporate-ca"}
    (text,) = {
        manifest["data"]["config.yaml"] for manifest in of("configured") if manifest["kind"] == "ConfigMap"
    }
    assert "bearer_token_file: /files/r1/token" in text
    assert "ca_file: /files/ca/ca.pem" in text


@pytest.mark.parametrize(
    ("name", "probe"),
    [
        ("gpu-operator", {"httpGet": {"path": "/-/healthy", "port": "metrics"}}),
        ("secured", {"httpGet": {"path": "/-/healthy", "port": "metrics", "scheme": "HTTPS"}}),
        ("client-certificates", {"tcpSocket": {"port": "metrics"}}),
        ("demo", {"httpGet": {"path": "/-/healthy", "port": "metrics"}}),
    ],
)
def test_probes_speak_as_the_port_does(name: str, probe: dict[str, Any]) -> None:
    """By TLS where there is TLS; by connecting only, where nobody without a certificate is answered."""
    kind = "Deployment" if name == "demo" else "DaemonSet"
    (container,) = only(kind, of(name))["spec"]["template"]["spec"]["containers"]

    assert probe.items() <= container["livenessProbe"].items()
    assert probe.items() <= container["startupProbe"].items()
    assert set(probe) <= set(container["readinessProbe"])
    if "httpGet" in probe:
        assert container["readinessProbe"]["httpGet"] == {**probe["httpGet"], "path": "/-/ready"}


def test_the_web_configuration_lies_beside_what_it_names() -> None:
    """One folder for the file, the key and the certificate, whose paths in it are relative."""
    objects = of("client-certificates")
    volume, mount = mounted(objects)["/etc/inference-cost-exporter-web"]

    assert volume["secret"] == {"secretName": "inference-cost-web", "defaultMode": 0o440}
    assert mount["readOnly"]
    assert "--web.config.file=/etc/inference-cost-exporter-web/tls.yml" in container_of(objects)["args"]


@pytest.mark.parametrize("name", METERS)
def test_reloading_by_http_is_switched_off_where_asked(name: str) -> None:
    """Nowhere else; without a value the exporter decides by whether clients show who they are."""
    args = container_of(of(name))["args"]

    assert ("--no-web.enable-lifecycle" in args) is (name == "secured")
    assert ("--web.enable-lifecycle" in args) is (name == "host-network")


def test_names_of_an_ingress_are_allowed() -> None:
    """Each by a flag of its own."""
    assert "--web.allowed-host=costs.example.com" in container_of(of("client-certificates"))["args"]


def test_the_check_reads_the_web_configuration_as_well() -> None:
    """What a start would refuse stops the upgrade; as nobody, who reads the Secret by its group."""
    pod = only("Job", of("client-certificates"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    daemon, mount = mounted(of("client-certificates"))["/etc/inference-cost-exporter-web"]

    assert container["args"][-1] == "--web.config.file=/etc/inference-cost-exporter-web/tls.yml"
    assert program().parse_args(container["args"]).verb.words == "check-config"
    assert daemon in pod["volumes"]
    assert mount in container["volumeMounts"]
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"] == 65532
    assert "fsGroup" not in only("Job", of("checked"))["spec"]["template"]["spec"]["securityContext"]


def test_on_the_nodes_network_names_are_still_resolved() -> None:
    """The cluster's DNS, and a port of one's own choice, which is then the node's."""
    pod = pod_of(of("host-network"))

    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert container_of(of("host-network"))["ports"][0]["containerPort"] == 19844


def test_the_demo_needs_nothing() -> None:
    """No GPU, no right, no node's folder, nobody's token, and neither DaemonSet nor account."""
    objects = of("demo")
    pod = only("Deployment", objects)["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    kinds = {manifest["kind"] for manifest in objects}
    assert kinds == {"Deployment", "Service", "PodMonitor", "ConfigMap", "NetworkPolicy"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["args"] == ["demo", "--web.listen-address=:9844"]  # the pod's network, not its loopback
    assert environment(container) == {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]  # of its ledger
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    assert not {"hostPID", "hostNetwork", "runtimeClassName", "nodeSelector"} & pod.keys()


def test_the_check_of_a_configuration_needs_nothing() -> None:
    """It runs before the release is touched, on what the pods would read, without a right."""
    objects = of("checked")
    job = only("Job", objects)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    read, checked = sorted(
        (manifest for manifest in objects if manifest["kind"] == "ConfigMap"),
        key=lambda manifest: len(manifest["metadata"]["name"]),
    )

    assert checked["data"] == read["data"]
    assert pod["volumes"] == [{"name": "config", "configMap": {"name": checked["metadata"]["name"]}}]
    hooks = [manifest["metadata"]["annotations"] for manifest in (checked, job)]
    assert {hook["helm.sh/hook"] for hook in hooks} == {"pre-install,pre-upgrade"}
    assert [hook["helm.sh/hook-weight"] for hook in hooks] == ["0", "1"]  # what it reads comes first
    assert program().parse_args(container["args"]).verb.words == "check-config"
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert not {"serviceAccountName", "hostPID", "hostNetwork", "runtimeClassName"} & pod.keys()
    assert environment(container) == {"NVIDIA_VISIBLE_DEVICES": "void"}
    selected = only("DaemonSet", objects)["spec"]["selector"]["matchLabels"]
    assert not selected.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert [each for each in TOLERATIONS if each not in pod["tolerations"]] == []


def test_every_configuration_is_checked_unless_told_otherwise() -> None:
    """There is a Job wherever the release brings a configuration, and none where somebody else does."""
    settings = {name: yaml.safe_load(scenario(name).read_text()) for name in SCENARIOS}
    jobs = {name for name in SCENARIOS if "Job" in {document["kind"] for document in of(name)}}

    assert settings["text"]["checkConfig"] == {"enabled": False}
    assert jobs == {name for name in SCENARIOS if settings[name].get("config")} - {"text"}


def test_nobody_takes_the_demo_for_a_host() -> None:
    """What selects the real pods, such as the plain PodMonitor, does not select those of a demo."""
    real = only("DaemonSet", of("gpu-operator"))["spec"]["selector"]["matchLabels"]
    demo = only("Deployment", of("demo"))["spec"]["template"]["metadata"]["labels"]

    assert real["app.kubernetes.io/name"] != demo["app.kubernetes.io/name"]
    service = only("Service", of("demo"))["spec"]["selector"]
    monitor = only("PodMonitor", of("demo"))["spec"]["selector"]["matchLabels"]
    assert service.items() <= demo.items()
    assert monitor == service
