"""The time that a tick charges, in parts. Pure.

`tick_time` finds the interval (`IntervalKind`), and `charged_parts` cuts it:

    observed     since the last tick
    gap          since the last tick, more than three intervals and a minute ago: daemon or host were down, or
                 the host slept
    since boot   of a new ledger, since the boot of the host

Owned hardware, overheads and leases cost all of an interval. Hourly rent costs the time with the host up
(`ChargedInterval.up`), as far as boots and suspends show it.
"""

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from exporter.cost.inventory import GpuInventory
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
"""A start and an end."""


class IntervalKind(Enum):
    """The kind of an interval decides which GPUs pay for it, and which rates."""

    OBSERVED = "observed"
    """GPUs and holders at the end of the interval pay all rates."""
    GAP = "gap"
    """GPUs and holders at the start of the interval pay all rates."""
    SINCE_BOOT = "since boot"
    """GPUs at the end of the interval pay hourly rent alone. Their holders are not known."""


@dataclass(frozen=True, slots=True)
class ChargedInterval:
    """The wall time [start, end) that a tick charges."""

    start: Instant
    end: Instant
    """The wall time of the tick."""
    kind: IntervalKind
    """Which GPUs pay for the interval, and which rates."""
    up: tuple[TimeRange, ...]
    """The times with the host up, which cost hourly rent."""
    uncharged: Nanoseconds = 0
    """Time before `start` that is never charged: the policy's `gap_max` bounds an interval."""
    booted: Instant | None = None
    """The boot in a gap, `None` without one. A boot resets the counters of drivers and servers."""

    @property
    def length(self) -> Nanoseconds:
        """The length of the interval."""
        return self.end - self.start

    def up_between(self, since: Instant, until: Instant) -> Nanoseconds:
        """The time with the host up in [since, until)."""
        return sum(max(0, min(until, end) - max(since, start)) for start, end in self.up)


@dataclass(frozen=True, slots=True)
class TickTime:
    """The times of one tick: what its segments charge, and when its energy and its tokens began."""

    charged: ChargedInterval | None
    """The interval that the segments charge; `None`: the tick charges nothing."""
    elapsed: Nanoseconds
    """The charged time since the last tick, 0 without a last tick. Trailing sums decay over it."""
    metered: Nanoseconds | None
    """The time that energy was drawn in; `None`: energy is metered from this tick on."""
    tokens_since: Instant | None
    """The start of the time that the tokens are of; `None`: the start of the segments."""


def tick_time(state: State, frame: Frame, policy: CostPolicy, *, charges_gpus: bool) -> TickTime:
    """The times of the tick of a frame, on a host that has GPUs to charge or none."""
    interval = since_last(state, frame, policy)
    boot = since_boot(state, frame, policy) if charges_gpus else None
    elapsed = 0 if interval is None else interval.length
    if boot is not None:
        # The tick charges hourly rent since the boot, and everything else from its end on: energy, too.
        return TickTime(boot, elapsed, metered=None, tokens_since=state.wall)
    if interval is None:
        return TickTime(None, elapsed, metered=None, tokens_since=None)
    tokens_since = interval.booted
    if interval.uncharged and interval.booted is None:
        tokens_since = interval.start - interval.uncharged
    return TickTime(interval, elapsed, metered=elapsed, tokens_since=tokens_since)


