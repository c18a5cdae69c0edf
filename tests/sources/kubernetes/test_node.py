"""The labels of this pod's node, asked of the API server with what a pod is given."""

from collections.abc import Callable

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.kubernetes import NodeReading, NodeSource
from tests.sources.cloud.metadata_server import MetadataServer
from tests.sources.kubernetes.api_server import EKS, NODE_PATH, PARTIAL, Kubernetes, metadata

FailureOf = Callable[[NodeSource], ReadFailedError]


def source(cluster: Kubernetes, timeout: float = 30.0) -> NodeSource:
    return NodeSource(SystemClock(), cluster.account, timeout=timeout)


def test_the_labels_are_told(cluster: Kubernetes) -> None:
    """All of them, sorted; an empty value is one."""
    labels = source(cluster).read().labels

    assert labels == tuple(sorted(EKS.items()))
    assert ("node-role.kubernetes.io/gpu", "") in (labels or ())


def test_one_request_asks_for_the_metadata_alone(cluster: Kubernetes) -> None:
    """A GET of this node, with the token, and of it only what labels stand in."""
    source(cluster).read()
    (request,) = cluster.server.requests

    assert (request.method, request.path) == ("GET", NODE_PATH)
    assert request.headers["authorization"] == "Bearer first"
    assert request.headers["accept"] == f"{PARTIAL},application/json"


def test_a_whole_node_is_understood_too(cluster: Kubernetes) -> None:
    """What else a server answers with is not looked at."""
    whole = {**metadata(), "kind": "Node", "apiVersion": "v1", "status": {"images": [{"names": ["a"]}] * 50}}
    cluster.set_reply(NODE_PATH, whole)

    assert source(cluster).read().labels == tuple(sorted(EKS.items()))


def test_a_node_may_have_no_labels(cluster: Kubernetes) -> None:
    """That is known then, which is not the same as a failure."""
    bare = metadata()
    del bare["metadata"]["labels"]
    cluster.set_reply(NODE_PATH, bare)

    assert source(cluster).read() == NodeReading(())


def test_nobody_is_asked_without_an_account() -> None:
    """Outside a cluster it is known that there are no labels."""
    alone = NodeSource(SystemClock(), None)

    assert not alone.asks
    assert NodeReading(()) == alone.fallback == alone.read()


def test_what_is_not_told_is_not_none(cluster: Kubernetes) -> None:
    """In a cluster the labels are unknown until they were read."""
    assert source(cluster).asks
    assert source(cluster).fallback == NodeReading(None)


def test_a_token_that_was_renewed_is_sent(cluster: Kubernetes) -> None:
    """The kubelet renews it each hour; the one of the start is refused then, and read no more."""
    asking = source(cluster)
    asking.read()
    cluster.mounts("second")
    cluster.tokens = {"second"}
    asking.read()

    sent = [request.headers["authorization"] for request in cluster.server.requests]
    assert sent == ["Bearer first", "Bearer second"]


def test_an_expired_token_is_told_by_its_kind(cluster: Kubernetes, failure: FailureOf) -> None:
    """Never by what it holds; once it is renewed the labels are read."""
    cluster.tokens = {"second"}
    error = failure(source(cluster))
    assert error.reason == "unauthorized"
    assert "first" not in str(error)
    expected = (
        f"node ip-10-0-1-23.ec2.internal at {cluster.server.address}: answers with HTTP status 401; "
        "the token of the service account is not, or no longer, valid"
    )
    assert str(error) == expected

    cluster.mounts("second")
    assert source(cluster).read().labels


def test_a_token_that_is_gone_is_told_by_its_path(cluster: Kubernetes, failure: FailureOf) -> None:
    """And nothing is asked without it."""
    (cluster.mount / "token").unlink()
    error = failure(source(cluster))

    assert error.reason == "token_file"
    assert str(error) == f"{cluster.mount / 'token'}: No such file or directory"
    assert cluster.server.requests == []


def test_who_may_not_is_told_how_to_be_allowed(cluster: Kubernetes, failure: FailureOf) -> None:
    """The rule itself, since a role of one's own may be elsewhere; or how to ask no more."""
    cluster.refused[NODE_PATH] = 403
    error = failure(source(cluster))

    assert error.reason == "forbidden"
    expected = (
        f"node ip-10-0-1-23.ec2.internal at {cluster.server.address}: answers with HTTP status 403; allow it "
        'by a ClusterRole with the rule {apiGroups: [""], resources: [nodes], verbs: [get]}, as '
        "deploy/kubernetes/node-labels.yaml does, or set `discovery: {kubernetes: off}`"
    )
    assert str(error) == expected


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (404, "not_found", "answers with HTTP status 404; set NODE_NAME by the fieldRef spec.nodeName"),
        (429, "http_status", "answers with HTTP status 429"),
        (500, "http_status", "answers with HTTP status 500"),
        (503, "http_status", "answers with HTTP status 503"),
    ],
)
def test_another_status_is_told(
    cluster: Kubernetes, failure: FailureOf, status: int, reason: str, words: str
) -> None:
    """An unknown node is most likely a name that somebody wrote."""
    cluster.refused[NODE_PATH] = status
    error = failure(source(cluster))

    assert error.reason == reason
    assert str(error).endswith(f": {words}")


@pytest.mark.parametrize(
    ("node", "words"),
    [
        pytest.param("", "NODE_NAME is not set", id="unset"),
        pytest.param("../../api/v1/secrets", "NODE_NAME is no name of a node", id="path"),
        pytest.param("gpu-1?watch=1", "NODE_NAME is no name of a node", id="query"),
        pytest.param("GPU-1", "NODE_NAME is no name of a node", id="upper-case"),
        pytest.param("a." * 130, "NODE_NAME is no name of a node", id="over-long"),
    ],
)
def test_a_name_that_no_node_has_is_not_asked_for(
    cluster: Kubernetes, failure: FailureOf, node: str, words: str
) -> None:
    """It would be part of the address."""
    given = cluster.account
    account = type(given)(given.server, node, given.token_file, given.ca_file)
    error = failure(NodeSource(SystemClock(), account))

    assert error.reason == "node_name"
    assert str(error) == f"{words}; set it by the fieldRef spec.nodeName"
    assert cluster.server.requests == []


def test_a_redirect_is_not_followed(cluster: Kubernetes, failure: FailureOf) -> None:
    """The token goes to nobody else."""
    elsewhere = MetadataServer()
    try:
        cluster.server.set_reply(NODE_PATH, "", status=302, Location=f"{elsewhere.address}/steal")
        error = failure(source(cluster))
    finally:
        elsewhere.close()

    assert error.reason == "redirect"
    assert elsewhere.requests == []


def test_no_proxy_of_the_environment_is_used(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would see which node asks."""
    proxy = MetadataServer()
    try:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.address)
        assert source(cluster).read().labels
    finally:
        proxy.close()
    assert proxy.requests == []
