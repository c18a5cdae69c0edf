"""Lists of pods that are hostile, endless, or of something else."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from exporter.sources.kubernetes import PodSource
from exporter.sources.kubernetes.source import BODY_BYTES_MAX, PODS_MAX
from tests.sources.cloud.metadata_server import MetadataServer, Reply
from tests.sources.kubernetes.api_server import NODE, Kubernetes
from tests.sources.kubernetes.test_pods import KUBELET_PATH, PODS, Clock, failure, source

BROKEN = PODS[10]  # asks for a path with a host in it


def listed(*pods: Any) -> bytes:
    return json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}).encode()


@pytest.fixture
def replying(cluster: Kubernetes) -> Callable[[bytes], PodSource]:
    """A source whose kubelet answers with a body."""
    clock = Clock()

    def make(body: bytes) -> PodSource:
        cluster.server.set_reply(KUBELET_PATH, body)
        return source(cluster, clock, "kubelet")

    return make


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Sign in</html>", "answers, but not with a list of pods: JSON is malformed"),
        (b"", "answers, but not with a list of pods: Input data was truncated"),
        (b'{"kind":"Status","status":"Failure"}', "answers, but not with a list of pods"),
        (
            b'{"kind":"PodList","items":[{"a":1},',
            "answers, but not with a list of pods: Input data was truncated",
        ),
        (
            b'{"kind":"PodList","items":[' + b'{"a":' * 100_000,
            "answers, but not with a list of pods: nests too deep",
        ),
    ],
)
def test_what_is_no_list_of_pods_is_no_answer(
    replying: Callable[[bytes], PodSource], body: bytes, words: str
) -> None:
    """Not "no pods"."""
    error = failure(replying(body))

    assert error.reason == "not_recognized"
    assert words in str(error)


def test_a_body_of_100_megabytes_is_not_read(cluster: Kubernetes) -> None:
    """At 32 MiB it is given up, although the list in it has ended long before."""
    body = listed(PODS[0]) + b" " * (1 << 20)
    cluster.server.replies[KUBELET_PATH] = Reply(body, times=100)
    error = failure(source(cluster, Clock(), "kubelet"))

    assert error.reason == "too_large"
    assert str(error).endswith(f": larger than {BODY_BYTES_MAX} bytes")
    assert cluster.server.sent < 100 << 20


def test_a_list_of_pods_without_end_is_given_up(cluster: Kubernetes) -> None:
    """Each of its pods is whole; none of them is told."""
    item = b"," + json.dumps(PODS[0]).encode()
    body = listed(PODS[0]).removesuffix(b"]}") + item * (BODY_BYTES_MAX // len(item))
    cluster.server.replies[KUBELET_PATH] = Reply(body)

    assert failure(source(cluster, Clock(), "kubelet")).reason == "too_large"


def test_more_pods_than_a_node_has_are_left_out(replying: Callable[[bytes], PodSource]) -> None:
    """A thousand are kept, the rest is counted."""
    pods = [
        {
            "metadata": {
                "name": f"pod-{number}",
                "namespace": "ml",
                "uid": f"00000000-0000-0000-0000-{number:012d}",
            },
            "spec": {"nodeName": NODE},
        }
        for number in range(PODS_MAX + 7)
    ]
    asking = replying(listed(*pods))

    assert len(asking.read().pods) == 1000
    assert asking.errors == (("too_many_pods", 7),)
    asking.read()
    assert asking.errors == ()  # what was told before is not counted again


def test_pods_of_other_nodes_are_left_out(replying: Callable[[bytes], PodSource]) -> None:
    """Whatever was asked: nothing of another node is read from this one."""
    elsewhere = {**PODS[0], "spec": {**PODS[0]["spec"], "nodeName": "gpu-2"}}
    asking = replying(listed(PODS[1], elsewhere, None, 7))

    assert [pod.name for pod in asking.read().pods] == ["embed-0"]
    assert asking.errors == (("pod", 3),)


def test_a_refused_annotation_is_counted_and_logged_once(
    cluster: Kubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    """With the pod named; again when it changes."""
    clock = Clock()
    cluster.server.set_reply(KUBELET_PATH, listed(BROKEN))
    asking = source(cluster, clock, "kubelet")
    counted = []
    for _ in range(3):
        asking.read()
        counted.append(asking.errors)
        clock.passes(21)
    worse = json.loads(json.dumps(BROKEN))
    worse["metadata"]["annotations"].update({"inference-cost/port": "0", "inference-cost/host": "10.0.0.1"})
    cluster.server.set_reply(KUBELET_PATH, listed(worse))
    asking.read()
    counted.append(asking.errors)

    assert counted == [
        (("annotation_path", 1),),
        (),
        (),
        (("annotation_port", 1), ("annotation_unknown", 1)),
    ]
    assert [(vars(record)["pod"], vars(record)["annotation"]) for record in caplog.records] == [
        ("ml/broken-6b7d9c8f4-lm2qz", "inference-cost/path"),
        ("ml/broken-6b7d9c8f4-lm2qz", "inference-cost/host"),
        ("ml/broken-6b7d9c8f4-lm2qz", "inference-cost/port"),
    ]


def test_a_redirect_is_not_followed(cluster: Kubernetes) -> None:
    """The token goes to nobody else."""
    elsewhere = MetadataServer()
    try:
        cluster.server.set_reply(KUBELET_PATH, "", status=307, Location=f"{elsewhere.address}/pods")
        error = failure(source(cluster, Clock(), "kubelet"))
    finally:
        elsewhere.close()

    assert error.reason == "redirect"
    assert elsewhere.requests == []


def test_a_kubelet_that_keeps_silent_is_given_up(cluster: Kubernetes) -> None:
    """In the time of one read."""
    cluster.server.hangs.add(KUBELET_PATH)
    assert failure(source(cluster, Clock(), "kubelet", timeout=0.5)).reason == "timeout"
