"""The labels of the node that this pod is on, asked of the API server."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from exporter.clock import Clock
from exporter.config.kubernetes import is_label_name, is_label_value, is_node_name
from exporter.readings import NodeLabels, ReadFailedError
from exporter.sources.exchange import Deadline
from exporter.sources.kubernetes.account import Account
from exporter.sources.kubernetes.api import Call, document
from exporter.sources.server.client import secure_client

NAME: Final = "node_labels"
TIMEOUT_SECONDS: Final = 5.0

BODY_BYTES_MAX: Final = 2 * 1024 * 1024
"""etcd takes objects of 1.5 MiB unless told otherwise."""

LABELS_MAX: Final = 1000
"""Feature discovery gives a node a few hundred."""

ACCEPT: Final = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
"""The metadata alone, without the images and volumes of the node; older servers answer with all of it."""

KINDS: Final = frozenset({"Node", "PartialObjectMetadata"})

RIGHT: Final = '{apiGroups: [""], resources: [nodes], verbs: [get]}'
REMEDIES: Final[Mapping[str, str]] = {
    "forbidden": (
        f"; allow it by a ClusterRole with the rule {RIGHT}, as deploy/kubernetes/node-labels.yaml does, or "
        "set `discovery: {kubernetes: off}`"
    ),
    "not_found": "; set NODE_NAME by the fieldRef spec.nodeName",
    "unauthorized": "; the token of the service account is not, or no longer, valid",
}


@dataclass(frozen=True, slots=True)
class NodeReading:
    """The labels of this host's node; `None` where it has some that could not be read."""

    labels: NodeLabels | None = ()


class NodeSource:
    """Reads the labels of one node. `account` is `None` where there is nobody to ask."""

    def __init__(self, clock: Clock, account: Account | None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._clock = clock
        self._account = account
        self._timeout = timeout

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        return NAME

    @property
    def asks(self) -> bool:
        """Whether there is an API server to ask."""
        return self._account is not None

    @property
    def known(self) -> NodeReading:
        """What is known without asking: that there are no labels where there is nobody to ask."""
        return NodeReading(None if self.asks else ())

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """A read is whole or fails."""
        return ()

    @property
    def problem(self) -> str:
        """As `errors`."""
        return ""

    def read(self) -> NodeReading:
        """The labels of the node. Without anybody to ask none, and no request.

        Raises:
            ReadFailedError: `node_name`, or as `api.document`.
        """
        account = self._account
        if account is None:
            return self.known
        if not is_node_name(account.node):
            fault = "is not set" if not account.node else "is no name of a node"
            raise ReadFailedError("node_name", f"NODE_NAME {fault}; set it by the fieldRef spec.nodeName")
        subject = f"node {account.node} at {account.server}"
        call = Call(
            f"{account.server}/api/v1/nodes/{account.node}",
            subject,
            account.token_file,
            BODY_BYTES_MAX,
            ACCEPT,
        )
        try:
            told = document(
                call, partial(secure_client, account.ca_file), Deadline(self._clock, self._timeout)
            )
        except ReadFailedError as failure:
            raise ReadFailedError(failure.reason, f"{failure}{REMEDIES.get(failure.reason, '')}") from failure
        try:
            return NodeReading(_labels(told, account.node))
        except ValueError as error:
            message = f"{subject}: answers, but not as Kubernetes does: {error}"
            raise ReadFailedError("not_recognized", message) from error

    def close(self) -> None:
        """Nothing is held between reads."""


def _labels(told: Mapping[str, Any], node: str) -> NodeLabels:
    """The labels of a node's document, sorted; what Kubernetes would not take for a label is none.

    Raises:
        ValueError: it is not that node's document.
    """
    metadata = told.get("metadata")
    if told.get("kind") not in KINDS or not isinstance(metadata, dict) or metadata.get("name") != node:
        raise ValueError("no metadata of that node")
    labels = metadata.get("labels") or {}
    if not isinstance(labels, dict) or len(labels) > LABELS_MAX:
        raise ValueError(f"no labels, or more than {LABELS_MAX}")
    return tuple(
        sorted(
            (name, value)
            for name, value in labels.items()
            if is_label_name(name) and isinstance(value, str) and is_label_value(value)
        )
    )
