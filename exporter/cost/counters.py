"""Counter deltas of servers and gateways since their pages last counted, series by series."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from exporter.cost.page_marks import CLOCK_SKEW_MAX, MarkedPage, PageMarks, Series
from exporter.cost.state import EndpointState, GatewayConsumer, GatewayState
from exporter.readings import (
    KINDS,
    CounterColumns,
    CounterReading,
    GatewayCount,
    GatewayCounter,
    GatewayReading,
    LatencyBasis,
    LatencyReading,
    Objective,
    Quantity,
    ServerReading,
    TokenKind,
    digest,
)
from exporter.units import LARGEST_COUNT, NANOSECONDS_PER_SECOND, Instant, Nanoseconds


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


class HistogramSeries(NamedTuple):
    """The three counters of a histogram as series of its page.

    Buckets of other bounds are other series. So a histogram whose bounds change has no marks of them.
    """

    lower: Series
    upper: Series
    total: Series

    @classmethod
    def of(cls, reading: LatencyReading) -> "HistogramSeries":
        """The series of a reading."""
        name = f"{reading.objective} {reading.series}"
        return cls(
            digest(f"{name} up to {reading.floor!r}, at least"),
            digest(f"{name} up to {reading.ceiling!r}, at most"),
            digest(f"{name} of all"),
        )


SeriesKind = tuple[str, Quantity, int]
"""What a series counts: a model, a quantity, and whether it adds to it."""

CounterDeltas = dict[tuple[str, Quantity], float]
"""Increases of one endpoint or server in one tick, by model and quantity."""


@dataclass(frozen=True, slots=True)
class EndpointTick:
    """One endpoint after one read: its state and its deltas."""

    state: EndpointState
    deltas: CounterDeltas = field(default_factory=dict)
    latencies: Mapping[LatencyKey, LatencyCount] = field(default_factory=dict)
    """Observations of its histograms."""
    restarted: bool = False
    """Whether its process was restarted."""
    implausible: int = 0
    """Series that rose by more than any server counts; they are left out."""
    several: int = 0
    """1 where another process answers beside the one before."""


def endpoint_deltas(
    before: EndpointState | None,
    reading: ServerReading,
    wall: Instant,
    clock_step: Nanoseconds = 0,
    endpoints: Mapping[str, EndpointState] = MappingProxyType({}),
) -> EndpointTick:
    """Advance one endpoint's marks, and take its deltas.

    A failed read leaves the marks; the next good one has what it missed. `PageMarks.advance` decides what a
    page counts. `clock_step` is by how much the wall clock was stepped since the last tick, `endpoints` are
    all of the last tick by their URLs.
    """
    state = before or EndpointState(reading.key, watched_since=min(wall, reading.absent_at or wall))
    if state.key != reading.key:
        state = _renamed(state, reading, wall)
    if clock_step:
        state = replace(state, marks=state.marks.stepped(clock_step))
    if not reading.up:
        return EndpointTick(state)
    marks = state.marks
    first_requested = wall if marks.read else state.watched_since
    requested = {
        objective: state.requested.get(objective, first_requested) for objective in _objectives(reading)
    }
    names, kinds = _named(reading.counters)
    others = [endpoint for url, endpoint in endpoints.items() if url != reading.url]
    page = _server_page(reading, names, kinds, before=state, wall=wall, requested=requested, others=others)
    tick = marks.advance(page, wall, state.watched_since)
    if tick.compared is None:
        return EndpointTick(replace(state, marks=tick.marks, requested=requested), several=tick.several)
    deltas: CounterDeltas = {}
    # One series may count for two quantities: cached tokens are subtracted from prompts and count alone.
    for name, (model, quantity, sign) in zip(names, kinds, strict=True):
        delta = tick.compared.deltas.get(name)
        if delta is not None:
            counted = model, quantity
            deltas[counted] = deltas.get(counted, 0.0) + sign * delta
    latencies: Mapping[LatencyKey, LatencyCount] = {}
    if reading.latencies:
        latencies = latency_counts(reading.latencies, tick.compared.deltas, marks.values.by_digest())
    waiting = requested if reading.latencies is None else dict.fromkeys(requested)
    after = replace(state, marks=tick.marks, requested=waiting, engine=reading.engine, peer=reading.peer)
    return EndpointTick(after, deltas, latencies, tick.restarted, tick.compared.implausible, tick.several)


def _renamed(state: EndpointState, reading: ServerReading, wall: Instant) -> EndpointState:
    """The state of an endpoint whose server has another name, or which is another server's now.

    An identity tells which, so that nothing is lost.
    """
    marks = state.marks
    same_listener = marks.listener and marks.listener == reading.listener
    if marks.identity and (reading.identity or not reading.up):
        return replace(state, key=reading.key)
    if same_listener or (marks.listener and not reading.up):
        return replace(state, key=reading.key)
    # Another process listens, which cannot have begun before the old one ended.
    since = marks.answered if marks.listener and reading.listener else wall
    return EndpointState(reading.key, since)


def _objectives(reading: ServerReading) -> dict[str, str]:
    """The objectives that the histograms of a page were read for, each with its seconds in its name."""
    levels = {} if reading.slo is None else reading.slo.seconds()
    return {f"{objective} {seconds!r}": objective for objective, seconds in levels.items()}


def _server_page(
    reading: ServerReading,
    names: Sequence[Series],
    kinds: Sequence[SeriesKind],
    *,
    before: EndpointState,
    wall: Instant,
    requested: Mapping[str, Instant | None],
    others: Iterable[EndpointState],
) -> MarkedPage:
    """The page of a server as its marks see it. `others` are the other endpoints of the last tick."""
    values = dict(zip(names, _values(reading.counters), strict=True))
    began = reading.listener_started if reading.started is None else reading.started
    # Histograms of these objectives may have counted before they were asked for.
    first_read: set[str] = set()
    for name, objective in _objectives(reading).items():
        since = requested[name]
        began_since = since is not None and began is not None and since <= began <= wall + CLOCK_SKEW_MAX
        if since is not None and not began_since:
            first_read.add(objective)
    unrequested: set[Series] = set()
    for latency in reading.latencies or ():
        series = HistogramSeries.of(latency)
        values.update(zip(series, (latency.lower, latency.upper, latency.total), strict=True))
        if latency.objective in first_read:
            unrequested.update(series)
    changed_engine = before.engine not in {"", reading.engine}
    ran_before = began is None or began < before.marks.answered - CLOCK_SKEW_MAX
    is_new = reading.identity not in {"", before.marks.identity}
    return MarkedPage(
        values,
        tokens={name for name, (_, quantity, _) in zip(names, kinds, strict=True) if quantity in KINDS},
        created=_created(names, reading.counters),
        unrequested=unrequested,
        identity=reading.identity,
        started=reading.started,
        listener=reading.listener,
        listener_started=reading.listener_started,
        foreign=changed_engine and ran_before,
        counted_elsewhere=is_new
        and any(other.marks.has_counted(reading.identity, reading.listener) for other in others),
    )


def page_values(reading: ServerReading) -> dict[Series, float]:
    """The values of a server's counters by their series."""
    names, _kinds = _named(reading.counters)
    return dict(zip(names, _values(reading.counters), strict=True))


