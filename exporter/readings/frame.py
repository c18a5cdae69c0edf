"""Frame: all readings of one tick; and the protocol of their sources."""

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, Protocol, TypeAlias, TypeVar

from exporter.frozen import dataclass
from exporter.readings.failures import FailureReason, UnreadServer
from exporter.readings.hardware import NO_EVIDENCE, GpuEvidence, GpuReading
from exporter.readings.serving import GatewayReading, Holder, PodOwnership, ServerKey, ServerReading
from exporter.units import Instant, Nanoseconds

ErrorCounts: TypeAlias = tuple[tuple[str, int], ...]
"""Failures that did not cost a reading: each reason with its count."""


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """Result of reading one source in one tick; `reason` is empty when `up`."""

    source: str
    up: bool
    duration: Nanoseconds
    reason: FailureReason | Literal[""] = ""
    errors: ErrorCounts = ()
    expected: bool = True
    """False where access is denied and the configuration does not require it: such a source is not shown."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All readings of one tick, and when it was taken.

    `gpus` is `None` while NVML does not answer (hung, upgrading): unknown, which is not "no GPUs".
    `servers` has every endpoint that is read, those that did not answer included.
    `unknown_gpus` are the UUIDs of GPUs whose holders no source could name: their last holders stay.
    `incomplete`: processes or pods could not be listed, so that servers may be here that `servers` lacks.
    `owners` has servers whose labels were read; other servers keep their last owner.
    `gateways` has every gateway that divides a server, those that did not answer included.
    `unread` are the servers that should be read and are not, with or without an endpoint.
    `evidence` is what the host shows of its GPUs beside their list.
    `elapsed` counts from the boot that `boot` names; `awake` leaves out suspended time, where known.
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
    users: Mapping[ServerKey, int] = field(default_factory=dict)
    """The user ids of servers whose processes are visible."""
    evidence: GpuEvidence = NO_EVIDENCE


T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Something that is read. A read is bounded in time and changes nothing."""

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        ...

    @property
    def errors(self) -> ErrorCounts:
        """Partial failures of the last reading; empty after a failed one."""
        ...

    def read(self) -> T_co:
        """Read once.

        Raises:
            ReadFailedError: nothing could be read this time.
            MustRestartError: only a new process can read again.
        """
        ...

    def close(self) -> None:
        """Release connections and files. Idempotent."""
        ...
