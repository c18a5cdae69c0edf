"""Rests: servers that hold GPUs and serve nothing, for good or at hours of the week. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from exporter.advice.finding import Rest, Saving, claim
from exporter.advice.hours import (
    WEEK_HOURS,
    HostUsage,
    JudgedServer,
    ServerHours,
    hour_of_week,
    local_minute,
)
from exporter.frozen import replace
from exporter.readings import ServerKey
from exporter.units import Nanoseconds

SCHEDULE_HOURS: Final = 2 * WEEK_HOURS
"""History from which a schedule is judged: each hour of the week twice."""

LEAST_REST: Final = 4
"""Hours in a row that are worth a stop and a start."""


def silent_hours(host: HostUsage, hours: ServerHours) -> int:
    """Hours in a row, up to the last one, in which a server rested."""
    count = 0
    while host.last - count in hours and hours[host.last - count].rests:
        count += 1
    return count


def rests_weekly(host: HostUsage, hours: ServerHours) -> bool:
    """Whether each hour of the silence up to now rested a week before, too: a weekend is no desertion.

    A silence of a week or more is none of each week: it would not have begun.
    """
    silent = silent_hours(host, hours)
    before = (host.last - count - WEEK_HOURS for count in range(silent))
    return all(hour in hours and hours[hour].rests for hour in before)


def deserted(host: HostUsage, key: ServerKey, server: JudgedServer) -> Saving:
    """The hours since a server fell silent."""
    silent = silent_hours(host, server.hours)
    claimed = sum(server.hours[hour].idle for hour in range(host.last + 1 - silent, host.last + 1))
    return replace(claim("deserted", host, key, claimed, server), window_hours=silent, silent_hours=silent)


def schedule(
    host: HostUsage,
    key: ServerKey,
    server: JudgedServer,
    zone: ZoneInfo,
    taken: Mapping[int, Nanoseconds],
) -> tuple[Saving, frozenset[int]] | None:
    """Hours of the week in which a server rested every time, in rows of `LEAST_REST` or more.

    `taken` is idle time of an hour that is claimed already. Returns the hours that it claims, too.
    A server younger than that has none: of some days it has two, and of others one.
    """
    if server.age(host) < SCHEDULE_HOURS:
        return None
    hours = server.hours
    slots: dict[int, list[int]] = {}
    for hour in hours:
        slots.setdefault(hour_of_week(hour, zone), []).append(hour)
    resting = {
        slot for slot, same in slots.items() if len(same) > 1 and all(hours[hour].rests for hour in same)
    }
    minute = local_minute(host.last, zone)
    rests = tuple(Rest(start, length, minute) for start, length in _rows(resting))
    covered = {(rest.start + offset) % WEEK_HOURS for rest in rests for offset in range(rest.length)}
    chosen = frozenset(hour for slot in covered for hour in slots[slot])
    claimed = sum(hours[hour].idle - taken.get(hour, 0) for hour in chosen)
    if not claimed:
        return None
    return replace(claim("schedule", host, key, claimed, server), rests=rests), chosen


def _rows(resting: set[int]) -> Iterator[tuple[int, int]]:
    """Start and length of rows of hours, around the end of the week too."""
    if len(resting) == WEEK_HOURS:
        yield 0, WEEK_HOURS
        return
    for start in sorted(resting):
        if (start - 1) % WEEK_HOURS in resting:
            continue
        length = 1
        while (start + length) % WEEK_HOURS in resting:
            length += 1
        if length >= LEAST_REST:
            yield start, length