def _named(counters: Sequence[CounterReading]) -> tuple[Sequence[Series], Sequence[SeriesKind]]:
    """The series of counters, and what each counts."""
    if isinstance(counters, CounterColumns):
        return counters.numbers, [counters.kinds[kind] for kind in counters.kind]
    kinds = [(counter.model, counter.quantity, counter.sign) for counter in counters]
    return [digest(counter.series) for counter in counters], kinds


def _values(counters: Sequence[CounterReading] | Iterable[GatewayCounter]) -> Iterable[float]:
    if isinstance(counters, CounterColumns):
        return counters.values
    return [counter.value for counter in counters]


def _created(
    names: Iterable[Series], counters: Iterable[CounterReading | GatewayCounter]
) -> dict[Series, Instant]:
    return {
        name: counter.created
        for name, counter in zip(names, counters, strict=True)
        if counter.created is not None
    }


def latency_counts(
    readings: Iterable[LatencyReading], deltas: Mapping[Series, float], marked: Collection[Series]
) -> dict[LatencyKey, LatencyCount]:
    """What the histograms of a page counted, by the increases of its series. `marked` had marks before."""
    counts: dict[LatencyKey, LatencyCount] = {}
    for reading in readings:
        series = HistogramSeries.of(reading)
        total = deltas.get(series.total)
        count = LatencyCount()
        if total is not None and total == reading.total:  # it began at zero, and so did its buckets
            count = LatencyCount(reading.lower, reading.upper, reading.total)
        elif total is not None:
            lower = deltas.get(series.lower, 0.0)
            upper = deltas.get(series.upper, 0.0)
            has_marks = series.lower in marked and series.upper in marked
            # Its buckets are of one moment, and each observation is in all buckets above it.
            if has_marks and 0 <= lower <= upper <= total:
                count = LatencyCount(lower, upper, total)
        key = (reading.model, reading.objective, reading.basis)
        counts[key] = counts.get(key, LatencyCount()).plus(count)
    return counts


SAME_START: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 100
"""Difference up to which two starts are of one process: the kernel counts in hundredths of a second."""


def marks_elsewhere(
    state: EndpointState | None, reading: ServerReading, endpoints: Mapping[str, EndpointState], wall: Instant
) -> EndpointState:
    """The state of an endpoint whose tokens count at another one, `state` before.

    It has the other one's marks, of the same process, so that either may go on where the other stopped; and
    its own of when they were found to be one, should they part. Without another endpoint, since another
    engine's page repeats its tokens, it begins anew: what it missed was counted.
    """
    other = endpoints.get(reading.counted_at or "")
    if other is None:
        return EndpointState(reading.key, wall)
    own = PageMarks() if state is None else state.own or state.marks
    # Its first page is this one, too; and marks of another process tell nothing of the one that answers now.
    if not own.read or not _may_be_one(own, other.marks):
        own = other.marks
    return replace(other, key=reading.key, own=own, counted_at=reading.counted_at or "")


