"""The pods of this node, asked of the kubelet's socket: before others, instead of them, without account."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from exporter.sources.kubernetes import Pods, PodSource
from exporter.sources.kubernetes.source import PODS_MAX, SOCKET
from tests.sources.kubelet.kubelet_server import Kubelet
from tests.sources.kubernetes.api_server import NODE, Kubernetes
from tests.sources.kubernetes.test_pod_object import part
from tests.sources.kubernetes.test_pods import API_PATH, KUBELET_PATH, RECORDINGS, Clock, failure, source

REPLY = (RECORDINGS / "kubelet-pods.binpb").read_bytes()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    """One that serves its pods; it is not started."""
    made = Kubelet(tmp_path / "pods-api.sock")
    made.reply = REPLY
    yield made
    made.stop()


@pytest.fixture
def both(cluster: Kubernetes) -> Kubernetes:
    """A kubelet and an API server, asked by https."""
    for path, name in ((KUBELET_PATH, "kubelet-pods.json"), (API_PATH, "api-pods.json")):
        cluster.server.set_reply(path, (RECORDINGS / name).read_bytes(), Content_Type="application/json")
    return cluster


def alone(kubelet: Kubelet, clock: Clock, choice: Any = "auto") -> PodSource:
    """A source without a service account."""
    return PodSource(clock, None, choice, timeout=30.0, socket=kubelet.path)


def test_the_socket_tells_what_the_kubelet_tells_by_https(
    both: Kubernetes, kubelet: Kubelet, clock: Clock
) -> None:
    """The same pods, the same refusals of annotations; nobody is asked by https any more."""
    by_https = source(both, clock, "kubelet")
    expected, errors = by_https.read(), by_https.errors
    kubelet.start()
    asking = source(both, clock, socket=kubelet.path)
    reading = asking.read()

    assert (reading.source, reading.pods) == ("pods_api", expected.pods)
    assert asking.errors == errors == (("annotation_path", 1),)
    assert both.server.paths == [KUBELET_PATH]


def test_the_socket_needs_no_account(kubelet: Kubelet, clock: Clock) -> None:
    """A pod without a token, and a daemon on the node itself; each pod says which node it is on."""
    kubelet.start()
    asking = alone(kubelet, clock)
    reading = asking.read()

    assert (asking.asks, reading.source, len(reading.pods)) == (True, "pods_api", 14)
    assert [pod.workload.name for pod in reading.pods if pod.name == f"gpu-proxy-{NODE}"] == ["gpu-proxy"]


def test_without_account_and_socket_nobody_is_asked(kubelet: Kubelet, clock: Clock) -> None:
    """Until there is a socket: a kubelet is upgraded below a daemon that runs on."""
    asking = alone(kubelet, clock)
    assert (asking.asks, asking.read()) == (False, Pods())

    kubelet.start()
    assert (asking.asks, asking.read().source) == (True, "pods_api")


@pytest.mark.parametrize("choice", ["kubelet", "api_server", "off"])
def test_the_socket_is_not_asked_where_others_are_chosen(
    both: Kubernetes, kubelet: Kubelet, clock: Clock, choice: str
) -> None:
    """Whoever chose has a reason."""
    kubelet.start()
    source(both, clock, choice, socket=kubelet.path).read()

    assert alone(kubelet, clock, choice).read() == Pods()
    assert kubelet.methods == []


def test_the_socket_alone_is_asked_where_it_is_chosen(
    both: Kubernetes, kubelet: Kubelet, clock: Clock
) -> None:
    """Also where there is none, which is told."""
    asking = source(both, clock, "pods_api", socket=kubelet.path)
    error = failure(asking)

    assert (error.reason, str(error)) == ("absent", f"{kubelet.path}: No such file or directory")
    assert asking.asks
    assert both.server.requests == []
    kubelet.start()
    clock.passes(21)
    assert asking.read().source == "pods_api"


def test_an_answer_is_kept_for_20_seconds(kubelet: Kubelet, clock: Clock) -> None:
    """As by https."""
    kubelet.start()
    asking = alone(kubelet, clock)
    first = asking.read()
    clock.passes(19)
    assert asking.read() is first
    clock.passes(2)
    assert asking.read() is not first
    assert len(kubelet.requests) == 2


def test_a_kubelet_that_starts_is_passed_by_and_asked_again(
    both: Kubernetes, kubelet: Kubelet, clock: Clock
) -> None:
    """Its https answers meanwhile; without an account there is no answer for so long."""
    kubelet.start()
    kubelet.status = grpc.StatusCode.FAILED_PRECONDITION
    asking = source(both, clock, socket=kubelet.path)
    assert asking.read().source == "kubelet"
    error = failure(alone(kubelet, clock))
    assert (error.reason, str(error)) == ("starting", f"{kubelet.path}: gRPC status 9: said 100% no")

    kubelet.status = None
    clock.passes(21)
    assert asking.read().source == "pods_api"


def test_a_socket_that_is_gone_for_a_moment_is_asked_first_again(
    both: Kubernetes, kubelet: Kubelet, clock: Clock
) -> None:
    """A kubelet that stops takes it away, and makes another one when it starts."""
    kubelet.start()
    asking = source(both, clock, socket=kubelet.path)
    asking.read()
    kubelet.stop()
    clock.passes(21)
    assert asking.read().source == "kubelet"
    kubelet.start()
    clock.passes(21)
    assert asking.read().source == "pods_api"


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INTERNAL]
)
def test_a_socket_that_does_not_tell_is_asked_last(
    both: Kubernetes, kubelet: Kubelet, clock: Clock, status: grpc.StatusCode
) -> None:
    """Whoever answered is asked first from then on, until it fails itself."""
    kubelet.start()
    kubelet.status = status
    asking = source(both, clock, socket=kubelet.path)
    assert asking.read().source == "kubelet"
    clock.passes(21)
    assert asking.read().source == "kubelet"
    assert len(kubelet.requests) == 1

    kubelet.status = None
    both.refused = {KUBELET_PATH: 403, API_PATH: 403}
    clock.passes(21)
    assert asking.read().source == "pods_api"


@pytest.mark.parametrize("broken", [b"<html></html>", REPLY[:-1], bytes(16 * 1024 * 1024 + 1)])
def test_an_answer_that_is_none_leaves_the_others(
    both: Kubernetes, kubelet: Kubelet, clock: Clock, broken: bytes
) -> None:
    """Nothing of it is kept, nor counted."""
    kubelet.start()
    kubelet.reply = broken
    asking = source(both, clock, socket=kubelet.path)
    reading = asking.read()

    assert (reading.source, len(reading.pods), asking.errors) == ("kubelet", 14, (("annotation_path", 1),))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "starting"),
        (grpc.StatusCode.UNIMPLEMENTED, "forbidden"),
        (grpc.StatusCode.PERMISSION_DENIED, "forbidden"),
    ],
)
def test_where_nobody_tells_the_reason_is_of_who_might(
    both: Kubernetes, kubelet: Kubelet, clock: Clock, status: grpc.StatusCode, reason: str
) -> None:
    """A kubelet that starts will tell; a socket that is closed is as none. The messages are of all."""
    kubelet.start()
    kubelet.status = status
    both.refused = {KUBELET_PATH: 403, API_PATH: 403}
    error = failure(source(both, clock, socket=kubelet.path))

    assert error.reason == reason
    begins = f"{kubelet.path}: gRPC status {status.value[0]}: said 100% no; kubelet at https://127.0.0.1:"
    assert str(error).startswith(begins)
    assert f"; pods of {NODE} at {both.server.address}: " in str(error)


def test_pods_of_other_nodes_are_left_out(both: Kubernetes, kubelet: Kubelet, clock: Clock) -> None:
    """Where the node is known."""
    kubelet.start()
    elsewhere = PodSource(clock, replace(both.account, node="gpu-2"), "pods_api", socket=kubelet.path)

    assert elsewhere.read().pods == ()
    assert elsewhere.errors == (("pod", 14),)


def test_more_pods_than_a_node_has_are_left_out(kubelet: Kubelet, clock: Clock) -> None:
    """A thousand are kept, the rest is counted; what is none is, too."""
    pods = [
        part(
            1,
            part(1, part(1, f"pod-{number}"), part(3, "ml"), part(5, f"{number:032x}")),
            part(2, part(10, NODE)),
        )
        for number in range(PODS_MAX + 7)
    ]
    kubelet.reply = b"".join(pods) + part(1)
    kubelet.start()
    asking = alone(kubelet, clock)

    assert len(asking.read().pods) == 1000
    assert asking.errors == (("pod", 1), ("too_many_pods", 7))


@pytest.mark.parametrize(
    ("reply", "reason", "message"),
    [
        (b"<html>Sign in</html>", "malformed", "wire type 4, at byte 1"),
        (REPLY[:-1], "malformed", "a field that ends after its message, at byte 23244"),
        (bytes(16 * 1024 * 1024 + 1), "too_large", "more than 16777216 bytes"),
    ],
)
def test_what_is_no_list_of_pods_is_no_answer(
    kubelet: Kubelet, clock: Clock, reply: bytes, reason: str, message: str
) -> None:
    """Not "no pods", nor those that came before it broke."""
    kubelet.reply = reply
    kubelet.start()
    error = failure(alone(kubelet, clock))

    assert (error.reason, str(error)) == (reason, f"{kubelet.path}: {message}")
    assert (kubelet.methods, kubelet.requests) == (["/v1alpha1.Pods/ListPods"], [b""])


def test_the_socket_is_looked_for_where_kubernetes_says() -> None:
    """Its documentation has one path, for every release that serves it."""
    assert str(SOCKET) == "/var/lib/kubelet/pods-api/pods-api.sock"
