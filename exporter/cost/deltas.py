"""What a server's counters moved by since the last good read: per series first, then summed."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from exporter.cost.state import EndpointState
from exporter.readings import CounterReading, Quantity, ServerReading
from exporter.units import LARGEST_COUNT, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

FALLS_OF_A_RESTART: Final = 3
"""Good reads in a row with a series below its mark that make a restart; fewer are bad reads."""

CLOCKS_APART: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""How much the clock of a server's host may be behind this one's."""

Moved = dict[tuple[str, Quantity], float]
"""What moved, by model and quantity."""


def endpoint(
    before: EndpointState | None, reading: ServerReading, wall: Instant
) -> tuple[EndpointState, Moved, bool]:
    """Advance one endpoint's marks.

    A read that fails leaves the marks: what it missed arrives with the next good one.
    An endpoint not read before sets marks only, unless its process started while it was watched.
    Another identity is a restart, and every series counts from zero. But a process that ran already when
    another one answered takes turns with it behind one address, and sets marks only. A series whose fall
    lasts three reads counts from zero as well: it alone, since one page may speak for several engines (ranks,
    replicas) of which one restarted.
    While a fall is younger than that the whole page is suspect and counts nothing.

    Returns:
        The new marks, what moved, and whether the process was restarted.
    """
    if before is None:
        before = EndpointState(reading.key, watched_since=min(wall, reading.absent_at or wall))
    elif before.key != reading.key:
        # Renamed, or another server at this address: where identities tell which, nothing is lost.
        told = before.identity and (reading.identity or not reading.up)
        before = replace(before if told else EndpointState(reading.key, wall), key=reading.key)
    if not reading.up:
        return before, {}, False
    after = replace(
        before,
        read=True,
        identity=reading.identity or before.identity,
        falls=0,
        answered=wall,
        youngest=max(before.youngest, reading.started or 0),
    )
    if not before.read:
        seen_to_start = reading.started is not None and reading.started >= before.watched_since
        return _count(after, reading, {} if seen_to_start else None)
    if before.identity and reading.identity and before.identity != reading.identity:
        if ran_before(before, reading, wall):
            return _count(replace(after, marks={}), reading, None)
        return _count(replace(after, marks={}), reading, {}, restarted=True)
    fell = {counter.series for counter in _counts(reading) if _fell(counter, before.marks)}
    if fell and before.falls + 1 < FALLS_OF_A_RESTART:
        return replace(before, falls=before.falls + 1), {}, False
    kept = {series: mark for series, mark in before.marks.items() if series not in fell}
    return _count(after, reading, kept, restarted=bool(fell))


def ran_before(before: EndpointState, reading: ServerReading, wall: Instant) -> bool:
    """Whether the process that answers ran already when another one did, and so is no restart of that.

    What a clock that was set back since would say of it is not believed.
    """
    started = reading.started
    if not reading.up or started is None or reading.identity == before.identity:
        return False
    if before.answered <= wall and started < before.answered - CLOCKS_APART:
        return True
    return before.youngest <= wall and started <= before.youngest


def _counts(reading: ServerReading) -> Iterator[CounterReading]:
    return (counter for counter in reading.counters if 0 <= counter.value <= LARGEST_COUNT)


def _fell(counter: CounterReading, marks: Mapping[str, float]) -> bool:
    return counter.value < marks.get(counter.series, 0.0)


def _count(
    after: EndpointState,
    reading: ServerReading,
    marks: Mapping[str, float] | None,
    *,
    restarted: bool = False,
) -> tuple[EndpointState, Moved, bool]:
    """Take deltas against marks (`None`: set marks only). A series new to a known process began at zero."""
    moved: Moved = {}
    marked: dict[str, float] = {}
    for counter in _counts(reading):
        # One series may feed two quantities: cached tokens come out of the prompt counter and stand alone.
        marked[counter.series] = counter.value
        if marks is not None:
            key = counter.model, counter.quantity
            delta = counter.sign * (counter.value - marks.get(counter.series, 0.0))
            moved[key] = moved.get(key, 0.0) + delta
    return replace(after, marks={**after.marks, **marked}), moved, restarted
