"""Counter deltas of servers and gateways since their last good read, series by series."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, cast

from exporter.cost.state import CounterMarks, EndpointState, GatewayConsumer, GatewayState
from exporter.readings import (
    CROWDED,
    CounterColumns,
    CounterReading,
    GatewayCount,
    GatewayCounter,
    GatewayReading,
    Quantity,
    SeriesColumns,
    ServerReading,
    digest,
)
from exporter.units import (
    LARGEST_COUNT,
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
)

FALLS_OF_A_RESTART: Final = 3
"""Good reads in a row with a series below its mark that make a restart; fewer are bad reads."""

CLOCKS_APART: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""How much the clock of a server's host may be behind this one's."""

MARKS_MAX: Final = 20_000
"""Marks of one page, as many as a page may have series. Beyond it those go that left the page first."""

MARK_AGE_MAX: Final[Nanoseconds] = NANOSECONDS_PER_DAY
"""How long the mark of a series that left the page is kept."""

MOST_PER_SECOND: Final = 100_000_000
"""Tokens a second of one endpoint above which a counter is not believed. A judgment, not a measurement: it is
meant to be a hundred times what a rack of 72 GPUs serves, prompts out of a cache included."""

SHORTEST_ALLOWANCE: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""Time that is allowed for at least, since the wall clock between two reads may have been set back."""

CounterDeltas = dict[tuple[str, Quantity], float]
"""What moved, by model and quantity."""


class RawSeries(Protocol):
    """One raw series of a page, with its value."""

    @property
    def series(self) -> str:
        """Its name and labels, or a digest of both."""
        ...

    @property
    def value(self) -> float:
        """The value on the page."""
        ...

    @property
    def created(self) -> Instant | None:
        """When it began, where the page tells."""
        ...


Name = str | int
"""What a series goes by: its name, or its digest."""


@dataclass(frozen=True, slots=True)
class SeriesDeltas:
    """What the series of one good page moved by, and the marks after it.

    A series that only sets its mark is not in `deltas`. `implausible` of them rose by more than any server
    counts: they keep their marks.
    """

    marks: CounterMarks
    deltas: Mapping[Name, float]
    implausible: int


class PageSeries:
    """The series of one good page beside the marks of those before.

    `names` are what they go by, in the page's order: by digest where either side is in columns.
    `fell`: a series that was on the last good page is below its mark.
    """

    def __init__(self, marks: CounterMarks, series: Sequence[RawSeries]) -> None:
        self._dropped = marks.dropped
        columns = series if isinstance(series, CounterColumns) else None
        self._by_digest = columns is not None or isinstance(marks.values, SeriesColumns)
        self._known, self._gone = self._unpacked(marks.values), self._unpacked(marks.gone)
        self.names: Sequence[Name]
        self._created: Mapping[Any, Instant]
        values: Sequence[float]
        if columns is not None:
            self.names, values = columns.numbers, columns.values
            # Only who dropped marks asks when a series began.
            self._created = dict(zip(self.names, columns.created, strict=False)) if self._dropped else {}
        else:
            self.names = [digest(one.series) if self._by_digest else one.series for one in series]
            values = [one.value for one in series]
            self._created = {
                name: one.created
                for name, one in zip(self.names, series, strict=True)
                if one.created is not None
            }
        self._page = {
            name: value for name, value in zip(self.names, values, strict=True) if 0 <= value <= LARGEST_COUNT
        }
        self.fell = any(
            value < self._known.get(name, 0.0) and name not in self._gone
            for name, value in self._page.items()
        )

    def _unpacked(self, values: Mapping[str, float] | SeriesColumns) -> dict[Name, float]:
        if isinstance(values, SeriesColumns):
            return cast("dict[Name, float]", values.by_digest())
        return {digest(name) if self._by_digest else name: value for name, value in values.items()}

    def compare(self, last: Instant, wall: Instant, *, baseline: bool = False) -> SeriesDeltas:
        """Take the deltas since the last good read. `baseline`: set marks only.

        A series without a mark began at zero after the last good read, since engines create series late. Once
        marks were dropped, it may be one of those, unless the page says that it began since. One below its
        mark began at zero again.
        """
        deltas: dict[Name, float] = {}
        marks = dict(self._page)
        most = MOST_PER_SECOND * max(wall - last, SHORTEST_ALLOWANCE) / NANOSECONDS_PER_SECOND
        refused: set[Name] = set()
        for name, value in self._page.items() if not baseline else ():
            mark = self._known.get(name)
            if mark is None and self._dropped and self._created.get(name, -1) <= last:
                continue
            delta = value if mark is None or value < mark else value - mark
            if delta > most:
                refused.add(name)
            else:
                deltas[name] = delta
        if sum(deltas.values()) > most:
            refused.update(deltas)
            deltas = {}
        marks.update((name, self._known[name]) for name in refused if name in self._known)
        return SeriesDeltas(self._kept(marks, wall), deltas, len(refused))

    def _kept(self, marks: dict[Name, float], wall: Instant) -> CounterMarks:
        gone: dict[Name, float] = {}
        for name in self._known:
            if name not in self._page:
                went = min(self._gone.get(name, wall), wall)  # the clock may have been set back
                if wall - went <= MARK_AGE_MAX:
                    gone[name] = went
        last_first = sorted(gone, key=gone.__getitem__, reverse=True)
        every = marks | {name: self._known[name] for name in last_first}
        kept = dict(islice(every.items(), MARKS_MAX))
        gone = {name: went for name, went in gone.items() if name in kept}
        dropped = self._dropped or len(every) > MARKS_MAX
        if self._by_digest or len(kept) > CROWDED:
            return CounterMarks(_columns(kept), _columns(gone), dropped)
        return CounterMarks(cast("dict[str, float]", kept), cast("dict[str, float]", gone), dropped)


class EndpointTick(NamedTuple):
    """One endpoint after one read: its marks, what moved, and whether its process was restarted.

    `implausible` series moved by more than any server counts, and were left out.
    """

    state: EndpointState
    moved: CounterDeltas
    restarted: bool = False
    implausible: int = 0


def endpoint_deltas(before: EndpointState | None, reading: ServerReading, wall: Instant) -> EndpointTick:
    """Advance one endpoint's marks.

    A read that fails leaves the marks: what it missed arrives with the next good one.
    An endpoint not read before sets marks only, unless its process started while it was watched.
    Another identity is a restart, and every series counts from zero. But a process that ran already when
    another one answered takes turns with it behind one address, and sets marks only. A series whose fall
    lasts three reads counts from zero as well: it alone, since one page may speak for several engines (ranks,
    replicas) of which one restarted.
    While a fall is younger than that the whole page is suspect and counts nothing.
    """
    if before is None:
        before = EndpointState(reading.key, watched_since=min(wall, reading.absent_at or wall))
    elif before.key != reading.key:
        # Renamed, or another server at this address: where identities tell which, nothing is lost.
        told = before.identity and (reading.identity or not reading.up)
        before = replace(before if told else EndpointState(reading.key, wall), key=reading.key)
    if not reading.up:
        return EndpointTick(before, {})
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
        page = PageSeries(CounterMarks(), reading.counters)
        return _count(after, reading, page, before.watched_since, baseline=not seen_to_start)
    if before.identity and reading.identity and before.identity != reading.identity:
        page, turns = PageSeries(CounterMarks(), reading.counters), took_turns(before, reading, wall)
        return _count(after, reading, page, before.answered, baseline=turns, restarted=not turns)
    page = PageSeries(before.marks, reading.counters)
    if page.fell and before.falls + 1 < FALLS_OF_A_RESTART:
        return EndpointTick(replace(before, falls=before.falls + 1), {})
    return _count(after, reading, page, before.answered, restarted=page.fell)


def took_turns(before: EndpointState, reading: ServerReading, wall: Instant) -> bool:
    """Whether the process that answers ran already when another one did, and so is no restart of that.

    What a clock that was set back since would say of it is not believed.
    """
    started = reading.started
    if not reading.up or started is None or reading.identity == before.identity:
        return False
    if before.answered <= wall and started < before.answered - CLOCKS_APART:
        return True
    return before.youngest <= wall and started <= before.youngest


def _count(
    after: EndpointState,
    reading: ServerReading,
    page: PageSeries,
    last: Instant,
    *,
    baseline: bool = False,
    restarted: bool = False,
) -> EndpointTick:
    found = page.compare(last, after.answered, baseline=baseline)
    moved: CounterDeltas = {}
    # One series may feed two quantities: cached tokens come out of the prompt counter and stand alone.
    for name, (model, quantity, sign) in zip(page.names, _kinds(reading.counters), strict=True):
        delta = found.deltas.get(name)
        if delta is not None:
            moved[model, quantity] = moved.get((model, quantity), 0.0) + sign * delta
    return EndpointTick(replace(after, marks=found.marks), moved, restarted, found.implausible)


def _kinds(counters: Sequence[CounterReading]) -> Iterable[tuple[str, Quantity, int]]:
    if isinstance(counters, CounterColumns):
        return map(counters.kinds.__getitem__, counters.kind)
    return ((one.model, one.quantity, one.sign) for one in counters)


def _columns(values: Mapping[Name, float]) -> SeriesColumns:
    return SeriesColumns(
        {digest(name) if isinstance(name, str) else name: value for name, value in values.items()}
    )


ASKERS_MAX: Final = 2000
"""Askers that are remembered of one gateway: twice what one page tells. Beyond it, those of the last page."""

Counts = dict[GatewayConsumer, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class GatewayTick:
    """One good read of a gateway: what moved. `first`: it set marks only, and nothing is known of before.

    `implausible` series moved by more than any gateway counts, and were left out.
    """

    moved: tuple[GatewayCount, ...]
    first: bool = False
    implausible: int = 0


def gateway_deltas(
    before: Mapping[str, GatewayState], readings: Iterable[GatewayReading], wall: Instant
) -> tuple[dict[str, GatewayState], dict[str, GatewayTick]]:
    """Advance the marks of every gateway that is configured.

    As `deltas.endpoint` has it, series by series before anything is added: a failed read leaves the marks,
    another identity is a restart and counts from zero, and so does a series whose fall lasts three reads;
    while one is younger, the page is suspect. A gateway not read before sets marks only.

    Returns:
        The marks, and the ticks of the gateways whose page counted, by URL.
    """
    states: dict[str, GatewayState] = {}
    ticks: dict[str, GatewayTick] = {}
    for reading in readings:
        known = before.get(reading.url, GatewayState())
        states[reading.url] = known
        if not reading.up:
            continue
        restarted = known.identity and reading.identity and known.identity != reading.identity
        page = PageSeries(CounterMarks() if restarted else known.marks, reading.counters)
        if page.fell and known.falls + 1 < FALLS_OF_A_RESTART:
            states[reading.url] = replace(known, falls=known.falls + 1)
            continue
        found = page.compare(known.answered, wall, baseline=not known.read)
        counts = _sums(
            (counter, counter.value) for counter in reading.counters if counter.value <= LARGEST_COUNT
        )
        every = {**known.counts, **counts}
        states[reading.url] = GatewayState(
            read=True,
            identity=reading.identity or known.identity,
            marks=found.marks,
            answered=wall,
            counts=counts if len(every) > ASKERS_MAX else every,
        )
        moved = _sums(
            (counter, delta)
            for name, counter in zip(page.names, reading.counters, strict=True)
            if (delta := found.deltas.get(name))
        )
        rows = tuple(GatewayCount(*asker, *tokens) for asker, tokens in moved.items())
        ticks[reading.url] = GatewayTick(rows, first=not known.read, implausible=found.implausible)
    return states, ticks


def _sums(counters: Iterable[tuple[GatewayCounter, float]]) -> Counts:
    """Prompts and generated tokens by asker."""
    sums: Counts = {}
    for counter, value in counters:
        asker = counter.model, counter.deployment, counter.team
        prompt, generation = sums.get(asker, (0.0, 0.0))
        if counter.quantity == "prompt":
            sums[asker] = prompt + value, generation
        else:
            sums[asker] = prompt, generation + value
    return sums
