"""The pods of this node: from its kubelet, by socket or HTTPS, or from the API server."""

import ipaddress
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from exporter.clock import Clock
from exporter.config.kubernetes import is_node_name
from exporter.config.settings import KubernetesChoice
from exporter.readings import AccessDeniedError, ErrorCounts, FailureReason, QuickSource, ReadFailedError
from exporter.sources.http_client import Deadline, secure_client, unverified_client
from exporter.sources.kubernetes.api import Call, ServiceAccount
from exporter.sources.kubernetes.pod_object import PodObject, from_json, from_protobuf
from exporter.sources.kubernetes.pods import PREFIX, READERS, Pod, Pods, pod_of
from exporter.sources.processes.listener import root
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 4.0
"""For one read, shared equally by all ways: below the five seconds of a tick."""

RENEWAL: Final[Nanoseconds] = 20 * NANOSECONDS_PER_SECOND
"""How old an answer, or a refusal, may be; pods come and go more rarely."""

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
PODS_MAX: Final = 1000
"""Kubernetes recommends at most 110 pods on a node, and some clusters allow 500."""

SOCKET: Final = Path("/var/lib/kubelet/pods-api/pods-api.sock")
"""Socket of the Pods API (KEP-4188, alpha in Kubernetes 1.36, on by default in 1.37), as documented in
reference/node/kubelet-pods-api. The kubelet recreates it at each start, so a container mounts its directory.
All clients together have 100 requests a second."""

SOCKET_METHOD: Final = "/v1alpha1.Pods/ListPods"

SOCKET_BYTES_MAX: Final = 16 * 1024 * 1024
"""Longest answer of the socket, which has whole pods: 500 of 30 KB each."""

PODS_API: Final = "pods_api"
KUBELET: Final = "kubelet"
API_SERVER: Final = "api_server"
WAYS: Final = (PODS_API, KUBELET, API_SERVER)
"""Ways to read pods, in the order of `auto`."""

KUBELET_PORT: Final = 10250

PASSING: Final = frozenset({FailureReason.ABSENT, FailureReason.REFUSED, FailureReason.STARTING})
"""Failures of a socket while the kubelet restarts, which come at once."""

CLOSED: Final = frozenset({FailureReason.DENIED, FailureReason.UNIMPLEMENTED})
"""Permanent failures of a socket, which count as no socket."""

NOT_ALLOWED: Final = frozenset({FailureReason.FORBIDDEN, FailureReason.UNAUTHORIZED})
"""Refusals of a token without the right; a kubelet that takes no tokens gives the second."""

RIGHTS: Final = {
    KUBELET: '{apiGroups: [""], resources: [nodes/pods], verbs: [get]}',
    API_SERVER: '{apiGroups: [""], resources: [pods], verbs: [list]}',
}
"""The rule of a ClusterRole that allows each. Never `nodes/proxy`, which older kubelets need instead: it
allows running commands in every pod of the node."""

_ALLOW: Final = "allow it by a ClusterRole with the rule"
_REACH: Final = "no network policy and no firewall may keep this pod from"

REMEDIES: Final[Mapping[str, Mapping[FailureReason, str]]] = {
    KUBELET: {
        FailureReason.FORBIDDEN: f"{_ALLOW} {RIGHTS[KUBELET]}",
        FailureReason.UNAUTHORIZED: (
            "let the kubelet take tokens (`authentication: {webhook: {enabled: true}}`)"
        ),
        FailureReason.NOT_LISTENING: (
            "it needs hostPID, or its certificate's CA in `discovery: {kubelet_ca_file: ...}`"
        ),
        FailureReason.CONNECTION: f"{_REACH} its node's kubelet",
        FailureReason.TIMEOUT: f"{_REACH} its node's kubelet",
        FailureReason.TLS: (
            "`discovery: {kubelet_ca_file: ...}` must name the CA of the kubelet's certificate"
        ),
    },
    API_SERVER: {
        FailureReason.FORBIDDEN: f"{_ALLOW} {RIGHTS[API_SERVER]}",
        FailureReason.UNAUTHORIZED: "the token of the service account is not, or no longer, valid",
        FailureReason.CONNECTION: f"{_REACH} the API server",
        FailureReason.TIMEOUT: f"{_REACH} the API server",
    },
}
"""Remedies by way and reason. One way that works suffices."""


