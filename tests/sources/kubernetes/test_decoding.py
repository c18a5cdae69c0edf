"""Pods whose JSON is hostile, half there, or of another node."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from exporter.sources.kubernetes import Pod
from exporter.sources.kubernetes.pod_object import from_json
from exporter.sources.kubernetes.pods import pod_of
from tests.sources.kubernetes.api_server import NODE

RECORDING = Path(__file__).parent / "recordings" / "kubelet-pods.json"
CHAT: dict[str, Any] = json.loads(RECORDING.read_text())["items"][0]


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The recorded pod with one value changed."""
    document = copy.deepcopy(CHAT)
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return document


def read(document: object) -> Pod | None:
    (pod_object,) = from_json(json.dumps({"kind": "PodList", "items": [document]}).encode())
    return None if pod_object is None else pod_of(pod_object, NODE)


def decoded(document: object) -> Pod:
    pod = read(document)
    assert pod is not None
    return pod


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="list"),
        pytest.param("pod", id="text"),
        pytest.param({}, id="empty"),
        pytest.param(changed("metadata", to=7), id="metadata-number"),
        pytest.param(changed("metadata", "name", to=""), id="no-name"),
        pytest.param(changed("metadata", "name", to="a/b"), id="name-with-a-slash"),
        pytest.param(changed("metadata", "name", to='x"} 1\n'), id="name-that-forges"),
        pytest.param(changed("metadata", "name", to="x" * 254), id="over-long-name"),
        pytest.param(changed("metadata", "namespace", to=None), id="no-namespace"),
        pytest.param(changed("metadata", "uid", to="../../etc"), id="uid-that-is-a-path"),
        pytest.param(changed("metadata", "uid", to=""), id="no-uid"),
        pytest.param(changed("spec", "nodeName", to="gpu-2"), id="another-node"),
        pytest.param(changed("spec", "nodeName", to=None), id="no-node-yet"),
        pytest.param(changed("spec", to=[]), id="spec-list"),
    ],
)
def test_what_is_no_pod_of_this_node_is_none(document: object) -> None:
    """Whoever told it."""
    assert read(document) is None


@pytest.mark.parametrize(
    "path",
    [
        ("status", "podIPs"),
        ("status", "containerStatuses"),
        ("spec", "containers"),
        ("spec", "initContainers"),
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("metadata", "ownerReferences"),
        ("metadata", "creationTimestamp"),
    ],
)
def test_null_is_as_absent(path: tuple[str, ...]) -> None:
    """Go writes it for a list or a time that is not set."""
    pod = decoded(changed(*path, to=None))
    absent = copy.deepcopy(CHAT)
    del absent[path[0]][path[1]]

    assert pod == decoded(absent)


@pytest.mark.parametrize(
    "path",
    [
        ("status",),
        ("status", "phase"),
        ("status", "podIPs"),
        ("status", "containerStatuses"),
        ("spec", "containers"),
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("metadata", "ownerReferences"),
        ("metadata", "creationTimestamp"),
    ],
)
@pytest.mark.parametrize("value", [7, [7], {"phase": 7}, [None], [{"name": 7}, {"ip": 7}]], ids=repr)
def test_a_field_of_another_type_is_no_pod(path: tuple[str, ...], value: Any) -> None:
    """No Kubernetes writes one; the other pods of the node are read."""
    document = {"kind": "PodList", "items": [changed(*path, to=value), CHAT]}
    wrong, right = from_json(json.dumps(document).encode())
    assert wrong is None
    assert right is not None


def test_a_pod_in_a_phase_that_is_none_lives() -> None:
    """Only the two known ends of a pod are ends."""
    pod = decoded(changed("status", "phase", to="Completed"))
    assert pod.live


@pytest.mark.parametrize(
    ("address", "addresses"),
    [
        ("10.0.37.11", ("10.0.37.11",)),
        ("fd00:37:0:0::b", ("fd00:37::b",)),
        ("127.0.0.1", ()),
        ("::1", ()),
        ("::ffff:127.0.0.1", ()),
        ("169.254.169.254", ()),
        ("fe80::1%eth0", ()),
        ("224.0.0.1", ()),
        ("0.0.0.0", ()),  # noqa: S104 - an address that a pod may claim
        ("metadata.google.internal", ()),
        ("10.0.37.11:80", ()),
        ("", ()),
    ],
)
def test_addresses_are_those_of_a_pod(address: str, addresses: tuple[str, ...]) -> None:
    """Never this pod's own loopback, nor where metadata services listen."""
    status = {**CHAT["status"], "podIP": address, "podIPs": [{"ip": address}]}
    assert decoded({**CHAT, "status": status}).ips == addresses


