"""The ladder: each rung brings its right and no other, and no rung brings `nodes/proxy`."""

from typing import Any

import pytest
import yaml

from exporter.sources.kubernetes import source
from exporter.sources.kubernetes.api import RIGHT
from tests.e2e.charts.chart import (
    NAMESPACE,
    SCENARIOS,
    Manifest,
    container_of,
    manifests,
    of,
    only,
    pod_of,
    values,
)

FULL = {"hostPID": True, "root": True, "podResources": True, "podLookup": "none"}
LABELS = yaml.safe_load(RIGHT)
KUBELET = yaml.safe_load(source.RIGHTS[source.KUBELET])
API_SERVER = yaml.safe_load(source.RIGHTS[source.API_SERVER])


def access(**settings: Any) -> list[Manifest]:
    """The chart with some rungs."""
    return manifests(*values(access={**FULL, **settings}))


def rules(objects: list[Manifest]) -> list[Any]:
    """All that any role allows."""
    return [rule for manifest in objects if manifest["kind"] == "ClusterRole" for rule in manifest["rules"]]


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, []),
        ({"podLookup": "socket"}, []),
        ({"podLookup": "kubelet"}, [KUBELET]),
        ({"podLookup": "apiServer"}, [API_SERVER]),
        ({"nodeLabels": True}, [LABELS]),
        ({"podLookup": "socket", "nodeLabels": True}, [LABELS]),
        ({"podLookup": "kubelet", "nodeLabels": True}, [LABELS, KUBELET]),
    ],
)
def test_a_rung_brings_its_right_and_its_token(settings: dict[str, Any], allowed: list[Any]) -> None:
    """The rule is the one that the exporter itself asks for; without any there is no token either."""
    objects = access(**settings)

    assert rules(objects) == allowed
    assert pod_of(objects)["automountServiceAccountToken"] is bool(allowed)
    assert only("ServiceAccount", objects)["automountServiceAccountToken"] is False
    kinds = [document["kind"] for document in objects]
    assert kinds.count("ClusterRoleBinding") == kinds.count("ClusterRole") == len(allowed)
    for binding in (document for document in objects if document["kind"] == "ClusterRoleBinding"):
        account = pod_of(objects)["serviceAccountName"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
        assert {"kind": "ClusterRole", "name": binding["metadata"]["name"]}.items() <= binding[
            "roleRef"
        ].items()


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_scenario_allows_more_than_one_reading(name: str) -> None:
    """Never `nodes/proxy`, never a secret, never a write."""
    assert [rule for rule in rules(of(name)) if rule not in (LABELS, KUBELET, API_SERVER)] == []
    assert not {document["kind"] for document in of(name)} & {"Role", "RoleBinding", "Secret"}


def test_the_processes_of_the_host_are_a_rung() -> None:
    """Which nothing else needs."""
    assert pod_of(access())["hostPID"] is True
    assert "hostPID" not in pod_of(access(hostPID=False))


@pytest.mark.parametrize(
    ("settings", "folders"),
    [
        ({}, {"/var/lib/kubelet/pod-resources"}),
        ({"podResources": False}, set()),
        ({"podLookup": "socket"}, {"/var/lib/kubelet/pod-resources", str(source.SOCKET.parent)}),
    ],
)
def test_the_kubelets_folders_are_a_rung_each(settings: dict[str, Any], folders: set[str]) -> None:
    """Mounted to be read, and not made where the kubelet has none."""
    objects = access(**settings)
    kubelets = [volume for volume in pod_of(objects)["volumes"] if "/kubelet/" in str(volume)]
    mounts = [mount for mount in container_of(objects)["volumeMounts"] if "/kubelet/" in mount["mountPath"]]

    assert {volume["hostPath"]["path"] for volume in kubelets} == folders
    assert {volume["hostPath"]["type"] for volume in kubelets} <= {"Directory"}
    assert {mount["mountPath"] for mount in mounts} == folders
    assert all(mount["readOnly"] for mount in mounts)


def test_without_root_it_is_nobody() -> None:
    """A user who owns nothing; the ledger's folder must be there, since one that is made is root's."""
    objects = access(root=False, podResources=False)
    (ledger,) = (volume for volume in pod_of(objects)["volumes"] if volume["name"] == "ledger")

    assert pod_of(objects)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert ledger["hostPath"]["type"] == "Directory"


def test_an_account_of_somebody_else_is_used_as_it_is() -> None:
    """Neither made nor labeled."""
    objects = manifests(
        *values(
            serviceAccount={"create": False, "name": "metering"},
            access={"nodeLabels": True},
        )
    )

    assert "ServiceAccount" not in {document["kind"] for document in objects}
    assert pod_of(objects)["serviceAccountName"] == "metering"
    assert only("ClusterRoleBinding", objects)["subjects"][0]["name"] == "metering"
