"""Each row of the table of docs/install.md, against what the chart renders from the values that it names."""

import csv
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.vendors import NVIDIA
from tests import next_release
from tests.docs.markdown import sections
from tests.e2e.charts.chart import (
    CHART,
    HELMS,
    NAMESPACE,
    PROGRAMS,
    RELEASE,
    ROOT,
    SCENARIOS,
    Manifest,
    container_of,
    manifests,
    of,
    only,
    pod_of,
    pods_of,
    values,
)
from tests.e2e.charts.pod_security import containers, level
from tests.nightly import daily

with (ROOT / "docs" / "generators" / "platforms.csv").open(encoding="utf-8", newline="") as lines:
    ROWS = {row["values"]: row for row in csv.DictReader(lines)}

LEVELS = ("restricted", "baseline", "privileged")
METERED = tuple(name for name in ROWS if name != "demo")


def node_labels(pod: Manifest) -> set[str]:
    """The keys that a pod selects nodes by."""
    affinity: Any = pod.get("affinity", {}).get("nodeAffinity", {})
    alternatives = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get(
        "nodeSelectorTerms", []
    )
    return {
        *pod.get("nodeSelector", {}),
        *(part["key"] for term in alternatives for part in term["matchExpressions"]),
    }


@pytest.mark.parametrize("name", METERED)
@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
def test_nodes_class_and_taint_are_those_of_the_table(helm: str, name: str) -> None:
    """A label that the pod selects by, the RuntimeClass that it names, and a taint that it tolerates."""
    pod = pod_of(of(name, helm))
    key, _, value = ROWS[name]["taint"].partition("=")

    assert ROWS[name]["nodes"] in node_labels(pod)
    assert pod.get("runtimeClassName", "none") == ROWS[name]["runtime_class"]
    assert any(
        each["key"] == key and each["effect"] == "NoSchedule" and each.get("value", value) == value
        for each in pod["tolerations"]
    )


@pytest.mark.parametrize("name", METERED)
def test_gpus_come_as_the_table_has_it(name: str) -> None:
    """By a variable, a mount, an annotation, a claim, or the device files of a privileged container."""
    objects, way = of(name), ROWS[name]["gpus"]
    container = container_of(objects)
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    template = only("DaemonSet", objects)["spec"]["template"]

    shown = {
        "NVIDIA_VISIBLE_DEVICES=all": variables.get("NVIDIA_VISIBLE_DEVICES") == "all",
        "mount /var/run/nvidia-container-devices/all": "/var/run/nvidia-container-devices/all"
        in {each["mountPath"] for each in container["volumeMounts"]},
        "annotation nvidia.cdi.k8s.io/container.exporter": "nvidia.cdi.k8s.io/container.exporter"
        in template["metadata"]["annotations"],
        "claim with adminAccess": "claims" in container["resources"],
        "device files": container["securityContext"]["privileged"],
    }
    assert [each for each, there in shown.items() if there] == [way]
    library = ROWS[name]["library"]
    assert (variables.get("LD_LIBRARY_PATH") == library) is library.startswith("/")


@pytest.mark.parametrize("name", ROWS)
def test_the_pod_security_level_is_the_one_of_the_table(name: str) -> None:
    """The level that a namespace must allow: the least strict of all pods in it."""
    assert max(map(level, pods_of(of(name))), key=LEVELS.index) == ROWS[name]["pod_security"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_check_and_the_demo_are_restricted(name: str) -> None:
    """Whatever else is chosen: they are admitted in any namespace."""
    pods = [each["spec"]["template"]["spec"] for each in of(name) if each["kind"] in {"Job", "Deployment"}]

    assert {level(pod) for pod in pods} <= {"restricted"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "restricted"),
        ({"hostPID": True}, "privileged"),
        ({"volumes": [{"name": "a", "hostPath": {"path": "/a"}}]}, "privileged"),
        ({"volumes": [{"name": "a", "nfs": {}}]}, "baseline"),
        ({"securityContext": {}}, "baseline"),
        ({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}, "privileged"),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "privileged"),
        ({"container": {"privileged": True}}, "privileged"),
        ({"container": {"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}}}, "privileged"),
        ({"container": {"capabilities": {"add": ["CHOWN"], "drop": ["ALL"]}}}, "baseline"),
        ({"container": {"runAsUser": 0}}, "baseline"),
        ({"container": {"allowPrivilegeEscalation": True}}, "baseline"),
    ],
)
def test_the_levels_are_kubernetes(change: dict[str, Any], expected: str) -> None:
    """What each forbids, one thing at a time."""
    whole = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    own = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        **change.pop("container", {}),
    }

    assert level({"securityContext": whole, "containers": [{"securityContext": own}], **change}) == expected