@pytest.mark.parametrize(
    ("container_id", "expected"),
    [
        ("containerd://" + "a" * 64, "a" * 64),
        ("cri-o://" + "0" * 64, "0" * 64),
        ("docker://" + "9" * 64, "9" * 64),
        ("a" * 64, ""),
        ("containerd://" + "a" * 63, ""),
        ("containerd://" + "A" * 64, ""),
        ("containerd://" + "a" * 64 + "/..", ""),
        ("", ""),
    ],
)
def test_the_id_of_a_container_is_that_of_its_cgroup(container_id: str, expected: str) -> None:
    """Without the runtime's name; what is none is none."""
    path = ("status", "containerStatuses", 0, "containerID")
    assert decoded(changed(*path, to=container_id)).containers[0].id == expected


def test_labels_that_kubernetes_would_not_take_are_left_out() -> None:
    """The others stay."""
    labels = {"app": "chat", "x": "a\nb", "a/b/c": "d", "z": "x" * 64}
    assert decoded(changed("metadata", "labels", to=labels)).labels == {"app": "chat"}


def test_what_is_kept_of_a_pod_is_bounded() -> None:
    """64 labels, 32 annotations of 1,024 characters, 64 containers of 128 words, 4 addresses."""
    document = copy.deepcopy(CHAT)
    document["metadata"]["labels"] = {f"l{number}": "x" for number in range(5000)}
    document["metadata"]["annotations"] = {f"inference-cost/a{number}": "x" * 9000 for number in range(100)}
    document["spec"]["containers"] = [
        {"name": f"c{number}", "command": [str(word) for word in range(900)]} for number in range(500)
    ]
    document["spec"]["initContainers"] = []
    document["status"]["podIPs"] = [{"ip": f"10.1.{number}.1"} for number in range(200)]
    pod = decoded(document)

    assert (len(pod.labels), len(pod.annotations), len(pod.containers), len(pod.ips)) == (64, 32, 64, 4)
    assert {len(text) for text in pod.annotations.values()} == {1024}
    assert {len(container.argv) for container in pod.containers} == {128}


def test_only_a_controller_owns_a_pod() -> None:
    """Others may be named as owners so that the pod goes with them."""
    owner = {"kind": "ConfigMap", "name": "flags", "controller": False}
    assert decoded(changed("metadata", "ownerReferences", to=[owner])).workload.kind == "Pod"
    owners = [owner, {"kind": "PodClique", "name": "decode", "controller": True}]
    assert decoded(changed("metadata", "ownerReferences", to=owners)).workload == ("PodClique", "decode")


@pytest.mark.parametrize("kind", ["", "Replica Set", "x\n", "Démon"])
def test_an_owner_that_is_none_is_not_told(kind: Any) -> None:
    """The pod stands for itself."""
    owner = {"kind": kind, "name": "chat", "controller": True}
    pod = decoded(changed("metadata", "ownerReferences", to=[owner]))
    assert pod.workload == ("Pod", "chat-7c9d8f6b5d-x2k4p")


def test_a_deleted_pod_without_a_running_container_is_over() -> None:
    """Its phase follows later; one that still runs holds what it has."""
    document = changed("metadata", "deletionTimestamp", to="2026-11-25T09:00:00Z")
    assert decoded(document).live
    document["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 0}}
    assert not decoded(document).live


OTHERS = "5a1c3e84-6f5b-4c53-9a70-3f5a0e7e2c11"
HASH = "9f0c1a2b3d4e5f60718293a4b5c6d7e8"
MIRRORED = {"kind": "Node", "name": NODE, "controller": True}


@pytest.mark.parametrize(
    ("manifest", "owner"),
    [
        pytest.param(OTHERS, MIRRORED, id="uid-of-another-pod"),
        pytest.param(HASH, {"kind": "ReplicaSet", "name": "x", "controller": True}, id="no-mirror"),
        pytest.param(HASH, {**MIRRORED, "name": "gpu-2"}, id="mirror-of-another-node"),
        pytest.param(HASH, {**MIRRORED, "controller": False}, id="no-controller"),
        pytest.param("../" + HASH[3:], MIRRORED, id="path"),
    ],
)
def test_an_annotation_does_not_make_a_pod_another(manifest: str, owner: dict[str, Any]) -> None:
    """Whoever writes one would have his processes taken for another's, or another's for his."""
    document = changed("metadata", "annotations", to={"kubernetes.io/config.hash": manifest})
    document["metadata"]["ownerReferences"] = [owner]
    assert decoded(document).uid == CHAT["metadata"]["uid"]


def test_a_mirror_has_the_uid_of_its_static_pod() -> None:
    """Which is a hash, and the name of its cgroup."""
    document = changed("metadata", "annotations", to={"kubernetes.io/config.hash": HASH})
    document["metadata"]["ownerReferences"] = [MIRRORED]
    assert decoded(document).uid == HASH


def test_what_a_container_is_started_with() -> None:
    """Command and arguments together; arguments alone are of a program that only the image names."""
    containers = [
        {"name": "vllm", "command": ["vllm", "serve", "m" * 600], "args": ["--port", "--port=8000"]},
        {"name": "image", "args": ["--model", "m"]},
    ]
    vllm, image, *_ = decoded(changed("spec", "containers", to=containers)).containers

    assert vllm.argv == ("vllm", "serve", "m" * 512, "--port", "--port=8000")
    assert image.argv == ()
