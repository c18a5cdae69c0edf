"""Failures: why a source could not be read, and why a server is not read, with a remedy for each server."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from exporter.frozen import dataclass
from exporter.readings.serving import ServerKey


class FailureReason(StrEnum):
    """Why a source could not be read: a value of the label `reason` of source errors.

    The groups: any request, a kubelet's socket, a cluster or cloud, a server or gateway, NVML, any read.
    """

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    TLS = "tls"
    CERTIFICATE = "certificate"
    CERTIFICATE_NAME = "certificate_name"
    TOKEN_FILE = "token_file"  # noqa: S105 - a reason
    REDIRECT = "redirect"
    ENCODING = "encoding"
    TOO_LARGE = "too_large"
    HTTP_STATUS = "http_status"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_RECOGNIZED = "not_recognized"
    MALFORMED = "malformed"
    IMPLAUSIBLE = "implausible"
    UNREADABLE = "unreadable"

    ABSENT = "absent"
    REFUSED = "refused"
    DENIED = "denied"
    STARTING = "starting"
    EXHAUSTED = "exhausted"
    UNIMPLEMENTED = "unimplemented"
    NOT_KUBELET = "not_kubelet"
    GRPC_STATUS = "grpc_status"

    NODE_NAME = "node_name"
    NODE_IP = "node_ip"
    CONTRADICTION = "contradiction"

    NOT_LISTENING = "not_listening"
    METRICS_OFF = "metrics_off"
    NO_TOKENS = "no_tokens"
    GATEWAY = "gateway"
    COUNTED_TWICE = "counted_twice"
    SEVERAL_PROCESSES = "several_processes"
    ROUTER = "router"
    ASLEEP = "asleep"
    NO_TEAMS = "no_teams"

    CLOSED = "closed"
    HUNG = "hung"
    DUPLICATE = "duplicate"
    GARBLED = "garbled"
    UNINITIALIZED = "uninitialized"
    NOT_SUPPORTED = "not_supported"
    NO_PERMISSION = "no_permission"
    DRIVER_NOT_LOADED = "driver_not_loaded"
    LIBRARY_MISSING = "library_missing"
    FUNCTION_MISSING = "function_missing"
    GPU_LOST = "gpu_lost"
    RESET_REQUIRED = "reset_required"
    VERSION_MISMATCH = "version_mismatch"
    GPU_NOT_FOUND = "gpu_not_found"
    UNKNOWN = "unknown"
    OTHER = "other"

    BUSY = "busy"
    QUEUED = "queued"
    BACKOFF = "backoff"
    INTERNAL = "internal"


NVML_LOADED: Final = frozenset(
    {
        FailureReason.HUNG,
        FailureReason.GARBLED,
        FailureReason.UNINITIALIZED,
        FailureReason.NOT_SUPPORTED,
        FailureReason.NO_PERMISSION,
        FailureReason.DRIVER_NOT_LOADED,
        FailureReason.FUNCTION_MISSING,
        FailureReason.GPU_LOST,
        FailureReason.RESET_REQUIRED,
        FailureReason.VERSION_MISMATCH,
        FailureReason.GPU_NOT_FOUND,
        FailureReason.UNKNOWN,
        FailureReason.OTHER,
    }
)
"""Why NVML could not be read though its library was loaded: all of its own reasons but a missing library."""


class ReadFailedError(Exception):
    """A source could not be read this time; the next tick tries again. The message is for people."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AccessDeniedError(ReadFailedError):
    """Access is denied, and the configuration does not require it: less is known, and nothing is broken."""


class MustRestartError(Exception):
    """A source is in a state that only a new process can leave; the daemon exits with this message."""