def test_openshift_allows_what_the_pod_uses_and_no_more() -> None:
    """The constraints are for its account alone; the check has a user of the namespace's own range."""
    objects = of("openshift")
    allowed, pod = only("SecurityContextConstraints", objects), pod_of(objects)

    assert allowed["users"] == [f"system:serviceaccount:{NAMESPACE}:{pod['serviceAccountName']}"]
    assert (allowed["groups"], allowed["allowedCapabilities"]) == ([], None)
    assert (allowed["allowHostPID"], pod["hostPID"]) == (True, True)
    assert (allowed["allowHostNetwork"], "hostNetwork" in pod) == (False, False)
    assert not allowed["allowPrivilegedContainer"]
    assert allowed["runAsUser"] == {"type": "MustRunAs", "uid": pod["securityContext"]["runAsUser"]}
    kinds = {kind for volume in pod["volumes"] for kind in volume} - {"name"}
    assert kinds <= {*allowed["volumes"]}
    assert (
        allowed["requiredDropCapabilities"]
        == container_of(objects)["securityContext"]["capabilities"]["drop"]
    )
    assert pod["securityContext"]["seLinuxOptions"] == {"type": "spc_t"}
    check = only("Job", objects)["spec"]["template"]["spec"]["securityContext"]
    assert check == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    unprivileged = manifests(
        *values(platform="openshift", access={"root": False, "podResources": False, "hostPID": False})
    )
    constraints = only("SecurityContextConstraints", unprivileged)
    assert (constraints["allowHostPID"], constraints["runAsUser"]["uid"]) == (False, 65532)
    assert "SecurityContextConstraints" not in {each["kind"] for each in of("gpu-operator")}


def test_a_claim_shows_every_gpu_and_the_exporter_knows_it_is_its_own() -> None:
    """NVIDIA's class of whole GPUs, all of the node's; the pod names itself to its own discovery."""
    objects = of("dra")
    template, pod, container = only("ResourceClaimTemplate", objects), pod_of(objects), container_of(objects)
    (request,) = template["spec"]["spec"]["devices"]["requests"]

    assert request["exactly"] == {
        "deviceClassName": NVIDIA.dra_driver,
        "allocationMode": "All",
        "adminAccess": True,
    }
    (claim,) = pod["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == template["metadata"]["name"] == RELEASE
    assert container["resources"]["claims"] == [{"name": claim["name"]}]
    fields = {each["name"]: each["valueFrom"] for each in container["env"] if "valueFrom" in each}
    assert fields["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert fields["POD_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


@pytest.mark.parametrize(
    ("settings", "quota"),
    [
        ({"platform": "gke"}, True),
        ({"platform": "gpu-operator"}, False),
        ({"platform": "eks", "resourceQuota": {"enabled": True}}, True),
        ({"platform": "gke", "resourceQuota": {"enabled": False}}, False),
        ({"platform": "gke", "priorityClassName": ""}, False),
        ({"platform": "gke", "priorityClassName": "high"}, False),
    ],
)
def test_a_priority_that_needs_a_quota_has_one(settings: dict[str, Any], *, quota: bool) -> None:
    """Of the system's classes only, and where the cluster asks for it."""
    objects = manifests(*values(**settings))
    quotas = [each["spec"] for each in objects if each["kind"] == "ResourceQuota"]
    wanted = settings.get("priorityClassName", "system-node-critical")

    assert pod_of(objects).get("priorityClassName", "") == wanted
    assert bool(quotas) is quota
    for spec in quotas:
        (scope,) = spec["scopeSelector"]["matchExpressions"]
        assert scope == {"scopeName": "PriorityClass", "operator": "In", "values": [wanted]}


SHIMS = {
    "kubectl": """\
case $1 in
create) exec {programs}/kubectl "$@" --dry-run=client --output=yaml >{folder}/namespace.yaml ;;
label) exec {programs}/kubectl label --local --filename={folder}/namespace.yaml --output=yaml "${{@:4}}" ;;
esac
exit 2
""",
    "helm": """\
echo ---
[ "$1 $2" = "upgrade --install" ] && exec {programs}/{helm} template "${{@:3}}"
""",
}
"""What is done without a cluster: the namespace is made and labeled in a file, the chart rendered."""


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("helm", daily(HELMS, {"helm-4"}))
def test_the_three_commands_of_the_page_fit_together(helm: str, name: str, tmp_path: Path) -> None:
    """Each as bash runs it: the namespace allows the pods, which have the image that was pushed."""
    (code_block,) = sections(ROOT / "docs" / "install.md")[ROWS[name]["name"]]
    for program, text in SHIMS.items():
        shim = tmp_path / program
        shim.write_text("#!/bin/bash\n" + text.format(programs=PROGRAMS, folder=tmp_path, helm=helm))
        shim.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", code_block.text],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "IMAGE": "registry.example/mine", "KUBECONFIG": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    namespace, *objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    labels = namespace["metadata"]["labels"]
    pods = pods_of(objects)

    assert namespace["metadata"]["name"] == NAMESPACE
    assert labels["pod-security.kubernetes.io/enforce"] == max(map(level, pods), key=LEVELS.index)
    claims = any(each["kind"] == "ResourceClaimTemplate" for each in objects)
    assert ("resource.kubernetes.io/admin-access" in labels) is claims
    images = {container["image"] for pod in pods for container in containers(pod)}
    assert images == {f"registry.example/mine:{next_release.VERSION}"}
    assert {each["metadata"].get("namespace", NAMESPACE) for each in objects} == {NAMESPACE}


def test_every_example_is_a_row_or_a_variant() -> None:
    """The values that the table names are there."""
    assert [name for name in ROWS if not (CHART / "ci" / f"{name}-values.yaml").exists()] == []
    assert len(ROWS) >= 14
