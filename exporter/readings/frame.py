"""Frame: all readings of one tick; and the protocol of their sources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, TypeVar

from exporter.readings.failures import FailureReason, UnreadServer
from exporter.readings.hardware import NO_EVIDENCE, GpuEvidence, GpuReading
from exporter.readings.serving import GatewayReading, Holder, PodOwnership, ServerKey, ServerReading
from exporter.units import Instant, Nanoseconds

ErrorCounts: TypeAlias = tuple[tuple[str, int], ...]
"""Failures that did not cost a reading: each reason with its count."""


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """Result of reading one source in one tick."""

    source: str
    up: bool
    duration: Nanoseconds
    reason: FailureReason | Literal[""] = ""
    """Empty when `up`."""
    errors: ErrorCounts = ()
    expected: bool = True
    """False where access is denied and the configuration does not require it: such a source is not shown."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All readings of one tick, and when it was taken."""

    elapsed: Nanoseconds
    """Time since the boot that `boot` names."""
    wall: Instant
    gpus: tuple[GpuReading, ...] | None
    """`None` while NVML does not answer (hung, upgrading): unknown, which is not "no GPUs"."""
    servers: tuple[ServerReading, ...] = ()
    """Every endpoint that is read, those that did not answer included."""
    holders: tuple[Holder, ...] = ()
    unknown_gpus: frozenset[str] = frozenset()
    """UUIDs of GPUs whose holders no source could name: their last holders stay."""
    owners: tuple[PodOwnership, ...] = ()
    """Servers whose labels were read; other servers keep their last owner."""
    health: tuple[SourceHealth, ...] = ()
    awake: Nanoseconds | None = None
    """Time since boot without suspended time, where known."""
    boot: str = ""
    incomplete: bool = False
    """Whether processes or pods could not be listed, so that servers may be here that `servers` lacks."""
    gateways: tuple[GatewayReading, ...] = ()
    """Every gateway that divides a server, those that did not answer included."""
    unread: tuple[UnreadServer, ...] = ()
    """Servers that should be read and are not, with or without an endpoint."""
    users: Mapping[ServerKey, int] = field(default_factory=dict)
    """The user ids of servers whose processes are visible."""
    evidence: GpuEvidence = NO_EVIDENCE
    """What the host shows of its GPUs beside their list."""


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

    @property
    def may_be_slow(self) -> bool:
        """Whether it reads something remote, which the reads of other sources do not wait for."""
        ...

    @property
    def waited(self) -> Nanoseconds:
        """How long the last read waited for other reads of this process."""
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


class QuickSource:
    """What most sources have in common: no read waits for another one, and nothing is open between reads."""

    errors: ErrorCounts = ()
    may_be_slow: bool = False
    waited: Nanoseconds = 0

    def close(self) -> None:
        """Nothing is open between reads."""