class UnreadReason(StrEnum):
    """A value of the label `reason` of `inference_server_unread_info`.

    The last five are of servers that should not be read, and are no values of that label.
    """

    NOT_LISTENING = "not_listening"
    PORT_TAKEN = "port_taken"
    PORT_CONTESTED = "port_contested"
    ADDRESS_TAKEN = "address_taken"
    NO_PORT = "no_port"
    NO_ADDRESS = "no_address"
    NO_POD_ADDRESS = "no_pod_address"
    NO_POD_NAME = "no_pod_name"
    LOOPBACK = "loopback"
    PATH = "path"
    TOKEN_IN_THE_CLEAR = "token_in_the_clear"  # noqa: S105 - a reason
    TOO_MANY = "too_many"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    TLS = "tls"
    CERTIFICATE = "certificate"
    CERTIFICATE_NAME = "certificate_name"
    TOKEN_FILE = "token_file"  # noqa: S105 - a reason
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    METRICS_OFF = "metrics_off"
    REDIRECT = "redirect"
    HTTP_STATUS = "http_status"
    ENCODING = "encoding"
    TOO_LARGE = "too_large"
    NOT_RECOGNIZED = "not_recognized"
    NO_TOKENS = "no_tokens"
    GATEWAY = "gateway"
    COUNTED_TWICE = "counted_twice"
    SEVERAL_PROCESSES = "several_processes"
    ROUTER = "router"
    ASLEEP = "asleep"
    INTERNAL = "internal"

    NO_SERVER = "no_server"
    NO_GPU = "no_gpu"
    GPU_UNKNOWN = "gpu_unknown"
    CONFIGURED = "configured"
    FOLLOWER = "follower"
    ROUTED = "routed"

    @property
    def problem(self) -> str:
        """The problem, to follow a name and a colon."""
        return REMEDIES[self].problem

    @property
    def remedy(self) -> str:
        """The remedy, a sentence without its period; empty where the server should not be read."""
        return REMEDIES[self].remedy


class Remedy(NamedTuple):
    """A problem and its remedy."""

    problem: str
    remedy: str = ""


