"""All that was said in one tick, and the protocol of those who say it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from exporter.readings.gateways import GatewayReading
from exporter.readings.hardware import GpuReading
from exporter.readings.serving import Holder, PodOwnership, ServerReading
from exporter.readings.unread import UnreadReason, UnreadServer
from exporter.units import Instant, Nanoseconds


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How one source fared in one tick. `reason` is a short fixed word, empty when `up`."""

    source: str
    up: bool
    duration: Nanoseconds
    reason: str = ""
    errors: tuple[tuple[str, int], ...] = ()
    """Partial failures that did not cost the reading, by reason."""
    expected: bool = True
    """False where it may not ask and nobody said that it should: it then counts as one that is not asked."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All readings of one tick, and when it was taken.

    `gpus` is `None` while NVML is silent (hung, upgrading): nothing is known, which is not "no GPUs".
    `servers` names every watched endpoint, those that did not answer included.
    `unsure` are the UUIDs of GPUs of which nobody could tell who holds them: their last holders hold on.
    `blind`: nobody could tell which servers are here, so that one that is not among `servers` may be.
    `owners` are told of servers whose labels were read; of others they are as they last were.
    `gateways` names every gateway whose counts divide something, those that did not answer included.
    `unread` are the servers that should be read and are not, with or without an endpoint.
    `elapsed` counts from the boot that `boot` names; `awake` is it without suspended time, where known.
    """

    elapsed: Nanoseconds
    wall: Instant
    gpus: tuple[GpuReading, ...] | None
    servers: tuple[ServerReading, ...] = ()
    holders: tuple[Holder, ...] = ()
    unknown_gpus: frozenset[str] = frozenset()
    owners: tuple[PodOwnership, ...] = ()
    health: tuple[SourceHealth, ...] = ()
    awake: Nanoseconds | None = None
    boot: str = ""
    incomplete: bool = False
    gateways: tuple[GatewayReading, ...] = ()
    unread: tuple[UnreadServer, ...] = ()


class FailureReason(StrEnum):
    """Why a source could not be read: a value of the label `reason` of source errors.

    Failures of servers have an `UnreadReason` where it is finer.
    """

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    TLS = "tls"
    TOKEN_FILE = "token_file"  # noqa: S105 - a reason
    REDIRECT = "redirect"
    ENCODING = "encoding"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    IMPLAUSIBLE = "implausible"
    UNREADABLE = "unreadable"
    HTTP_STATUS = "http_status"
    REFUSED = "refused"
    ABSENT = "absent"
    CLOSED = "closed"
    EXHAUSTED = "exhausted"
    DENIED = "denied"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    UNIMPLEMENTED = "unimplemented"
    NODE_NAME = "node_name"
    NO_TEAMS = "no_teams"
    DUPLICATE = "duplicate"
    HUNG = "hung"
    BUSY = "busy"
    QUEUED = "queued"
    BACKOFF = "backoff"
    INTERNAL = "internal"
    NO_THREAD = "no_thread"
    NO_MEMORY = "no_memory"


class ReadFailedError(Exception):
    """A source could not read this time; the next tick tries again.

    `reason` is the value of a metric's label, the message is for people.
    """

    def __init__(self, reason: FailureReason | UnreadReason | str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AccessDeniedError(ReadFailedError):
    """This process may not ask, and nobody said that it should: less is known, and nothing is broken."""


class MustRestartError(Exception):
    """A source found a state that only a new process can leave; the daemon exits with this message."""


T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Something that is read. Reading is bounded in time and never changes what is read."""

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        ...

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Failures that did not cost the last reading, by reason."""
        ...

    def read(self) -> T_co:
        """Read once.

        Raises:
            ReadFailedError: nothing could be read this time.
            MustRestartError: only a new process can read again.
        """
        ...

    def close(self) -> None:
        """Let go of what is held. Idempotent."""
        ...