def since_boot(state: State, frame: Frame, policy: CostPolicy) -> ChargedInterval | None:
    """The time from the boot to a frame, in the first ledger of that boot; `None` in all other ledgers.

    The first frame with a GPU to charge has it, within an hour of the boot.
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
    """The interval from the last tick to a frame; `None` without a last tick.

    Within one boot its length is the difference of the boot clock, so that a step of the wall clock changes
    no money.
    """
    if state.elapsed is None:
        return None
    if state.rebooted(frame):
        return _across_boots(state, frame, policy)
    length = max(0, frame.elapsed - state.elapsed)
    start, uncharged = _bounded(frame.wall, length, policy)
    asleep = 0
    if state.awake is not None and frame.awake is not None:
        asleep = length - max(0, frame.awake - state.awake)
    awake_since = start if asleep < SUSPEND_MIN else max(start, frame.wall - (length - asleep))
    kind = IntervalKind.OBSERVED if length <= policy.gap_after else IntervalKind.GAP
    return ChargedInterval(start, frame.wall, kind, ((awake_since, frame.wall),), uncharged)


def _across_boots(state: State, frame: Frame, policy: CostPolicy) -> ChargedInterval | None:
    """The gap from a tick of an earlier boot to a frame; `None`: that tick has no wall time.

    Its length is the difference of the wall clock: at most `gap_max`, and at least the time since this boot,
    if the boot is known to have begun after the last tick.
    """
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
        went_down = min(booted, last + INTERVALS_AFTER_LAST_TICK * policy.interval)
        up = ((max(start, last), max(start, went_down)), (max(start, booted), frame.wall))
    return ChargedInterval(start, frame.wall, IntervalKind.GAP, up, uncharged, booted=booted)


def _bounded(end: Instant, length: Nanoseconds, policy: CostPolicy) -> tuple[Instant, Nanoseconds]:
    """The start of an interval that ends then, and the time before it beyond `gap_max`."""
    charged = min(length, policy.gap_max)
    return end - charged, length - charged


def split_interval(
    start: Instant, end: Instant, tariff: Tariff, zone: ZoneInfo, cut_at: Instant | None = None
) -> list[TimeRange]:
    """Consecutive parts of [start, end), each inside one local day (and its month), one price and one minute.

    They are cut at `cut_at`, too. A tick of an hour or longer is cut by the hour: no figure of the last hour
    needs its minutes.
    """
    grain = NANOSECONDS_PER_MINUTE if end - start < NANOSECONDS_PER_HOUR else NANOSECONDS_PER_HOUR
    cuts = {start, end, *tariff.changes(start, end)}
    midnight = day_of(start, zone).end
    while midnight < end:
        cuts.add(midnight)
        midnight = day_of(midnight, zone).end
    if cut_at is not None and start < cut_at < end:
        cuts.add(cut_at)
    cuts.update(starts_within(start, end, grain))
    return list(pairwise(sorted(cuts)))


def starts_within(since: Instant, until: Instant, grain: Nanoseconds) -> range:
    """The starts of minutes in [since, until), or of hours, by the length `grain`."""
    first = (since + grain - 1) // grain * grain
    return range(first, until, grain)


class IntervalPart(NamedTuple):
    """A part of a charged interval, inside one local day, one price and one minute."""

    start: Instant
    end: Instant
    up: Nanoseconds
    """The time of the part that costs hourly rent."""
    drawn_before: Nanoseconds
    """The time in which energy was drawn, from the start of the interval to the start of the part."""
    drawn_until: Nanoseconds
    """The time in which energy was drawn, from the start of the interval to the end of the part."""
    drawn_in_all: Nanoseconds
    """The time in which energy was drawn, in the whole interval."""


def interval_parts(
    interval: ChargedInterval, tariff: Tariff, zone: ZoneInfo, cut_at: Instant | None
) -> tuple[IntervalPart, ...]:
    """The parts of an interval, in order, as `split_interval` cuts it."""
    start = interval.start
    is_ever_up = interval.up_between(start, interval.end) > 0

    def drawn_until(at: Instant) -> Nanoseconds:
        """Energy was drawn while the host was up. A host that never was up drew it at any time."""
        return interval.up_between(start, at) if is_ever_up else at - start

    return tuple(
        IntervalPart(
            start=since,
            end=until,
            up=interval.up_between(since, until),
            drawn_before=drawn_until(since),
            drawn_until=drawn_until(until),
            drawn_in_all=drawn_until(interval.end),
        )
        for since, until in split_interval(start, interval.end, tariff, zone, cut_at)
    )


class ChargedParts(NamedTuple):
    """The interval that a tick charges, cut into parts that become a segment each."""

    parts: tuple[IntervalPart, ...]
    """The parts in order; none where the tick charges nothing."""
    released_until: Instant | None
    """Until when GPUs pay that left the host in a gap; `None`: for all of the gap."""


def charged_parts(
    charged: ChargedInterval | None, before: State, inventory: GpuInventory, zone: ZoneInfo
) -> ChargedParts:
    """The parts of the interval that a tick charges, and until when GPUs pay that left the host in a gap.

    Of 8 GPUs a boot in the gap leaves 6: 8 pay until that boot, and 6 from that boot on. Where as many GPUs
    came as left, nobody saw when: the old GPUs pay for all of the gap, and the new GPUs from its end on.
    """
    # A host without a sign of a GPU is not metered, unless it was charged for unseen GPUs until now.
    is_metered = inventory.gpu_host or bool(before.unseen)
    if charged is None or not charged.length or not is_metered:
        return ChargedParts((), None)
    has_fewer = len(inventory.listed) + len(inventory.lost) < len(before.gpus)
    released_until = charged.booted if has_fewer else None
    return ChargedParts(interval_parts(charged, inventory.tariff, zone, released_until), released_until)