class PodSource(QuickSource):
    """Reads the pods of one node; `account` is `None` without access to kubelet and API server by HTTPS.

    `choice` is `pods_api`, the kubelet's socket; `kubelet`, by HTTPS; `api_server`; or `auto`: the socket
    once there is one, then with an account the kubelet and the API server, each if the one before fails. The
    socket needs no account, but root. In `auto` a refusal of all is no failure: a token may be mounted for
    the labels of the node alone.

    The kubelet is requested at the node's own address. Its certificate is checked by `kubelet_ca_file`;
    without one any is accepted, since kubelets sign their own by default: root, or the daemon's own user,
    must then listen there in the node's network, as seen by process 1.
    """

    name: Final = "pods"

    def __init__(
        self,
        clock: Clock,
        account: ServiceAccount | None,
        choice: KubernetesChoice = "auto",
        kubelet_ca_file: Path | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        kubelet_port: int = KUBELET_PORT,
        socket: Path = SOCKET,
    ) -> None:
        self._clock = clock
        self._account = account
        self._choice = choice
        self._socket = socket
        self._socket_seen = choice == PODS_API
        self._order: list[str] = list(WAYS)
        self._kubelet_ca_file = kubelet_ca_file
        self._timeout = timeout
        self._kubelet_port = kubelet_port
        self._answer: Pods | ReadFailedError | None = None
        self._at: Nanoseconds = 0
        self._answered = False
        self.errors: ErrorCounts = ()
        """Omissions of the last reading; a refused annotation of a pod counts once.

        `pod` (no pod of this node), `too_many_pods`, `annotation_...` (see `parse_annotations`).
        """
        self._refused: frozenset[tuple[str, str, str]] = frozenset()

    @property
    def asks(self) -> bool:
        """Whether there is any way to read pods; without one the reading is no pods."""
        return bool(self._ways())

    def read(self) -> Pods:
        """The pods of this node, at most 20 seconds old.

        Raises:
            AccessDeniedError: in `auto` no way ever worked, and all refuse this account.
            ReadFailedError: `node_ip`, `node_name`, `not_recognized`, as `Call.body`, or as `grpc.call`. In
                `auto` the reason is that of the first way, unless that is a socket without access, and the
                message has those of all.
        """
        self.errors = ()
        ways = self._ways()
        if not ways:
            return Pods()
        now = self._clock.elapsed()
        if self._answer is None or now - self._at >= RENEWAL:
            self._answer, self._at = self._list_pods(ways), now
        if isinstance(self._answer, ReadFailedError):
            raise type(self._answer)(self._answer.reason, str(self._answer))
        self._answered = True
        return self._answer

    def renew(self) -> bool:
        """Forget an answer, so that the next read sends a request; false without one, as after a failure."""
        if not isinstance(self._answer, Pods):
            return False
        self._answer = None
        return True

    def _ways(self) -> tuple[str, ...]:
        """Ways to read pods now, in their order."""
        if self._choice == "auto":
            self._socket_seen = self._socket_seen or os.path.exists(self._socket)
        able = {PODS_API: self._socket_seen, KUBELET: self._account, API_SERVER: self._account}
        return tuple(way for way in self._order if able[way] and self._choice in ("auto", way))

    def _list_pods(self, ways: tuple[str, ...]) -> Pods | ReadFailedError:
        """The pods by the first way that works, else the failure of all."""
        failures: dict[str, ReadFailedError] = {}
        began = self._clock.elapsed()
        for way in ways:
            deadline = Deadline(self._clock, self._timeout / len(ways))
            try:
                return Pods(self._valid_pods(self._objects(way, deadline)), way, began)
            except ReadFailedError as failure:
                failures[way] = failure
                if way != PODS_API or failure.reason not in PASSING:
                    self._order = [*(other for other in self._order if other != way), way]  # last from now on
        failed = [failures[way] for way in WAYS if way in failures]
        first = failed[0] if len(failed) == 1 or failed[0].reason not in CLOSED else failed[1]
        problem = "; ".join(map(str, failed))
        reasons = {failure.reason for failure in failed}
        is_denied = FailureReason.FORBIDDEN in reasons <= NOT_ALLOWED
        if self._choice == "auto" and not self._answered and is_denied:
            return AccessDeniedError(FailureReason.FORBIDDEN, problem)
        return ReadFailedError(first.reason, problem)

    def _objects(self, way: str, deadline: Deadline) -> Iterator[PodObject | None]:
        """The items of the list of pods that one way gives."""
        if way == PODS_API:
            from exporter.sources.kubelet import grpc  # noqa: PLC0415 - HTTP/2 takes memory: on first use

            reply = grpc.call(self._socket, SOCKET_METHOD, deadline, SOCKET_BYTES_MAX)
            try:
                yield from from_protobuf(reply)
            except ReadFailedError as failure:
                raise ReadFailedError(failure.reason, f"{self._socket}: {failure}") from failure
            return
        call = self._call(way)
        try:
            yield from from_json(call.body(deadline))
        except ValueError as fault:
            problem = f"{call.subject}: answers, {fault}"
            raise ReadFailedError(FailureReason.NOT_RECOGNIZED, problem) from fault
        except ReadFailedError as failure:
            remedy = REMEDIES[way].get(failure.reason)
            if remedy is None:
                raise
            problem = str(failure)
            if not problem.startswith(call.subject):
                problem = f"{call.subject}: {problem}"
            raise ReadFailedError(failure.reason, f"{problem}; {remedy}") from failure

    def _call(self, way: str) -> Call:
        """The request for the list of pods of the API server, or of the node's own kubelet."""
        account = self._account
        if account is None or not is_node_name(account.node):
            problem = "NODE_NAME is not set; set it by the fieldRef spec.nodeName"
            raise ReadFailedError(FailureReason.NODE_NAME, problem)
        if way == API_SERVER:
            # The list is of the server's memory (version 0), so that no request goes to etcd.
            query = f"fieldSelector={quote(f'spec.nodeName={account.node}', safe='')}&resourceVersion=0"
            return Call(
                url=f"{account.server}/api/v1/pods?{query}",
                subject=f"pods of {account.node} at {account.server}",
                token_file=account.token_file,
                connect=partial(secure_client, account.ca_file),
                limit=BODY_BYTES_MAX,
            )
        try:
            address = ipaddress.ip_address(account.node_ip)
        except ValueError:
            problem = "NODE_IP is not set; set it by the fieldRef status.hostIP"
            raise ReadFailedError(FailureReason.NODE_IP, problem) from None
        host = f"[{address}]" if address.version == 6 else str(address)
        server = f"https://{host}:{self._kubelet_port}"
        ca_file = self._kubelet_ca_file
        return Call(
            url=f"{server}/pods",
            subject=f"kubelet at {server}",
            token_file=account.token_file,
            connect=unverified_client if ca_file is None else partial(secure_client, ca_file),
            limit=BODY_BYTES_MAX,
            listener=root(process=1) if ca_file is None else None,
        )

    def _valid_pods(self, objects: Iterable[PodObject | None]) -> tuple[Pod, ...]:
        """The pods of this node, at most `PODS_MAX`; `errors` counts what is left out."""
        node = "" if self._account is None else self._account.node
        pods: list[Pod] = []
        left_out: Counter[str] = Counter()
        for pod_object in objects:
            pod = None if pod_object is None else pod_of(pod_object, node)
            if pod is None:
                left_out["pod"] += 1
            elif len(pods) == PODS_MAX:
                left_out["too_many_pods"] += 1
            else:
                pods.append(pod)
        refused = {
            (f"{pod.namespace}/{pod.name}", annotation, fault)
            for pod in pods
            for annotation, fault in pod.pod_annotations.refused
        }
        for pod_name, annotation, fault in sorted(refused - self._refused):
            log.warning(
                "annotation refused",
                extra={"pod": pod_name, "annotation": f"{PREFIX}{annotation}", "problem": fault},
            )
            left_out[f"annotation_{annotation if annotation in READERS else 'unknown'}"] += 1
        self._refused = frozenset(refused)
        self.errors = tuple(sorted(left_out.items()))
        return tuple(pods)
