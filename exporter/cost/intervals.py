"""The time that a tick charges: since the last tick, or a gap without ticks. Pure.

A gap is a tick longer than three intervals and a minute: the daemon was down, the host was, or it slept.
It is charged to the last known holders. Owned hardware, overheads and leases cost all of it. Hourly rent
costs the time that the host was up, as far as boots and suspends show it.
The first ledger of a boot charges hourly rent since that boot, as the cloud did.
"""

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from exporter.cost.inventory import GpuInventory
from exporter.cost.money import part_between
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.readings import Frame
from exporter.tariff.calendar import day_of
from exporter.tariff.tariff import Tariff
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
    Millijoules,
    Nanoseconds,
)

REBOOT_MAX_DOWNTIME: Final[Nanoseconds] = 15 * NANOSECONDS_PER_MINUTE
"""A shorter downtime is a reboot, which no cloud stops billing for."""

LATEST_FIRST_TICK: Final = NANOSECONDS_PER_HOUR
"""Uptime above which a new ledger charges nothing before it: another one may have."""

INTERVALS_AFTER_LAST_TICK: Final = 2
"""Uptime after the last tick that is assumed of a host that went down."""

SUSPEND_MIN: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Boot time and awake time are read one after the other; less than this is no suspend."""

TimeRange = tuple[Instant, Instant]


class IntervalKind(Enum):
    """How a charged interval is known, which decides who pays for it and what."""

    OBSERVED = "observed"
    """Since the last tick. GPUs and holders at its end pay."""
    GAP = "gap"
    """Since the last tick, too long ago. GPUs and holders of that tick pay."""
    SINCE_BOOT = "since boot"
    """Since the boot, in a new ledger. GPUs at its end pay hourly rent alone, for no holder."""


@dataclass(frozen=True, slots=True)
class ChargedInterval:
    """The wall time [start, end) that a tick charges."""

    start: Instant
    end: Instant
    kind: IntervalKind
    """Whether it was observed, is a gap, or is the time since boot."""
    up: tuple[TimeRange, ...]
    """The parts that hourly rent is charged for."""
    uncharged: Nanoseconds = 0
    """Time before `start`, beyond `gap_max`."""
    booted: Instant | None = None
    """When the boot in a gap began, `None` without a boot. It resets the counters of drivers and servers."""

    @property
    def length(self) -> Nanoseconds:
        """How long it is."""
        return self.end - self.start

    @property
    def charges_new_gpus(self) -> bool:
        """Whether GPUs that are new at its end pay for it: not for a gap, in which nobody saw them come.

        After a boot all GPUs are new, and pay for the time since.
        """
        return self.kind is not IntervalKind.GAP

    def up_between(self, since: Instant, until: Instant) -> Nanoseconds:
        """How much of a part of it the host was up."""
        return sum(max(0, min(until, end) - max(since, start)) for start, end in self.up)


@dataclass(frozen=True, slots=True)
class TickTime:
    """The times of one tick: what its segments charge, and when its energy and its tokens began."""

    charged: ChargedInterval | None
    """The interval that the segments charge, `None` where there is none."""
    elapsed: Nanoseconds
    """The charged time since the last tick, 0 without one. Trailing sums decay over it."""
    metered: Nanoseconds | None
    """The time that energy was drawn in, `None` where energy is metered from this tick on."""
    tokens_since: Instant | None
    """When the tokens began where they did not begin with the segments, else `None`."""
    is_gap: bool
    """Whether no tick observed the time: its holders are those of the last tick."""


def tick_time(state: State, frame: Frame, policy: CostPolicy, *, charges_gpus: bool) -> TickTime:
    """The times of the tick of a frame, on a host that has GPUs to charge or none."""
    interval = since_last(state, frame, policy)
    boot = since_boot(state, frame, policy) if charges_gpus else None
    elapsed = 0 if interval is None else interval.length
    is_gap = interval is not None and interval.kind is IntervalKind.GAP
    if boot is not None:
        # Nothing but hourly rent begins before a GPU is read: energy does not.
        return TickTime(boot, elapsed, metered=None, tokens_since=state.wall, is_gap=is_gap)
    if interval is None:
        return TickTime(None, elapsed, metered=None, tokens_since=None, is_gap=is_gap)
    tokens_since = interval.booted
    if interval.uncharged and interval.booted is None:
        tokens_since = interval.start - interval.uncharged
    return TickTime(interval, elapsed, metered=elapsed, tokens_since=tokens_since, is_gap=is_gap)


def since_boot(state: State, frame: Frame, policy: CostPolicy) -> ChargedInterval | None:
    """The time from boot to a frame, for the first ledger of that boot; `None` for all others.

    The first frame with a GPU to charge charges it, hourly rent alone, within an hour of the boot. All
    else accrues from the next tick on.
    """
    first_of_boot = bool(state.fresh_in) and state.fresh_in == frame.boot
    if not first_of_boot or frame.elapsed >= LATEST_FIRST_TICK:
        return None
    start, uncharged = _bounded(frame.wall, frame.elapsed, policy)
    asleep = 0 if frame.awake is None else frame.elapsed - frame.awake
    awake_since = start if asleep < SUSPEND_MIN else start + asleep
    up = ((awake_since, frame.wall),)
    return ChargedInterval(start, frame.wall, IntervalKind.SINCE_BOOT, up, uncharged)


def since_last(state: State, frame: Frame, policy: CostPolicy) -> ChargedInterval | None:
    """The interval that ends with a frame; `None` without a last tick.

    Within one boot its length is the boot clock's difference, so that a wall clock that is stepped changes
    no money. Across boots it is the wall clock's, at least the time since this boot where it is known to have
    begun after the last tick, and at most `gap_max`.
    """
    if state.elapsed is None:
        return None
    if state.rebooted(frame):
        last = state.wall
        if last is None:
            return None
        # Another machine may have been up when this ledger's last tick was taken.
        proven = frame.elapsed if state.same_machine and state.boot and frame.boot else 0
        # A wall clock that came up behind shows less than the boot clock proves.
        start, uncharged = _bounded(frame.wall, max(proven, frame.wall - last), policy)
        booted = min(frame.wall, max(last, frame.wall - frame.elapsed))
        up: tuple[TimeRange, ...] = ((start, frame.wall),)
        if booted - last > REBOOT_MAX_DOWNTIME:
            lingered = min(booted, last + INTERVALS_AFTER_LAST_TICK * policy.interval)
            up = ((max(start, last), max(start, lingered)), (max(start, booted), frame.wall))
        return ChargedInterval(start, frame.wall, IntervalKind.GAP, up, uncharged, booted=booted)
    length = max(0, frame.elapsed - state.elapsed)
    start, uncharged = _bounded(frame.wall, length, policy)
    asleep = 0
    if state.awake is not None and frame.awake is not None:
        asleep = length - max(0, frame.awake - state.awake)
    awake_since = start if asleep < SUSPEND_MIN else max(start, frame.wall - (length - asleep))
    kind = IntervalKind.OBSERVED if length <= policy.gap_after else IntervalKind.GAP
    return ChargedInterval(start, frame.wall, kind, ((awake_since, frame.wall),), uncharged)


def _bounded(end: Instant, length: Nanoseconds, policy: CostPolicy) -> tuple[Instant, Nanoseconds]:
    charged = min(length, policy.gap_max)
    return end - charged, length - charged


def split_interval(
    start: Instant, end: Instant, tariff: Tariff, zone: ZoneInfo, booted: Instant | None = None
) -> list[TimeRange]:
    """Consecutive parts of [start, end), each inside one local day (and its month), one price and one minute.

    They are cut where the host `booted`, too. A tick of an hour or longer is cut by the hour: nothing prices
    a minute of it.
    """
    grain = NANOSECONDS_PER_MINUTE if end - start < NANOSECONDS_PER_HOUR else NANOSECONDS_PER_HOUR
    cuts = {start, end, *tariff.changes(start, end)}
    midnight = day_of(start, zone).end
    while midnight < end:
        cuts.add(midnight)
        midnight = day_of(midnight, zone).end
    if booted is not None and start < booted < end:
        cuts.add(booted)
    cuts.update(starts_within(start, end, grain))
    return list(pairwise(sorted(cuts)))


def starts_within(since: Instant, until: Instant, grain: Nanoseconds) -> range:
    """Where minutes begin in [since, until), or hours, by the length `grain`."""
    first = (since + grain - 1) // grain * grain
    return range(first, until, grain)


class IntervalPart(NamedTuple):
    """A part of a charged interval, inside one local day, one price and one minute."""

    start: Instant
    end: Instant
    up: Nanoseconds
    """How much of it hourly rent is charged for."""
    drawn_before: Nanoseconds
    """Time before it in which energy was drawn: while the host was up, or always where it never was."""
    drawn_until: Nanoseconds
    """Time until its end in which energy was drawn."""
    drawn_in_all: Nanoseconds
    """Time of the whole interval in which energy was drawn."""

    @property
    def length(self) -> Nanoseconds:
        """How long it is."""
        return self.end - self.start

    def share_of_energy(self, energy: Millijoules) -> Millijoules:
        """The energy that was drawn in it, of that of the whole interval; those of all parts add up to it."""
        return part_between(energy, self.drawn_before, self.drawn_until, self.drawn_in_all)


def interval_parts(
    interval: ChargedInterval, tariff: Tariff, zone: ZoneInfo, booted: Instant | None
) -> tuple[IntervalPart, ...]:
    """The parts of an interval, in order; it is cut where the host `booted`, too."""
    up_in_all = interval.up_between(interval.start, interval.end)
    parts: list[IntervalPart] = []
    for start, end in split_interval(interval.start, interval.end, tariff, zone, booted):
        part = IntervalPart(
            start,
            end,
            up=interval.up_between(start, end),
            drawn_before=start - interval.start,
            drawn_until=end - interval.start,
            drawn_in_all=interval.length,
        )
        if up_in_all:
            up_before = interval.up_between(interval.start, start)
            up_until = up_before + part.up
            part = part._replace(drawn_before=up_before, drawn_until=up_until, drawn_in_all=up_in_all)
        parts.append(part)
    return tuple(parts)


class ChargedParts(NamedTuple):
    """The interval that a tick charges, cut into parts that become a segment each."""

    parts: tuple[IntervalPart, ...]
    """In order; none where nothing is charged."""
    released_until: Instant | None
    """Until when GPUs pay that left the host in a gap; `None`: for all of it."""


def charged_parts(
    charged: ChargedInterval | None, before: State, inventory: GpuInventory, zone: ZoneInfo
) -> ChargedParts:
    """The parts of the interval that a tick charges, and until when GPUs pay that left the host in a gap.

    Of 8 GPUs a boot in the gap leaves 6: 8 pay until that boot, and 6 from it on. Where as many came as left,
    nobody saw when: those that left pay until the end of the gap, and those that came from it on.
    """
    # A host without a sign of a GPU is not metered, unless it was charged for unseen GPUs until now.
    is_metered = inventory.gpu_host or bool(before.unseen)
    if charged is None or not charged.length or not is_metered:
        return ChargedParts((), None)
    has_fewer = len(inventory.listed) + len(inventory.lost) < len(before.gpus)
    released_until = charged.booted if has_fewer else None
    return ChargedParts(interval_parts(charged, inventory.tariff, zone, released_until), released_until)