def _may_be_one(one: PageMarks | ServerReading, other: PageMarks | ServerReading) -> bool:
    """Whether two pages may be of one process: two that began within 0.01 s look like one."""
    if one.started is None or other.started is None:
        return one.identity == other.identity or not (one.identity and other.identity)
    return abs(one.started - other.started) <= SAME_START


def counts_again(
    state: EndpointState, reading: ServerReading, answering: Mapping[str, ServerReading]
) -> EndpointState:
    """The state of an endpoint that answers, and counted at another one before.

    Where two processes looked like one and part, each counts from its own marks. Else it goes on where the
    other one stopped.
    """
    if state.own is None:
        return state
    other = answering.get(state.counted_at)
    marks = state.own if other is not None and _may_be_one(reading, other) else state.marks
    if _may_be_one(marks, reading):
        marks = replace(marks, identity=reading.identity, started=reading.started)
    return replace(state, marks=marks, own=None, counted_at="")


CONSUMERS_MAX: Final = 2000
"""Consumers of one gateway in its state: twice those of one page. Beyond it, only those of the last page."""

ConsumerCounts = dict[GatewayConsumer, dict[TokenKind, float]]
"""Tokens by consumer and kind; those of prompts include cached ones."""


@dataclass(frozen=True, slots=True)
class GatewayTick:
    """Deltas of one good read of a gateway."""

    counts: tuple[GatewayCount, ...] | None = None
    """`None` where its page waits, or several processes answer."""
    first: bool = False
    """Whether the read only set marks."""
    implausible: int = 0
    """Series that rose by more than any gateway counts; they are left out."""
    several: int = 0
    """1 where another process answers beside the one before."""


def gateway_deltas(
    before: Mapping[str, GatewayState],
    readings: Iterable[GatewayReading],
    wall: Instant,
    clock_step: Nanoseconds = 0,
) -> tuple[dict[str, GatewayState], dict[str, GatewayTick]]:
    """Advance the marks of every configured gateway, and take their deltas, as `endpoint_deltas` does.

    A first read only sets marks, and so does the first one of other counters.

    Returns:
        The states, and the ticks of the gateways that were read, by URL.
    """
    states: dict[str, GatewayState] = {}
    ticks: dict[str, GatewayTick] = {}
    for reading in readings:
        state = before.get(reading.url, GatewayState())
        state = states[reading.url] = replace(state, marks=state.marks.stepped(clock_step))
        if not reading.up:
            continue
        if state.selection != reading.selection:
            state = GatewayState()
        names = [digest(counter.series) for counter in reading.counters]
        page = MarkedPage(
            dict(zip(names, _values(reading.counters), strict=True)),
            tokens=set(names),
            created=_created(names, reading.counters),
            identity=reading.identity,
            started=reading.started,
        )
        tick = state.marks.advance(page, wall)
        states[reading.url] = replace(state, marks=tick.marks, selection=reading.selection)
        if tick.compared is None:
            ticks[reading.url] = GatewayTick(several=tick.several)
            continue
        sums = _sums(
            (counter, counter.value) for counter in reading.counters if counter.value <= LARGEST_COUNT
        )
        counts = {consumer: _pair(tokens) for consumer, tokens in sums.items()}
        every = {**state.counts, **counts}
        states[reading.url] = replace(
            states[reading.url], counts=counts if len(every) > CONSUMERS_MAX else every
        )
        increases = [tick.compared.deltas.get(name, 0.0) for name in names]
        risen = zip(reading.counters, increases, strict=True)
        deltas = _sums((counter, increase) for counter, increase in risen if increase)
        rows = tuple(
            GatewayCount(*consumer, *_pair(tokens), tokens.get("cached_prompt", 0.0))
            for consumer, tokens in deltas.items()
        )
        ticks[reading.url] = GatewayTick(
            rows, first=not state.marks.read, implausible=tick.compared.implausible, several=tick.several
        )
    return states, ticks


PageErrors = Mapping[str, int]
"""What a read of a page did not count, by reason: a value of the label `reason` of source errors."""


def page_errors(tick: EndpointTick | GatewayTick) -> PageErrors:
    """What one tick of a page did not count."""
    errors = {"implausible_tokens": tick.implausible, "several_processes": tick.several}
    return {reason: count for reason, count in errors.items() if count}


def _sums(counters: Iterable[tuple[GatewayCounter, float]]) -> ConsumerCounts:
    sums: ConsumerCounts = {}
    for counter, value in counters:
        tokens = sums.setdefault((counter.model, counter.deployment, counter.team), {})
        tokens[counter.quantity] = tokens.get(counter.quantity, 0.0) + value
    return sums


def _pair(tokens: Mapping[TokenKind, float]) -> tuple[float, float]:
    return tokens.get("prompt", 0.0), tokens.get("generation", 0.0)
