"""Counter deltas of servers and gateways since their last good read, series by series."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, cast

from exporter.cost.state import CounterMarks, EndpointState, GatewayConsumer, GatewayState
from exporter.frozen import dataclass, replace
from exporter.readings import (
    CROWDED,
    CounterColumns,
    CounterReading,
    GatewayCount,
    GatewayCounter,
    GatewayReading,
    Kind,
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

RESETS_AFTER_READS: Final = 3
"""Good reads in a row with a series below its mark that are a counter reset. Fewer are bad reads."""

CLOCK_SKEW_MAX: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""How far the clock of a server's host may be off this one's."""

MARKS_MAX: Final = 20_000
"""Marks of one page: as many as a page may have series. Those of series that left it first are dropped."""

MARK_AGE_MAX: Final[Nanoseconds] = NANOSECONDS_PER_DAY
"""How long the mark of a series that left the page is kept."""

MOST_PER_SECOND: Final = 100_000_000
"""Tokens a second of one endpoint above which a counter is implausible. A judgment, not a measurement:
a hundred times what a rack of 72 GPUs is meant to serve, cached prompts included."""

ALLOWANCE_MIN: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""Shortest time between two reads that a limit is computed for: the wall clock may have been set back."""

CounterDeltas = dict[tuple[str, Quantity], float]
"""Increases of one endpoint or server in one tick, by model and quantity."""


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
        """When it began, where the page has it."""
        ...


SeriesName = str | int
"""The name of a series, or its digest."""


@dataclass(frozen=True, slots=True)
class SeriesDeltas:
    """Increases of the series of one good page, and the marks after it.

    A series that only sets its mark is not in `deltas`.
    `implausible` is how many rose by more than any server counts; they keep their marks.
    """

    marks: CounterMarks
    deltas: Mapping[SeriesName, float]
    implausible: int


class PageSeries:
    """The series of one good page, and the marks of the pages before.

    `names` are in the page's order, as digests where page or marks are in columns.
    `fell`: a series of the last good page is below its mark.
    """

    def __init__(self, marks: CounterMarks, series: Sequence[RawSeries]) -> None:
        self._dropped = marks.dropped
        columns = series if isinstance(series, CounterColumns) else None
        self._by_digest = columns is not None or isinstance(marks.values, SeriesColumns)
        self._marks, self._gone = self._unpacked(marks.values), self._unpacked(marks.gone)
        self.names: Sequence[SeriesName]
        self._created: Mapping[Any, Instant]  # matters only after marks were dropped, or series went
        values: Sequence[float]
        begun = self._dropped or self._gone
        if columns is not None:
            self.names, values = columns.numbers, columns.values
            self._created = dict(zip(self.names, columns.created, strict=False)) if begun else {}
        else:
            names = [each.series for each in series]
            values = [each.value for each in series]
            self.names = [digest(name) for name in names] if self._by_digest else names
            self._created = {}
            if begun:
                self._created = {
                    name: each.created
                    for name, each in zip(self.names, series, strict=True)
                    if each.created is not None
                }
        self._page = dict(zip(self.names, values, strict=True))
        # None is negative, so that each is a count where their sum is one; a sum with NaN is none.
        if self._page and not (min(values) >= 0 and sum(values) <= LARGEST_COUNT):
            self._page = {
                name: value
                for name, value in zip(self.names, values, strict=True)
                if 0 <= value <= LARGEST_COUNT
            }
        mark = self._marks.get
        self._moved = {name: value - mark(name, 0.0) for name, value in self._page.items()}
        self._below: list[SeriesName] = []
        self.fell = False
        if self._moved and min(self._moved.values()) < 0:
            self._below = [name for name, moved in self._moved.items() if moved < 0]
            self.fell = any(name not in self._gone for name in self._below)

    def _unpacked(self, values: Mapping[str, float] | SeriesColumns) -> Mapping[SeriesName, float]:
        if isinstance(values, SeriesColumns):
            return cast("dict[SeriesName, float]", values.by_digest())
        if self._by_digest:
            return {digest(name): value for name, value in values.items()}
        return cast("Mapping[SeriesName, float]", values)

    def compare(self, last: Instant, wall: Instant, *, baseline: bool = False) -> SeriesDeltas:
        """The increases since the last good read. `baseline`: only set marks.

        A series without a mark began at zero since then: engines create series late.
        Once marks were dropped it may be one of those, unless the page has a later start for it.
        A series below its mark began at zero again, and so did one that began after it had gone: a gateway
        lets go of what nobody used for a while.
        """
        most = MOST_PER_SECOND * max(wall - last, ALLOWANCE_MIN) / NANOSECONDS_PER_SECOND
        mark_of, gone = self._marks.get, self._gone
        special = baseline or self._below or gone or self._dropped
        # None is negative, as on nearly all pages, so that each is plausible where their sum is.
        if not special and sum(self._moved.values()) <= most:
            return SeriesDeltas(self._with_gone(self._page, wall), self._moved, 0)
        deltas: dict[SeriesName, float] = {}
        marks = dict(self._page)
        implausible: set[SeriesName] = set()
        for name, value in self._page.items() if not baseline else ():
            mark = mark_of(name)
            if mark is None and self._dropped and self._created.get(name, -1) <= last:
                continue
            recreated = name in gone and self._created.get(name, -1) > gone[name]
            delta = value if mark is None or value < mark or recreated else value - mark
            if delta > most:
                implausible.add(name)
            else:
                deltas[name] = delta
        if sum(deltas.values()) > most:
            implausible.update(deltas)
            deltas = {}
        if implausible:
            marks.update((name, self._marks[name]) for name in implausible if name in self._marks)
        return SeriesDeltas(self._with_gone(marks, wall), deltas, len(implausible))

    def _with_gone(self, marks: dict[SeriesName, float], wall: Instant) -> CounterMarks:
        """These marks, and those of series that left the page, within the limits."""
        gone: dict[SeriesName, float] = {}
        limited, dropped = marks, self._dropped
        if not self._marks.keys() <= self._page.keys():
            for name in self._marks:
                if name not in self._page:
                    went = min(self._gone.get(name, wall), wall)  # the clock may have been set back
                    if wall - went <= MARK_AGE_MAX:
                        gone[name] = went
            last_first = sorted(gone, key=gone.__getitem__, reverse=True)
            limited = marks | {name: self._marks[name] for name in last_first}
        if len(limited) > MARKS_MAX:
            limited, dropped = dict(islice(limited.items(), MARKS_MAX)), True
            gone = {name: went for name, went in gone.items() if name in limited}
        if self._by_digest or len(limited) > CROWDED:
            return CounterMarks(_columns(limited), _columns(gone), dropped)
        return CounterMarks(cast("dict[str, float]", limited), cast("dict[str, float]", gone), dropped)


class EndpointTick(NamedTuple):
    """One endpoint after one read: its state, its deltas, and whether its process was restarted.

    `implausible` is how many series moved by more than any server counts; they are left out.
    """

    state: EndpointState
    deltas: CounterDeltas
    restarted: bool = False
    implausible: int = 0


def endpoint_deltas(before: EndpointState | None, reading: ServerReading, wall: Instant) -> EndpointTick:
    """Advance one endpoint's marks, and take its deltas.

    A failed read leaves the marks; the next good one has what it missed.
    A first read only sets marks, unless the process started while its endpoint was watched.
    Another identity is a restart: every series counts from zero. But a process that already ran while another
    one answered is a replica behind the same address, and only sets marks.
    A series that is below its mark for three reads counts from zero, and it alone: one page may be of several
    engines (ranks, replicas) of which one restarted. Until then the whole page is suspect and counts nothing.
    """
    if before is None:
        before = EndpointState(reading.key, watched_since=min(wall, reading.absent_at or wall))
    elif before.key != reading.key:
        # Renamed, or another server at this address: an identity tells which, so that nothing is lost.
        comparable = before.identity and (reading.identity or not reading.up)
        before = replace(before if comparable else EndpointState(reading.key, wall), key=reading.key)
    if not reading.up:
        return EndpointTick(before, {})
    if not before.read:
        page = PageSeries(CounterMarks(), reading.counters)
        baseline = not started_since(reading, before.watched_since, wall)
        return _count(before, reading, page, before.watched_since, wall, baseline=baseline)
    if before.identity and reading.identity and before.identity != reading.identity:
        page, turns = PageSeries(CounterMarks(), reading.counters), took_turns(before, reading, wall)
        return _count(before, reading, page, before.answered, wall, baseline=turns, restarted=not turns)
    page = PageSeries(before.marks, reading.counters)
    # Another engine that ran already when this one answered: what it counted until now came before.
    if before.engine not in {"", reading.engine} and took_turns(before, reading, wall):
        return _count(before, reading, page, before.answered, wall, baseline=True)
    if page.fell and before.falls + 1 < RESETS_AFTER_READS:
        return EndpointTick(replace(before, falls=before.falls + 1), {})
    return _count(before, reading, page, before.answered, wall, restarted=page.fell)


def marks_elsewhere(
    reading: ServerReading, endpoints: Mapping[str, EndpointState], wall: Instant
) -> EndpointState:
    """The state of an endpoint whose tokens count at another one.

    It is the other one's, of the same process, so that either may go on where the other stopped. Without one
    it begins anew: what it missed was counted.
    """
    other = endpoints.get(reading.counted_at or "")
    return EndpointState(reading.key, wall) if other is None else replace(other, key=reading.key)


def started_since(reading: ServerReading, since: Instant, wall: Instant) -> bool:
    """Whether the process that answers is known to have started since an instant.

    One that starts later than now has another clock, or had: its age is unknown.
    """
    started = reading.started
    return started is not None and since <= started <= wall + CLOCK_SKEW_MAX


def took_turns(before: EndpointState, reading: ServerReading, wall: Instant) -> bool:
    """Whether the process that answers already ran when another one did, and so is no restart of it.

    Times from before the clock was set back are not used.
    """
    started = reading.started
    if not reading.up or started is None or reading.identity == before.identity:
        return False
    if before.answered <= wall and started < before.answered - CLOCK_SKEW_MAX:
        return True
    return before.youngest <= wall and started <= before.youngest


def _count(
    before: EndpointState,
    reading: ServerReading,
    page: PageSeries,
    last: Instant,
    wall: Instant,
    *,
    baseline: bool = False,
    restarted: bool = False,
) -> EndpointTick:
    """The tick of an endpoint that answered, with what its page counted since the last good read."""
    series = page.compare(last, wall, baseline=baseline)
    deltas: CounterDeltas = {}
    delta_of, sum_of = series.deltas.get, deltas.get
    # One series may count for two quantities: cached tokens are subtracted from prompts and count alone.
    for name, (model, quantity, sign) in zip(page.names, _kinds(reading.counters), strict=True):
        delta = delta_of(name)
        if delta is not None:
            counted = model, quantity
            deltas[counted] = sum_of(counted, 0.0) + sign * delta
    after = EndpointState(
        before.key,
        before.watched_since,
        read=True,
        identity=reading.identity or before.identity,
        marks=series.marks,
        answered=wall,
        youngest=max(before.youngest, reading.started or 0),
        latency=before.latency,
        engine=reading.engine,
        peer=reading.peer,
    )
    return EndpointTick(after, deltas, restarted, series.implausible)


def _kinds(counters: Sequence[CounterReading]) -> Iterable[tuple[str, Quantity, int]]:
    if isinstance(counters, CounterColumns):
        return map(counters.kinds.__getitem__, counters.kind)
    return [(counter.model, counter.quantity, counter.sign) for counter in counters]


def _columns(values: Mapping[SeriesName, float]) -> SeriesColumns:
    return SeriesColumns(
        {digest(name) if isinstance(name, str) else name: value for name, value in values.items()}
    )


CONSUMERS_MAX: Final = 2000
"""Consumers of one gateway in its state: twice those of one page. Beyond it, only those of the last page."""

ConsumerCounts = dict[GatewayConsumer, dict[Kind, float]]
"""Tokens by consumer and kind; those of prompts include cached ones."""


@dataclass(frozen=True, slots=True)
class GatewayTick:
    """Deltas of one good read of a gateway. `first`: it only set marks.

    `implausible` is how many series moved by more than any gateway counts; they are left out.
    """

    counts: tuple[GatewayCount, ...]
    first: bool = False
    implausible: int = 0


def gateway_deltas(
    before: Mapping[str, GatewayState], readings: Iterable[GatewayReading], wall: Instant
) -> tuple[dict[str, GatewayState], dict[str, GatewayTick]]:
    """Advance the marks of every configured gateway, and take their deltas.

    The rules are those of `endpoint_deltas`: a failed read leaves the marks, another identity counts from
    zero, and so does a series that is below its mark for three reads. A first read only sets marks, and so
    does the first one of other counters.

    Returns:
        The states, and the ticks of the gateways whose page counted, by URL.
    """
    states: dict[str, GatewayState] = {}
    ticks: dict[str, GatewayTick] = {}
    for reading in readings:
        state = before.get(reading.url, GatewayState())
        states[reading.url] = state
        if not reading.up:
            continue
        if state.selection != reading.selection:
            state = GatewayState()
        restarted = state.identity and reading.identity and state.identity != reading.identity
        page = PageSeries(CounterMarks() if restarted else state.marks, reading.counters)
        if page.fell and state.falls + 1 < RESETS_AFTER_READS:
            states[reading.url] = replace(state, falls=state.falls + 1)
            continue
        series = page.compare(state.answered, wall, baseline=not state.read)
        sums = _sums(
            (counter, counter.value) for counter in reading.counters if counter.value <= LARGEST_COUNT
        )
        counts = {consumer: _pair(tokens) for consumer, tokens in sums.items()}
        every = {**state.counts, **counts}
        states[reading.url] = GatewayState(
            read=True,
            identity=reading.identity or state.identity,
            marks=series.marks,
            answered=wall,
            counts=counts if len(every) > CONSUMERS_MAX else every,
            selection=reading.selection,
        )
        deltas = _sums(
            (counter, delta)
            for name, counter in zip(page.names, reading.counters, strict=True)
            if (delta := series.deltas.get(name))
        )
        rows = tuple(
            GatewayCount(*consumer, *_pair(tokens), tokens.get("cached_prompt", 0.0))
            for consumer, tokens in deltas.items()
        )
        ticks[reading.url] = GatewayTick(rows, first=not state.read, implausible=series.implausible)
    return states, ticks


def _sums(counters: Iterable[tuple[GatewayCounter, float]]) -> ConsumerCounts:
    sums: ConsumerCounts = {}
    for counter, value in counters:
        tokens = sums.setdefault((counter.model, counter.deployment, counter.team), {})
        tokens[counter.quantity] = tokens.get(counter.quantity, 0.0) + value
    return sums


def _pair(tokens: Mapping[Kind, float]) -> tuple[float, float]:
    return tokens.get("prompt", 0.0), tokens.get("generation", 0.0)
