"""Bounded GETs of a Kubernetes server with the token of the service account, and the labels of the node."""

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec

from exporter.clock import Clock
from exporter.config.kubernetes import is_label_name, is_label_value, is_node_name
from exporter.readings import FailureReason, NodeLabels, QuickSource, ReadFailedError
from exporter.sources.http_client import HEADERS, Deadline, HttpClientProtocol, HttpRequest, secure_client
from exporter.sources.processes.listener import ExpectedListener
from exporter.sources.server.endpoint import bearer_token

MOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts the token and the cluster's CA, unless `automountServiceAccountToken` is false."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Credentials and addresses of a pod's service account."""

    server: str
    """Address of the API server as `https://host:port`."""
    node: str
    """Name of the pod's node; empty where it is not set."""
    token_file: Path
    """File of the token, which Kubernetes renews."""
    ca_file: Path
    """File of the cluster's certificate authority."""
    node_ip: str = ""
    """An address of the node; empty where it is not set."""


def account(environ: Mapping[str, str] = os.environ, mount: Path = MOUNT) -> ServiceAccount | None:
    """This pod's service account; `None` outside a cluster, and in a pod without a token."""
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "") or "443"
    token_file = mount / "token"
    if not host or not os.path.exists(token_file):
        return None
    address = f"[{host}]" if ":" in host else host
    return ServiceAccount(
        server=f"https://{address}:{port}",
        node=environ.get("NODE_NAME", ""),
        token_file=token_file,
        ca_file=mount / "ca.crt",
        node_ip=environ.get("NODE_IP", ""),
    )


REFUSALS: Final[Mapping[int, FailureReason]] = {
    HTTPStatus.UNAUTHORIZED: FailureReason.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: FailureReason.FORBIDDEN,
    HTTPStatus.NOT_FOUND: FailureReason.NOT_FOUND,
}
"""Statuses with a reason of their own, since their remedies differ."""


@dataclass(frozen=True, slots=True)
class Call:
    """One GET of a Kubernetes server."""

    url: str
    subject: str
    """Name of the object and its server in errors."""
    token_file: Path
    connect: Callable[[], HttpClientProtocol]
    """Makes the client, with the CA file as it is now."""
    limit: int
    """Longest body in bytes."""
    accept: str = "application/json"
    listener: ExpectedListener | None = None
    """Who may get the token, where no certificate shows it."""

    def body(self, deadline: Deadline) -> bytes:
        """The body of the answer.

        Token and CA file are read at each call: Kubernetes renews a token long before it expires, and a CA
        at times.

        Raises:
            ReadFailedError: `connection`, `timeout`, `tls`, `token_file`, `redirect`, `unauthorized`,
                `forbidden`, `not_found`, `http_status`, `encoding`, `too_large`, `not_listening`.
        """
        token = bearer_token(self.token_file)
        headers = {**HEADERS, "Accept": self.accept, "Authorization": f"Bearer {token}"}
        request = HttpRequest(self.url, headers, self.subject, listener=self.listener)
        with closing(self.connect()) as client:
            answer = client.request(request, deadline, self.limit)
        if answer.status != HTTPStatus.OK:
            reason = REFUSALS.get(answer.status, FailureReason.HTTP_STATUS)
            raise ReadFailedError(reason, f"{self.subject}: answers with HTTP status {answer.status}")
        return answer.body


TIMEOUT_SECONDS: Final = 5.0

BODY_BYTES_MAX: Final = 2 * 1024 * 1024
"""etcd takes objects of 1.5 MiB by default."""

LABELS_MAX: Final = 1000
"""Feature discovery gives a node a few hundred."""

ACCEPT: Final = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
"""The metadata alone, without the images and volumes of the node; older servers answer with all of it."""

KINDS: Final = frozenset({"Node", "PartialObjectMetadata"})

RIGHT: Final = '{apiGroups: [""], resources: [nodes], verbs: [get]}'
REMEDIES: Final[Mapping[FailureReason, str]] = {
    FailureReason.FORBIDDEN: (
        f"; allow it by a ClusterRole with the rule {RIGHT}, as deploy/kubernetes/node-labels.yaml does, or "
        "set `discovery: {kubernetes: off}`"
    ),
    FailureReason.NOT_FOUND: "; set NODE_NAME by the fieldRef spec.nodeName",
    FailureReason.UNAUTHORIZED: "; the token of the service account is not, or no longer, valid",
}


class _Metadata(msgspec.Struct):
    """Metadata of a node. A label whose value is no text is left out."""

    name: str = ""
    labels: dict[str, Any] | None = None


class _NodeObject(msgspec.Struct):
    """A Kubernetes Node, as far as it is read."""

    kind: str = ""
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


@dataclass(frozen=True, slots=True)
class NodeReading:
    """The labels of this host's node; `None` where it has some that could not be read."""

    labels: NodeLabels | None = ()


class NodeSource(QuickSource):
    """Reads the labels of one node. `account` is `None` outside a cluster."""

    name: Final = "node_labels"
    problem: Final = ""

    def __init__(
        self, clock: Clock, account: ServiceAccount | None, *, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._clock = clock
        self._account = account
        self._timeout = timeout

    @property
    def asks(self) -> bool:
        """Whether there is an API server."""
        return self._account is not None

    @property
    def fallback(self) -> NodeReading:
        """Reading without a request: no labels outside a cluster, else unknown ones."""
        return NodeReading(None if self.asks else ())

    def read(self) -> NodeReading:
        """The labels of the node; none, and no request, outside a cluster.

        Raises:
            ReadFailedError: `node_name`, `not_recognized`, or as `Call.body`.
        """
        account = self._account
        if account is None:
            return self.fallback
        if not is_node_name(account.node):
            fault = "is no name of a node" if account.node else "is not set"
            raise ReadFailedError(
                FailureReason.NODE_NAME, f"NODE_NAME {fault}; set it by the fieldRef spec.nodeName"
            )
        subject = f"node {account.node} at {account.server}"
        call = Call(
            url=f"{account.server}/api/v1/nodes/{account.node}",
            subject=subject,
            token_file=account.token_file,
            connect=partial(secure_client, account.ca_file),
            limit=BODY_BYTES_MAX,
            accept=ACCEPT,
        )
        try:
            body = call.body(Deadline(self._clock, self._timeout))
        except ReadFailedError as failure:
            raise ReadFailedError(failure.reason, f"{failure}{REMEDIES.get(failure.reason, '')}") from failure
        try:
            return NodeReading(_labels(body, account.node))
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            message = f"{subject}: answers, but not as Kubernetes does: {error}"
            raise ReadFailedError(FailureReason.NOT_RECOGNIZED, message) from error


def _labels(body: bytes, node: str) -> NodeLabels:
    """The valid labels of a node's document, sorted.

    Raises:
        MsgspecError, RecursionError, ValueError: it is not that node's document.
    """
    node_object = msgspec.json.decode(body, type=_NodeObject)
    if node_object.kind not in KINDS or node_object.metadata.name != node:
        raise ValueError("no metadata of that node")
    labels = node_object.metadata.labels or {}
    if len(labels) > LABELS_MAX:
        raise ValueError(f"more than {LABELS_MAX} labels")
    return tuple(
        sorted(
            (name, value)
            for name, value in labels.items()
            if is_label_name(name) and isinstance(value, str) and is_label_value(value)
        )
    )
