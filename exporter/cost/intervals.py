"""What time a tick charges: the one since the last tick, or a gap that nobody watched.

A gap is a tick longer than three intervals and a minute: the daemon was down, the host was, or it slept.
It is charged to the last known holders. Owned hardware, overheads and leases cost all of it; hourly rent
what the host was up, which is known only as far as boots and suspend tell.
Books that are the first of a boot charge hourly rent since that boot: the cloud did.
"""

from dataclasses import dataclass
from typing import Final

from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.readings import Frame
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
)

REBOOT: Final[Nanoseconds] = 15 * NANOSECONDS_PER_MINUTE
"""A host that was down no longer than this was rebooted; no cloud stopped billing it."""

LATEST_FIRST_TICK: Final = NANOSECONDS_PER_HOUR
"""Later than this after a boot, new books say nothing about who kept the host's money before."""

INTERVALS_AFTER_LAST_TICK: Final = 2
"""How long a host that went down is taken to have been up after its last tick."""

SHORTEST_SUSPEND: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Boot time and awake time are read one after the other; less than this is no suspend."""

TimeRange = tuple[Instant, Instant]


@dataclass(frozen=True, slots=True)
class ChargedInterval:
    """The wall time [start, end) that a tick charges.

    `observed` is false for a gap. `up` are the stretches that hourly rent is charged for.
    `uncharged` is the time before `start` that is too long to be believed.
    `rebooted`: counters of the driver began anew in it.
    `hourly_only`: nothing but hourly rent is charged for it, and only on GPUs that are rented so.
    `booted` is when the boot in it began, `None` where there was none.
    """

    start: Instant
    end: Instant
    observed: bool
    up: tuple[TimeRange, ...]
    uncharged: Nanoseconds = 0
    rebooted: bool = False
    hourly_only: bool = False
    booted: Instant | None = None

    @property
    def length(self) -> Nanoseconds:
        """How long it is."""
        return self.end - self.start

    def up_between(self, since: Instant, until: Instant) -> Nanoseconds:
        """How much of a stretch the host was up."""
        return sum(max(0, min(until, end) - max(since, start)) for start, end in self.up)


def rebooted(state: State, frame: Frame) -> bool:
    """Whether the last tick was in another boot, so that only the wall clocks tell the time between."""
    return state.elapsed is not None and state.boot != frame.boot


def since_boot(state: State, frame: Frame, terms: CostPolicy) -> ChargedInterval | None:
    """The time from boot to a frame, for books that are the first of that boot; `None` for all others.

    It is charged with the first frame that tells of a GPU, by hourly rent alone, and only within an hour
    of the boot. All else accrues from the next tick on.
    """
    if (
        not state.fresh_in
        or state.fresh_in != frame.boot
        or not frame.gpus
        or frame.elapsed >= LATEST_FIRST_TICK
    ):
        return None
    start, uncharged = _bounded(frame.wall, frame.elapsed, terms)
    asleep = 0 if frame.awake is None else frame.elapsed - frame.awake
    awake_since = start if asleep < SHORTEST_SUSPEND else start + asleep
    up = ((awake_since, frame.wall),)
    return ChargedInterval(start, frame.wall, observed=False, up=up, uncharged=uncharged, hourly_only=True)


def since_last(state: State, frame: Frame, terms: CostPolicy) -> ChargedInterval | None:
    """The interval that ends with a frame; `None` without a last tick.

    Within one boot its length is the boot clock's difference, so that a wall clock that is stepped changes
    no money. Across boots it is the wall clock's, at least the time since this boot where it is known to have
    begun after the last tick, and at most `gap_max`.
    """
    if state.elapsed is None:
        return None
    if rebooted(state, frame):
        # Another machine may have been up when this ledger's last tick was taken.
        proven = frame.elapsed if state.same_machine and state.boot and frame.boot else 0
        return None if state.wall is None else _across_boots(state.wall, frame, proven, terms)
    length = max(0, frame.elapsed - state.elapsed)
    start, uncharged = _bounded(frame.wall, length, terms)
    asleep = 0
    if state.awake is not None and frame.awake is not None:
        asleep = length - max(0, frame.awake - state.awake)
    awake_since = start if asleep < SHORTEST_SUSPEND else max(start, frame.wall - (length - asleep))
    observed = length <= terms.gap_after
    return ChargedInterval(start, frame.wall, observed, ((awake_since, frame.wall),), uncharged)


def _across_boots(last: Instant, frame: Frame, proven: Nanoseconds, terms: CostPolicy) -> ChargedInterval:
    # A wall clock that came up behind tells less than the boot clock proves.
    start, uncharged = _bounded(frame.wall, max(proven, frame.wall - last), terms)
    booted = min(frame.wall, max(last, frame.wall - frame.elapsed))
    up: tuple[TimeRange, ...] = ((start, frame.wall),)
    if booted - last > REBOOT:
        lingered = min(booted, last + INTERVALS_AFTER_LAST_TICK * terms.interval)
        up = ((max(start, last), max(start, lingered)), (max(start, booted), frame.wall))
    return ChargedInterval(
        start, frame.wall, observed=False, up=up, uncharged=uncharged, rebooted=True, booted=booted
    )


def _bounded(end: Instant, length: Nanoseconds, terms: CostPolicy) -> tuple[Instant, Nanoseconds]:
    charged = min(length, terms.gap_max)
    return end - charged, length - charged
