"""The pods of this node, asked of its kubelet or of the API server, over https."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.gather import read_source
from exporter.sources.kubernetes import Pods, PodSource
from exporter.units import Nanoseconds
from tests.sources.kubernetes.api_server import IDENTITY, NODE, Kubernetes

RECORDINGS = Path(__file__).parent / "recordings"
KUBELET_PATH = "/pods"
API_PATH = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}&resourceVersion=0"
PODS: list[dict[str, Any]] = json.loads((RECORDINGS / "kubelet-pods.json").read_text())["items"]


class Clock(SystemClock):
    """The host's, and as much later as a test says."""

    later: Nanoseconds = 0

    def elapsed(self) -> Nanoseconds:
        return super().elapsed() + self.later

    def passes(self, seconds: float) -> None:
        self.later += int(seconds * 10**9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def both(cluster: Kubernetes) -> Kubernetes:
    """A kubelet and an API server at one address, each with its recording."""
    for path, name in ((KUBELET_PATH, "kubelet-pods.json"), (API_PATH, "api-pods.json")):
        cluster.server.set_reply(path, (RECORDINGS / name).read_bytes(), Content_Type="application/json")
    return cluster


def source(cluster: Kubernetes, clock: Clock, choice: Any = "auto", **options: Any) -> PodSource:
    account = replace(cluster.account, node_ip=options.pop("node_ip", "127.0.0.1"))
    port = int(cluster.server.address.rpartition(":")[2])
    return PodSource(clock, account, choice, **{"timeout": 30.0, "kubelet_port": port, **options})


def failure(asking: PodSource) -> ReadFailedError:
    with pytest.raises(ReadFailedError) as caught:
        asking.read()
    return caught.value


def test_the_kubelet_tells_all_pods_of_the_node(both: Kubernetes, clock: Clock) -> None:
    """With one GET and this pod's token."""
    asking = source(both, clock)
    reading = asking.read()

    assert (reading.source, len(reading.pods), asking.errors) == ("kubelet", 14, (("annotation_path", 1),))
    (request,) = both.server.requests
    assert (request.method, request.path) == ("GET", KUBELET_PATH)
    assert request.headers["authorization"] == "Bearer first"
    assert request.headers["accept"] == "application/json"


def test_the_api_server_tells_them_where_it_is_chosen(both: Kubernetes, clock: Clock) -> None:
    """Those of this node alone, from its memory."""
    reading = source(both, clock, "api_server").read()

    assert (reading.source, len(reading.pods)) == ("api_server", 3)
    assert both.server.paths == [API_PATH]


def test_nobody_is_asked_without_an_account_or_switched_off(both: Kubernetes, clock: Clock) -> None:
    """No pods are known then, which is no failure."""
    assert PodSource(clock, None).read() == Pods()
    assert source(both, clock, "off").read() == Pods()
    assert both.server.requests == []


def test_an_answer_is_kept_for_20_seconds(both: Kubernetes, clock: Clock) -> None:
    """Ticks are more frequent than pods come and go."""
    asking = source(both, clock)
    first = asking.read()
    clock.passes(19)
    assert asking.read() is first
    clock.passes(2)
    assert asking.read() is not first
    assert both.server.paths == [KUBELET_PATH] * 2


def test_a_refusal_is_kept_as_well(both: Kubernetes, clock: Clock) -> None:
    """Who may not need not ask at each tick; a right that is given is found out."""
    both.refused[KUBELET_PATH] = 403
    asking = source(both, clock, "kubelet")
    assert (failure(asking).reason, failure(asking).reason) == ("forbidden", "forbidden")
    assert len(both.server.requests) == 1

    both.refused.clear()
    clock.passes(21)
    assert asking.read().source == "kubelet"


def test_an_answer_that_is_renewed_is_of_its_request(both: Kubernetes, clock: Clock) -> None:
    """A refusal is no answer: whoever may not is not asked more often for it."""
    asking = source(both, clock, "kubelet")
    first = asking.read()
    clock.passes(7)
    assert asking.renew()
    assert (asking.read().at or 0) - (first.at or 0) >= 7 * 10**9

    both.refused[KUBELET_PATH] = 403
    assert asking.renew()
    for _ in range(2):
        assert failure(asking).reason == "forbidden"
        assert not asking.renew()
    assert both.server.paths == [KUBELET_PATH] * 3


def test_a_token_that_was_renewed_is_sent(both: Kubernetes, clock: Clock) -> None:
    """To the kubelet as to the API server."""
    asking = source(both, clock)
    asking.read()
    both.mounts("second")
    both.tokens = {"second"}
    clock.passes(21)
    asking.read()

    assert [request.headers["authorization"] for request in both.server.requests] == [
        "Bearer first",
        "Bearer second",
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_where_the_kubelet_refuses_the_api_server_is_asked(
    both: Kubernetes, clock: Clock, status: int
) -> None:
    """And from then on first, until it fails itself."""
    both.refused[KUBELET_PATH] = status
    asking = source(both, clock)
    assert asking.read().source == "api_server"
    clock.passes(21)
    assert asking.read().source == "api_server"
    assert both.server.paths == [KUBELET_PATH, API_PATH, API_PATH]

    both.refused = {API_PATH: 403}
    clock.passes(21)
    assert asking.read().source == "kubelet"


def test_a_kubelet_that_keeps_silent_leaves_time_for_the_api_server(both: Kubernetes, clock: Clock) -> None:
    """Each has half of it."""
    both.server.hangs.add(KUBELET_PATH)

    assert source(both, clock, timeout=2.0).read().source == "api_server"


def test_where_both_refuse_the_rights_of_each_are_told(both: Kubernetes, clock: Clock) -> None:
    """Either would do; the kubelet's reason counts."""
    both.refused = {KUBELET_PATH: 403, API_PATH: 403}
    error = failure(source(both, clock))
    port = both.server.address.rpartition(":")[2]

    assert error.reason == "forbidden"
    allow = "answers with HTTP status 403; allow it by a ClusterRole with the rule"
    kubelet, api_server = str(error).split("; pods of ")
    expected = (
        f'at https://127.0.0.1:{port}: {allow} {{apiGroups: [""], resources: [nodes/pods], verbs: [get]}}'
    )
    assert kubelet == f"kubelet {expected}"
    expected = f'at {both.server.address}: {allow} {{apiGroups: [""], resources: [pods], verbs: [list]}}'
    assert api_server == f"{NODE} {expected}"


def test_where_one_cannot_be_reached_and_one_refuses_each_has_its_remedy(
    both: Kubernetes, clock: Clock
) -> None:
    """No kubelet listens at that port, and the account may not list pods: either way out would do."""
    both.refused = {API_PATH: 403}
    error = failure(source(both, clock, kubelet_port=1))
    kubelet, api_server = str(error).split("; pods of ")

    assert error.reason == "connection"
    assert kubelet.startswith("kubelet at https://127.0.0.1:1: ")
    assert kubelet.endswith(
        "refused; no network policy and no firewall may keep this pod from its node's kubelet"
    )
    assert api_server == (
        f"{NODE} at {both.server.address}: answers with HTTP status 403; allow it by a ClusterRole with the "
        'rule {apiGroups: [""], resources: [pods], verbs: [list]}'
    )


@pytest.mark.parametrize(
    ("choice", "path", "status", "remedy"),
    [
        (
            "kubelet",
            KUBELET_PATH,
            401,
            "let the kubelet take tokens (`authentication: {webhook: {enabled: true}}`)",
        ),
        ("api_server", API_PATH, 401, "the token of the service account is not, or no longer, valid"),
    ],
)
def test_a_token_that_is_not_taken_has_its_remedy(
    both: Kubernetes, clock: Clock, choice: str, path: str, status: int, remedy: str
) -> None:
    """A kubelet may take none at all; an API server always takes those that are valid."""
    both.refused = {path: status}

    assert str(failure(source(both, clock, choice))).endswith(
        f": answers with HTTP status {status}; {remedy}"
    )


def test_a_silent_one_is_named_with_its_remedy(both: Kubernetes, clock: Clock) -> None:
    """A policy that drops what is sent looks so."""
    both.server.hangs.add(API_PATH)
    error = failure(source(both, clock, "api_server", timeout=0.5))

    assert error.reason == "timeout"
    assert str(error).startswith(f"pods of {NODE} at {both.server.address}: ")
    assert str(error).endswith("; no network policy and no firewall may keep this pod from the API server")


def test_a_certificate_that_does_not_hold_has_its_remedy(both: Kubernetes, clock: Clock) -> None:
    """Of a kubelet, whose CA the configuration names."""
    error = failure(source(both, clock, "kubelet", kubelet_ca_file=IDENTITY / "other-ca.pem"))

    assert error.reason == "tls"
    assert str(error).endswith(
        "; `discovery: {kubelet_ca_file: ...}` must name the CA of the kubelet's certificate"
    )


@pytest.mark.parametrize(
    ("choice", "kubelet", "api_server", "expected"),
    [
        ("auto", 403, 403, False),
        ("auto", 401, 403, False),  # a kubelet that takes no tokens
        ("auto", 401, 401, True),  # a token that is not, or no longer, valid
        ("auto", 403, 500, True),  # who may be down may allow it
        ("auto", 500, 403, True),
        ("kubelet", 403, 403, True),
        ("api_server", 403, 403, True),
    ],
)
def test_a_token_for_something_else_is_no_failure(
    both: Kubernetes,
    clock: Clock,
    choice: str,
    kubelet: int,
    api_server: int,
    expected: bool,  # noqa: FBT001
) -> None:
    """That for the labels of the node, where nobody said that pods are to be looked up."""
    both.refused = {KUBELET_PATH: kubelet, API_PATH: api_server}
    health = read_source(source(both, clock, choice), clock).health

    assert (health.up, health.expected) == (False, expected)


def test_a_right_that_is_taken_away_is_a_failure(both: Kubernetes, clock: Clock) -> None:
    """Whoever told before was meant to. One that is given is found out within 20 seconds."""
    both.refused = {KUBELET_PATH: 403, API_PATH: 403}
    asking = source(both, clock)
    assert not read_source(asking, clock).health.expected
    both.refused = {}
    clock.passes(21)
    assert read_source(asking, clock).health.up
    both.refused = {KUBELET_PATH: 403, API_PATH: 403}
    clock.passes(21)
    health = read_source(asking, clock).health

    assert (health.reason, health.expected) == ("forbidden", True)


@pytest.mark.parametrize(
    ("node_ip", "words"),
    [("", "NODE_IP is not set"), ("kubelet.example.com", "NODE_IP is not set"), ("10.0.0.1/pods", "NODE_IP")],
)
def test_the_kubelet_is_asked_at_an_address_only(
    both: Kubernetes, clock: Clock, node_ip: str, words: str
) -> None:
    """A name may mean any host."""
    error = failure(source(both, clock, "kubelet", node_ip=node_ip))

    assert error.reason == "node_ip"
    assert words in str(error)
    assert both.server.requests == []


def test_a_node_that_nobody_named_is_not_asked_for(both: Kubernetes, clock: Clock) -> None:
    """Whose pods they are could not be told."""
    account = replace(both.account, node="")
    assert failure(PodSource(clock, account, "api_server")).reason == "node_name"
    assert both.server.requests == []


@pytest.mark.parametrize("certificate", ["misnamed.pem", "expired.pem"])
def test_a_kubelet_may_have_signed_its_certificate_itself(
    certified_cluster: Callable[..., Kubernetes], clock: Clock, certificate: str
) -> None:
    """As most have; with a CA it must hold, and no token is sent where it does not."""
    cluster = certified_cluster(certificate)
    cluster.server.set_reply(KUBELET_PATH, (RECORDINGS / "kubelet-pods.json").read_bytes())
    checked = source(cluster, clock, "kubelet", kubelet_ca_file=IDENTITY / "ca.pem")
    assert failure(checked).reason == "tls"
    assert cluster.server.requests == []

    assert len(source(cluster, clock, "kubelet").read().pods) == 14


def test_a_kubelet_is_checked_by_its_ca(both: Kubernetes, clock: Clock) -> None:
    """Where the cluster signs the certificates of kubelets."""
    good = source(both, clock, "kubelet", kubelet_ca_file=IDENTITY / "ca.pem")
    assert good.read().source == "kubelet"
    other = source(both, clock, "kubelet", kubelet_ca_file=IDENTITY / "other-ca.pem")
    assert failure(other).reason == "tls"


@pytest.mark.parametrize("certificate", ["misnamed.pem", "expired.pem"])
def test_the_api_server_is_always_checked(
    certified_cluster: Callable[..., Kubernetes], clock: Clock, certificate: str
) -> None:
    """What is sent to it leaves the node."""
    cluster = certified_cluster(certificate)
    assert failure(source(cluster, clock, "api_server")).reason == "tls"
    assert cluster.server.requests == []
