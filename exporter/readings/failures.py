"""Failures: why a source could not be read, and why a server is not read, with a remedy for each server."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Self

from exporter.readings.serving import ServerKey


class FailureReason(StrEnum):
    """Why a source could not be read, or a server is not read: a value of the label `reason`.

    The groups: any request, a kubelet's socket, a cluster or cloud, a server or gateway, NVML, any read,
    servers without a read, servers that should not be read.
    """

    problem: str
    """The problem of a server, to follow its name and a colon; empty for other sources."""

    remedy: str
    """What to do, a sentence without its period; empty where the server should not be read."""

    def __new__(cls, value: str, problem: str = "", remedy: str = "") -> Self:
        """A member: its value, and the problem and remedy of a server with it."""
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.problem = problem
        reason.remedy = remedy
        return reason

    CONNECTION = (
        "connection",
        "nothing answers at its address",
        "Start it, or correct its address; where it speaks TLS, write `metrics: {scheme: https}`",
    )
    TIMEOUT = ("timeout", "it does not answer in time", "Check its load, and any proxy in front of it")
    TLS = (
        "tls",
        "the TLS handshake with it fails",
        (
            "Where it speaks plain HTTP, write `metrics: {scheme: http}` or an http `url`; "
            "else correct `ca_file`"
        ),
    )
    CERTIFICATE = (
        "certificate",
        "its certificate is not trusted",
        "Write `metrics: {scheme: https, ca_file: /PATH/ca.pem}`, and renew a certificate that expired",
    )
    CERTIFICATE_NAME = (
        "certificate_name",
        "its certificate is for another name than the address that is asked",
        "Write a name of the certificate: `metrics: {scheme: https, server_name: NAME}`",
    )
    TOKEN_FILE = (
        "token_file",
        "the file of its token cannot be read",
        "Correct `bearer_token_file`, or the rights of that file",
    )
    REDIRECT = (
        "redirect",
        "it redirects, which is not followed",
        "Write the path or the `url` that it redirects to",
    )
    ENCODING = (
        "encoding",
        "its page has an encoding that was not asked for",
        "Configure the proxy in front of it to pass the page unchanged",
    )
    TOO_LARGE = (
        "too_large",
        "its page is larger than is read",
        "Raise `limits: {body_bytes: BYTES}`, or let it show less",
    )
    HTTP_STATUS = ("http_status", "it answers with an HTTP error", "Look for the error in its own log")
    UNAUTHORIZED = (
        "unauthorized",
        "it refuses without the right token (HTTP 401 or 403)",
        (
            "Write `metrics: {bearer_token_file: /PATH/token}`; "
            "with `match` that takes a `user`, a `unit` or a `workload` of one namespace"
        ),
    )
    FORBIDDEN = "forbidden"
    NOT_FOUND = (
        "not_found",
        "it has no page there (HTTP 404)",
        (
            "Behind a prefix write the path: `metrics: {path: /PREFIX/metrics}`, without `match` in its "
            "`url`; else switch its metrics on"
        ),
    )
    NOT_RECOGNIZED = (
        "not_recognized",
        "its page is of no engine that is known",
        "Correct the port or the path: `metrics: {port: PORT, path: PATH}`, without `match` its `url`",
    )
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

    NOT_LISTENING = (
        "not_listening",
        "nothing of its own listens where its metrics should be",
        "Wait until it has loaded; else write the port: `metrics: {port: PORT}`",
    )
    METRICS_OFF = (
        "metrics_off",
        "its metrics are off",
        "Start it with the flag of its engine: `--metrics` of llama.cpp, `--enable-metrics` of SGLang",
    )
    NO_TOKENS = (
        "no_tokens",
        "it counts no tokens",
        "Start vLLM without `--disable-log-stats`; serve the files of Ollama with `llama-server --metrics`",
    )
    GATEWAY = (
        "gateway",
        "it is a gateway, and its engines count the tokens",
        "Take it out of `servers`, and name the engines behind it",
    )
    COUNTED_TWICE = (
        "counted_twice",
        "its tokens are counted at another endpoint",
        "Take one of the two out of `servers`; two behind one proxy of this host need their own addresses",
    )
    SEVERAL_PROCESSES = (
        "several_processes",
        "several processes answer at its address",
        (
            "Write an entry with its own `url` for each process behind the load balancer; entries of one "
            "`name` add up"
        ),
    )
    ROUTER = (
        "router",
        "it is a router of llama.cpp",
        "Write an entry for each model, with `url: http://HOST:PORT/metrics?model=NAME`",
    )
    ASLEEP = (
        "asleep",
        "it has slept since before it was first read",
        "Wait for its next request, which ends it",
    )
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
    INTERNAL = (
        "internal",
        "the exporter failed while reading it",
        "Look for `source failed` in the exporter's log, and report it",
    )

    PORT_TAKEN = ("port_taken", "another user listens at the port that it names", "Start it at another port")
    PORT_CONTESTED = (
        "port_contested",
        "another server of its user names the same port, and which of them listens cannot be seen",
        "Give the daemon CAP_SYS_PTRACE, or write its `url` in `servers`",
    )
    ADDRESS_TAKEN = (
        "address_taken",
        "another server is read at its address",
        "Give each server a port of its own, and correct `metrics: {port: PORT}`",
    )
    NO_PORT = (
        "no_port",
        "it is not known at which port it listens",
        "Write the port: `metrics: {port: PORT}`",
    )
    NO_ADDRESS = ("no_address", "it is not known at which address it listens", "Write its `url` in `servers`")
    NO_POD_ADDRESS = ("no_pod_address", "no address of its pod is known", "Allow the look-up of pods")
    NO_POD_NAME = (
        "no_pod_name",
        "its cluster does not say now what it is called",
        "Fix the source `pods`: the log and `doctor` say what is wrong with it",
    )
    LOOPBACK = (
        "loopback",
        "it listens on loopback in a network of its own",
        "Let it listen on all addresses, for most engines with `--host 0.0.0.0`",
    )
    PATH = (
        "path",
        "the path that its annotation gives is not valid",
        "Correct the annotation `inference-cost/path`: it begins with / and has no blank",
    )
    TOKEN_IN_THE_CLEAR = (
        "token_in_the_clear",
        "its token would be sent in the clear",
        "Write `scheme: https` next to the token, or its `url` in place of `match`",
    )
    TOO_MANY = (
        "too_many",
        "more servers are read already than are read on one host",
        "Stop servers that hold no GPU, or run fewer on this host",
    )

    NO_SERVER = ("no_server", "no inference server is known among its processes")
    NO_GPU = ("no_gpu", "it holds no GPU of this host")
    GPU_UNKNOWN = ("gpu_unknown", "no GPU of this host can be read")
    CONFIGURED = ("configured", "the configuration names its address, or who holds its GPUs")
    FOLLOWER = ("follower", "its API is on another host")
    ROUTED = ("routed", "each of its models is a server of its own")


LIBRARY_LOADED: Final = frozenset(
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
"""Why GPUs could not be read though their library was loaded: all of its own reasons but a missing one."""


class ReadFailedError(Exception):
    """A source could not be read this time; the next tick tries again. The message is for people."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AccessDeniedError(ReadFailedError):
    """Access is denied, and the configuration does not require it: less is known, and nothing is broken."""


class MustRestartError(Exception):
    """A source is in a state that only a new process can leave; the daemon exits with this message."""


@dataclass(frozen=True, slots=True)
class UnreadServer:
    """A server that should be read and is not."""

    key: ServerKey
    reason: FailureReason
    url: str = ""
    """The endpoint whose read failed; empty for a discovered server without one."""
    engine: str = ""
    """The engine of its command line."""
    identity: str = ""
    """The identity of its process."""


def unread_reason(reason: FailureReason | Literal[""]) -> FailureReason:
    """The reason for which a server is unread, by that of its failed read."""
    if reason in {FailureReason.BUSY, FailureReason.QUEUED, FailureReason.BACKOFF}:
        return FailureReason.TIMEOUT  # this server or another one is slow
    return reason if reason and reason.remedy else FailureReason.INTERNAL
