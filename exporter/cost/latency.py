"""Observations of latency histograms since the last good read, and how many of them met an objective."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Final, NamedTuple

from exporter.cost.counters import (
    ALLOWANCE_MIN,
    MARK_AGE_MAX,
    MOST_PER_SECOND,
    RESETS_AFTER_READS,
    started_since,
    took_turns,
)
from exporter.cost.state import NO_LATENCIES, EndpointState, LatencyMark, LatencyState
from exporter.frozen import dataclass, replace
from exporter.readings import LatencyBasis, LatencyReading, Objective, ServerReading
from exporter.units import NANOSECONDS_PER_SECOND, Instant

MARKS_MAX: Final = 1024
"""Marks of histograms of one endpoint; those that left its page are dropped first."""


class LatencyCount(NamedTuple):
    """Observations: those that met an objective, at least and at most, and all."""

    lower: float = 0.0
    upper: float = 0.0
    total: float = 0.0

    def plus(self, other: "LatencyCount") -> "LatencyCount":
        """Both together."""
        return LatencyCount(self.lower + other.lower, self.upper + other.upper, self.total + other.total)


LatencyKey = tuple[str, Objective, LatencyBasis]
"""Model, objective, and what one observation is."""


@dataclass(frozen=True, slots=True)
class LatencyTick:
    """The marks of an endpoint's histograms after one read, and its observations since the last good one."""

    state: LatencyState
    counts: Mapping[LatencyKey, LatencyCount] = field(default_factory=dict)


_WITHOUT: Final = LatencyTick(NO_LATENCIES)
"""That of an endpoint without a service level."""


def latency_deltas(before: EndpointState | None, reading: ServerReading, wall: Instant) -> LatencyTick:
    """Advance the marks of an endpoint's histograms, and take their differences.

    The rules are those of `endpoint_deltas`, for the three counters of a histogram together. A failed read
    leaves the marks. A first one only sets them, unless the process was seen to start. Another identity
    counts from zero, and so does a histogram that is below its mark for three reads. One whose bounds changed
    within a process, by another objective, only sets its mark, and so does one of an added objective. A page
    that rose by more than any server counts moves no mark.
    """
    state = _WITHOUT.state if before is None else before.latency
    renamed = before is not None and before.key != reading.key
    if renamed and not (state.identity and (reading.identity or not reading.up)):
        state = LatencyState()  # of another server
    if not reading.up:
        return LatencyTick(state)
    if reading.slo is None:
        return _WITHOUT
    since = _asked_since(before, reading, wall) if state.since is None else state.since
    state = replace(state, since=since)
    if reading.latencies is None:
        return LatencyTick(state)
    after = replace(
        state,
        read=True,
        identity=reading.identity or state.identity,
        falls=0,
        answered=wall,
        objectives=tuple(reading.slo.seconds()),
    )
    baseline = not state.read and not started_since(reading, since, wall)
    marks, dropped = state.marks, state.dropped
    if state.read and state.identity and reading.identity and state.identity != reading.identity:
        marks, dropped = {}, False
        baseline = before is not None and took_turns(before, reading, wall)
    fell = {each.series for each in reading.latencies if _fell(marks.get(each.series), each)}
    if fell and state.falls + 1 < RESETS_AFTER_READS:
        return LatencyTick(replace(state, falls=state.falls + 1))
    known = {series: mark for series, mark in marks.items() if series not in fell}
    counts: dict[LatencyKey, LatencyCount] = {}
    for each in reading.latencies:
        key = (each.model, each.objective, each.basis)
        added = state.read and each.objective not in state.objectives
        mark = known.get(each.series)
        count = LatencyCount() if baseline or added else _since(mark, each, dropped=dropped)
        counts[key] = counts.get(key, LatencyCount()).plus(count)
    last = state.answered if state.read else since
    most = MOST_PER_SECOND * max(wall - last, ALLOWANCE_MIN) / NANOSECONDS_PER_SECOND
    marks_now, full = _marks_after(marks, reading.latencies, wall)
    if sum(count.total for count in counts.values()) > most:
        counts = dict.fromkeys(counts, LatencyCount())
        marks_now |= {each.series: marks[each.series] for each in reading.latencies if each.series in marks}
    return LatencyTick(replace(after, marks=marks_now, dropped=dropped or full), counts)


def _asked_since(before: EndpointState | None, reading: ServerReading, wall: Instant) -> Instant:
    """Since when the histograms were asked for. Until its first answer that is as long as the endpoint."""
    if before is None:
        return min(wall, reading.absent_at or wall)
    return wall if before.read or before.key != reading.key else before.watched_since


def _fell(mark: LatencyMark | None, each: LatencyReading) -> bool:
    """Whether a histogram on the page is below its mark. One that was away may come back lower: it is new."""
    if mark is None or mark.gone is not None:
        return False
    same = (mark.floor, mark.ceiling) == (each.floor, each.ceiling)
    return each.total < mark.total or (same and (each.lower < mark.lower or each.upper < mark.upper))


def _since(mark: LatencyMark | None, each: LatencyReading, *, dropped: bool) -> LatencyCount:
    """What a histogram counted since its mark; without one, since it began."""
    whole = LatencyCount(each.lower, each.upper, each.total)
    if mark is None:
        return LatencyCount() if dropped else whole
    if mark.gone is not None and each.total < mark.total:
        return whole
    if (mark.floor, mark.ceiling) != (each.floor, each.ceiling):
        return LatencyCount()
    lower, upper, total = each.lower - mark.lower, each.upper - mark.upper, each.total - mark.total
    # Its buckets are of one moment, and each observation is in all buckets above it.
    return LatencyCount(lower, upper, total) if 0 <= lower <= upper <= total else LatencyCount()


def _marks_after(
    marks: Mapping[str, LatencyMark], readings: Iterable[LatencyReading], wall: Instant
) -> tuple[dict[str, LatencyMark], bool]:
    """Marks of this page, and of histograms that left it within a day; whether some were dropped."""
    here = {
        each.series: LatencyMark(each.floor, each.ceiling, each.lower, each.upper, each.total)
        for each in readings
    }
    gone = {
        series: replace(mark, gone=wall if mark.gone is None else min(mark.gone, wall))
        for series, mark in marks.items()
        if series not in here
    }
    last_first = sorted(gone, key=lambda series: gone[series].gone or 0, reverse=True)
    recent = [series for series in last_first if wall - (gone[series].gone or 0) <= MARK_AGE_MAX]
    room = max(0, MARKS_MAX - len(here))
    return here | {series: gone[series] for series in recent[:room]}, len(recent) > room