REMEDIES: Final[Mapping[UnreadReason, Remedy]] = {
    UnreadReason.NOT_LISTENING: Remedy(
        "nothing of its own listens where its metrics should be",
        "Wait until it has loaded; else write the port: `metrics: {port: PORT}`",
    ),
    UnreadReason.PORT_TAKEN: Remedy(
        "another user listens at the port that it names", "Start it at another port"
    ),
    UnreadReason.PORT_CONTESTED: Remedy(
        "another server of its user names the same port, and which of them listens cannot be seen",
        "Give the daemon CAP_SYS_PTRACE, or write its `url` in `servers`",
    ),
    UnreadReason.ADDRESS_TAKEN: Remedy(
        "another server is read at its address",
        "Give each server a port of its own, and correct `metrics: {port: PORT}`",
    ),
    UnreadReason.NO_PORT: Remedy(
        "it is not known at which port it listens", "Write the port: `metrics: {port: PORT}`"
    ),
    UnreadReason.NO_ADDRESS: Remedy(
        "it is not known at which address it listens", "Write its `url` in `servers`"
    ),
    UnreadReason.NO_POD_ADDRESS: Remedy("no address of its pod is known", "Allow the look-up of pods"),
    UnreadReason.NO_POD_NAME: Remedy(
        "its cluster does not say now what it is called",
        "Fix the source `pods`: the log and `doctor` say what is wrong with it",
    ),
    UnreadReason.LOOPBACK: Remedy(
        "it listens on loopback in a network of its own",
        "Let it listen on all addresses, for most engines with `--host 0.0.0.0`",
    ),
    UnreadReason.PATH: Remedy(
        "the path that its annotation gives is not valid",
        "Correct the annotation `inference-cost/path`: it begins with / and has no blank",
    ),
    UnreadReason.TOKEN_IN_THE_CLEAR: Remedy(
        "its token would be sent in the clear",
        "Write `scheme: https` next to the token, or its `url` in place of `match`",
    ),
    UnreadReason.TOO_MANY: Remedy(
        "more servers are read already than are read on one host",
        "Stop servers that hold no GPU, or run fewer on this host",
    ),
    UnreadReason.CONNECTION: Remedy(
        "nothing answers at its address",
        "Start it, or correct its address; where it speaks TLS, write `metrics: {scheme: https}`",
    ),
    UnreadReason.TIMEOUT: Remedy(
        "it does not answer in time", "Check its load, and any proxy in front of it"
    ),
    UnreadReason.TLS: Remedy(
        "the TLS handshake with it fails",
        "Where it speaks plain HTTP, write `metrics: {scheme: http}` or an http `url`; "
        "else correct `ca_file`",
    ),
    UnreadReason.CERTIFICATE: Remedy(
        "its certificate is not trusted",
        "Write `metrics: {scheme: https, ca_file: /PATH/ca.pem}`, and renew a certificate that expired",
    ),
    UnreadReason.CERTIFICATE_NAME: Remedy(
        "its certificate is for another name than the address that is asked",
        "Write a name of the certificate: `metrics: {scheme: https, server_name: NAME}`",
    ),
    UnreadReason.TOKEN_FILE: Remedy(
        "the file of its token cannot be read", "Correct `bearer_token_file`, or the rights of that file"
    ),
    UnreadReason.UNAUTHORIZED: Remedy(
        "it refuses without the right token (HTTP 401 or 403)",
        "Write `metrics: {bearer_token_file: /PATH/token}`; "
        "with `match` that takes a `user`, a `unit` or a `workload` of one namespace",
    ),
    UnreadReason.NOT_FOUND: Remedy(
        "it has no page there (HTTP 404)",
        "Behind a prefix write the path: `metrics: {path: /PREFIX/metrics}`, without `match` in its `url`; "
        "else switch its metrics on",
    ),
    UnreadReason.METRICS_OFF: Remedy(
        "its metrics are off",
        "Start it with the flag of its engine: `--metrics` of llama.cpp, `--enable-metrics` of SGLang",
    ),
    UnreadReason.REDIRECT: Remedy(
        "it redirects, which is not followed", "Write the path or the `url` that it redirects to"
    ),
    UnreadReason.HTTP_STATUS: Remedy("it answers with an HTTP error", "Look for the error in its own log"),
    UnreadReason.ENCODING: Remedy(
        "its page has an encoding that was not asked for",
        "Configure the proxy in front of it to pass the page unchanged",
    ),
    UnreadReason.TOO_LARGE: Remedy(
        "its page is larger than is read", "Raise `limits: {body_bytes: BYTES}`, or let it show less"
    ),
    UnreadReason.NOT_RECOGNIZED: Remedy(
        "its page is of no engine that is known",
        "Correct the port or the path: `metrics: {port: PORT, path: PATH}`, without `match` its `url`",
    ),
    UnreadReason.NO_TOKENS: Remedy(
        "it counts no tokens",
        "Start vLLM without `--disable-log-stats`; serve the files of Ollama with `llama-server --metrics`",
    ),
    UnreadReason.GATEWAY: Remedy(
        "it is a gateway, and its engines count the tokens",
        "Take it out of `servers`, and name the engines behind it",
    ),
    UnreadReason.COUNTED_TWICE: Remedy(
        "its tokens are counted at another endpoint",
        "Take one of the two out of `servers`; two behind one proxy of this host need their own addresses",
    ),
    UnreadReason.SEVERAL_PROCESSES: Remedy(
        "several processes answer at its address",
        "Write an entry with its own `url` for each process behind the load balancer; entries of one `name` "
        "add up",
    ),
    UnreadReason.ROUTER: Remedy(
        "it is a router of llama.cpp",
        "Write an entry for each model, with `url: http://HOST:PORT/metrics?model=NAME`",
    ),
    UnreadReason.ASLEEP: Remedy(
        "it has slept since before it was first read", "Wait for its next request, which ends it"
    ),
    UnreadReason.INTERNAL: Remedy(
        "the exporter failed while reading it",
        "Look for `source failed` in the exporter's log, and report it",
    ),
    UnreadReason.NO_SERVER: Remedy("no inference server is known among its processes"),
    UnreadReason.NO_GPU: Remedy("it holds no GPU of this host"),
    UnreadReason.GPU_UNKNOWN: Remedy("no GPU of this host can be read"),
    UnreadReason.CONFIGURED: Remedy("the configuration names its address, or who holds its GPUs"),
    UnreadReason.FOLLOWER: Remedy("its API is on another host"),
    UnreadReason.ROUTED: Remedy("each of its models is a server of its own"),
}


@dataclass(frozen=True, slots=True)
class UnreadServer:
    """A server that should be read and is not.

    `url` is the endpoint whose read failed, empty for a discovered server without one. `engine` is that of
    its command line. `identity` is of its process.
    """

    key: ServerKey
    reason: UnreadReason
    url: str = ""
    engine: str = ""
    identity: str = ""


_SLOW: Final = frozenset({FailureReason.BUSY, FailureReason.QUEUED, FailureReason.BACKOFF})
"""Reasons of a read that did not end or begin in time, since this server or another one is slow."""


def unread_reason(reason: FailureReason | Literal[""]) -> UnreadReason:
    """The reason for which a server is unread, by that of its failed read."""
    if reason in _SLOW:
        return UnreadReason.TIMEOUT
    try:
        return UnreadReason(reason)
    except ValueError:
        return UnreadReason.INTERNAL
