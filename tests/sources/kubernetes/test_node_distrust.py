"""An API server that is another one, keeps silent, or answers with what no API server says."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.kubernetes import NodeSource, ServiceAccount
from exporter.sources.kubernetes.api import BODY_BYTES_MAX
from tests.sources.cloud.metadata_server import Reply
from tests.sources.kubernetes.api_server import EKS, IDENTITY, NODE_PATH, Kubernetes, metadata

FailureOf = Callable[[NodeSource], ReadFailedError]


def source(cluster: Kubernetes, timeout: float = 30.0) -> NodeSource:
    return NodeSource(SystemClock(), cluster.account, timeout=timeout)


@pytest.mark.parametrize("certificate", ["expired.pem", "misnamed.pem"])
def test_a_certificate_that_does_not_hold_gets_no_token(
    certified_cluster: Callable[..., Kubernetes], failure: FailureOf, certificate: str
) -> None:
    """The cluster's authority signed it, and it is over, or another host's."""
    cluster = certified_cluster(certificate)

    assert failure(source(cluster)).reason == "tls"
    assert cluster.server.requests == []


def test_another_authority_gets_no_token(cluster: Kubernetes, failure: FailureOf) -> None:
    """Whoever sits at the address; once the right CA is mounted the labels are read, without a restart."""
    asking = source(cluster)
    (cluster.mount / "ca.crt").write_bytes((IDENTITY / "other-ca.pem").read_bytes())
    assert failure(asking).reason == "tls"
    assert cluster.server.requests == []

    (cluster.mount / "ca.crt").write_bytes((IDENTITY / "ca.pem").read_bytes())
    assert asking.read().labels


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_without_an_authority_nobody_is_trusted(
    cluster: Kubernetes, failure: FailureOf, content: bytes | None
) -> None:
    """A file that is missing or broken is told by its path; public authorities do not stand in."""
    (cluster.mount / "ca.crt").unlink()
    if content is not None:
        (cluster.mount / "ca.crt").write_bytes(content)
    error = failure(source(cluster))

    assert error.reason == "tls"
    assert str(cluster.mount / "ca.crt") in str(error)
    assert cluster.server.requests == []


def test_a_server_that_keeps_silent_is_given_up(cluster: Kubernetes, failure: FailureOf) -> None:
    """In the time of one read, after a handshake that went well."""
    cluster.server.hangs.add(NODE_PATH)
    assert failure(source(cluster, timeout=0.5)).reason == "timeout"


def test_a_server_that_never_shakes_hands_is_given_up(cluster: Kubernetes, failure: FailureOf) -> None:
    """It takes the connection and says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given = cluster.account
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        account = ServiceAccount(address, given.node, given.token_file, given.ca_file)
        assert failure(NodeSource(SystemClock(), account, timeout=0.3)).reason == "timeout"


def test_a_server_that_is_not_there_is_told(cluster: Kubernetes, failure: FailureOf) -> None:
    """By its address."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    given = cluster.account
    account = ServiceAccount(f"https://127.0.0.1:{port}", given.node, given.token_file, given.ca_file)
    error = failure(NodeSource(SystemClock(), account))

    assert error.reason == "connection"
    assert f"node {given.node} at https://127.0.0.1:{port}: " in str(error)


def test_a_body_of_100_megabytes_is_not_read(cluster: Kubernetes, failure: FailureOf) -> None:
    """At most 2 MiB of it are held, and the rest is not waited for."""
    cluster.server.replies[NODE_PATH] = Reply(b" " * (1 << 20), times=100)
    error = failure(source(cluster))

    assert error.reason == "too_large"
    assert str(error).endswith(f": larger than {BODY_BYTES_MAX} bytes")
    assert cluster.server.sent < 100 << 20


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"<html><body>Sign in</body></html>", "JSON is malformed", id="html"),
        pytest.param(b"", "truncated", id="empty"),
        pytest.param(b"\xff\xfe\x00", "JSON is malformed", id="no-text"),
        pytest.param(b"[" * 200_000, "Expected `object`, got `array`", id="deep"),
        pytest.param(b'{"metadata": ' + b"9" * 10_000 + b"}", "Number out of range", id="endless-number"),
        pytest.param(b"[]", "Expected `object`, got `array`", id="list"),
        pytest.param(b"null", "Expected `object`, got `null`", id="null"),
        pytest.param(b"{}", "no metadata of that node", id="nothing"),
        pytest.param(
            b'{"kind": "Node", "metadata": []}', "Expected `object`, got `array`", id="list-of-metadata"
        ),
        pytest.param(
            b'{"kind": "Node", "metadata": {"name": "gpu-2"}}', "no metadata of that node", id="other-node"
        ),
        pytest.param(
            json.dumps({**metadata(), "kind": "Pod"}).encode(), "no metadata of that node", id="pod"
        ),
        pytest.param(json.dumps(metadata(labels={}) | {"kind": 7}).encode(), "Expected `str`", id="kind"),
    ],
)
def test_what_no_api_server_says_is_no_answer(
    cluster: Kubernetes, failure: FailureOf, body: bytes, words: str
) -> None:
    """A portal, a proxy, another object: `not_recognized`, and what is known stays."""
    cluster.server.set_reply(NODE_PATH, body)
    error = failure(source(cluster))

    assert error.reason == "not_recognized"
    assert words in str(error)


@pytest.mark.parametrize("labels", [["a"], "a=b", 7])
def test_labels_that_are_no_mapping_are_no_answer(
    cluster: Kubernetes, failure: FailureOf, labels: Any
) -> None:
    """Not "none"."""
    document = metadata()
    document["metadata"]["labels"] = labels
    cluster.set_reply(NODE_PATH, document)

    assert failure(source(cluster)).reason == "not_recognized"


def test_more_labels_than_a_node_has_are_no_answer(cluster: Kubernetes, failure: FailureOf) -> None:
    """1,000 are taken and one more is not."""
    many = {f"example.com/label-{number}": "x" for number in range(1000)}
    cluster.set_reply(NODE_PATH, metadata(labels=many))
    assert len(source(cluster).read().labels or ()) == 1000

    cluster.set_reply(NODE_PATH, metadata(labels={**many, "one-more": "x"}))
    error = failure(source(cluster))
    assert error.reason == "not_recognized"
    assert "more than 1000" in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("example.com/x", "a\nb", id="line-break"),
        pytest.param("example.com/x", "a\u202eb", id="text-that-runs-backwards"),
        pytest.param("example.com/x", "x" * 64, id="long-value"),
        pytest.param("example.com/x", "-x", id="begins-with-a-dash"),
        pytest.param("example.com/x", 7, id="number"),
        pytest.param("example.com/x", None, id="null"),
        pytest.param("example.com/x", {"a": "b"}, id="mapping"),
        pytest.param("x" * 64, "a", id="long-name"),
        pytest.param("", "a", id="no-name"),
        pytest.param("/x", "a", id="empty-prefix"),
        pytest.param("Example.com/x", "a", id="upper-case-prefix"),
        pytest.param("a/b/c", "a", id="two-slashes"),
        pytest.param(f"{'a.' * 127}/x", "a", id="prefix-that-ends-in-a-dot"),
        pytest.param('x"} 1\nforged', "a", id="forged-series"),
    ],
)
def test_a_label_that_kubernetes_would_not_take_is_none(cluster: Kubernetes, name: str, value: Any) -> None:
    """The others are told."""
    cluster.set_reply(NODE_PATH, metadata(labels={**EKS, name: value}))

    assert source(cluster).read().labels == tuple(sorted(EKS.items()))
