"""The books of the story's year, kept by the real cost model in a real file."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from exporter.cost.advance import advance
from exporter.cost.policy import CostPolicy, OwnershipRule
from exporter.cost.postings import Postings
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import (
    CounterReading,
    Frame,
    Gpu,
    GpuReading,
    Holder,
    Kind,
    LoadReading,
    ServerKey,
    ServerReading,
)
from exporter.report import CommittedTotals
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Overhead, Owned, Rented, RentPrice
from exporter.units import Instant, Nanoseconds
from tests.year import story
from tests.year.story import Moment

SECOND = 10**9
MACHINE = "installation:year"
GPUS = [
    Gpu(f"GPU-{n}", "NVIDIA H100 80GB HBM3" if n not in story.OWNED else "NVIDIA A100-SXM4-80GB")
    for n in range(story.GPUS)
]
KINDS: tuple[Kind, ...] = ("prompt", "generation")


class YearClock:
    """Tells the moment that it was set to."""

    def __init__(self) -> None:
        self.now = story.START

    def elapsed(self) -> Nanoseconds:
        return (self.now - story.boot(self.now)) * SECOND

    def awake(self) -> Nanoseconds:
        return self.elapsed() - story.asleep(self.now) * SECOND

    def boot(self) -> str:
        return f"boot-{story.boot(self.now)}"

    def wall(self) -> Instant:
        return self.now * SECOND

    def synchronized(self) -> bool:
        return True

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:  # noqa: ARG002 - never called
        raise AssertionError


def _prices(prices: Iterable[tuple[int, object]], gpus: int) -> tuple[RentPrice, ...]:
    return tuple(RentPrice(hourly, gpus, since * SECOND) for since, hourly in prices)  # type: ignore[arg-type]


TARIFF = Tariff(
    host="berlin-1",
    hardware=(
        Hardware(
            HardwareMatch(uuid=f"GPU-{story.LEASED}"),
            Rented(_prices(story.LEASE, 1), billing="always"),
            "lease",
        ),
        Hardware(HardwareMatch(gpu_model="*H100*"), Rented(_prices(story.RENTS, len(story.RENTED))), "rent"),
        Hardware(
            HardwareMatch(),
            Owned(
                purchase_dollars=story.PURCHASE,
                gpus=len(story.OWNED),
                in_service=story.IN_SERVICE * SECOND,
                in_service_text="2025-02-15",
                life_years=story.LIFE_YEARS,
                residual_ratio=story.RESIDUAL,
                adders_ratio=story.ADDERS,
                support_dollars_per_year=story.SUPPORT_PER_YEAR,
            ),
            "owned",
            Electricity(story.KILOWATT_HOUR, story.PUE, story.HOST_FACTOR),
        ),
    ),
    overheads=(
        Overhead("storage", story.STORAGE_PER_GPU_MONTH, "month", "gpu", "storage"),
        Overhead("network", story.NETWORK_PER_HOST_HOUR, "hour", "host", "network"),
        Overhead("staff", story.SUPPORT_PER_YEAR, "year", "fleet", "staff"),
    ),
)


def terms(moment: Moment) -> CostPolicy:
    """What is configured at a tick. Only a tick meant to be long may be longer than a minute."""
    watched = moment.step > 60 and moment.absence is None
    return _terms(story.owned(moment.at), moment.step * SECOND if watched else 60 * SECOND)


@cache
def _terms(owned: int, gap_after: Nanoseconds) -> CostPolicy:
    owners = story.OWNERS[owned][1]
    rules = tuple(OwnershipRule(product, team, server=server) for server, (product, team) in owners.items())
    return CostPolicy(TARIFF, story.ZONE, rules, interval=story.TICK * SECOND, gap_after=gap_after)


def frame(moment: int, clock: YearClock) -> Frame:
    """Everything that is read at a tick."""
    return Frame(
        elapsed=clock.elapsed(),
        wall=clock.wall(),
        gpus=tuple(_gpus(moment)),
        servers=tuple(_server(server, moment) for server in story.SERVERS),
        holders=tuple(_holders(moment)),
        awake=clock.awake(),
        boot=clock.boot(),
    )


def _gpus(moment: int) -> Iterator[GpuReading]:
    for number, gpu in enumerate(GPUS):
        energy = story.energy(number, moment)
        if energy is None:
            if number in story.OWNED:
                yield GpuReading(gpu, number, up=False)
            continue
        busy = (moment // story.HOUR * 7 + number * 13) % 101 / 100
        yield GpuReading(gpu, number, utilization_ratio=busy, power_limit_watts=700.0, energy=energy)


def _server(server: str, moment: int) -> ServerReading:
    key, url = ServerKey("", server), f"http://{server}/metrics"
    model = story.model_of(server, moment)
    counters = []
    for kind in KINDS:
        told = story.counter(server, kind, moment)
        if told is None:
            return ServerReading(key, url, up=False)
        counters.append(CounterReading(f"{kind}:{model}", model, kind, float(told)))
    identity = "" if server == "rank" else str(story.process(server, moment))
    return ServerReading(
        key,
        url,
        up=True,
        identity=identity,
        counters=tuple(counters),
        loads=(LoadReading(model, 4.0, 0.0),),
        models=(model,),
    )


def _holders(moment: int) -> Iterator[Holder]:
    for number, gpu in enumerate(GPUS):
        holding = story.holders(number, moment)
        for server in holding:
            share = story.SHARES[server] if len(holding) > 1 else None
            yield Holder(ServerKey("", server), gpu.uuid, share)


@dataclass
class Year:
    """What came of it. `closed` are the books at the first tick of each month, with the tick itself.

    `around` are the ticks before and after each month's end. `reopened` are the books before and after each
    restart of the daemon. `commits` are the seconds that each commit took, `last` is the last tick.
    `skipped` are ticks that the file held before.
    """

    path: Path
    closed: dict[str, tuple[int, CommittedTotals]] = field(default_factory=dict)
    around: dict[int, tuple[int, int]] = field(default_factory=dict)
    reopened: list[tuple[CommittedTotals, CommittedTotals]] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    ticks: int = 0
    last: int = story.START
    skipped: int = 0

    def passed(self, before: int, now: int) -> str:
        """The month that ended between two ticks, if one did."""
        for (closing, _), (_, end) in zip(story.STARTS, story.STARTS[1:], strict=False):
            if before < end <= now:
                self.around[end] = before, now
                return closing
        return ""

    def skip(self, before: int, now: int) -> None:
        """Pass a tick that the file holds already."""
        self.passed(before, now)
        self.ticks += 1
        self.skipped += 1
        self.last = now


def keep(
    path: Path,
    moments: Iterable[Moment],
    timer: Callable[[], float],
    together: int = 1,
    closed: Callable[[Year, str], None] = lambda _year, _month: None,
) -> Year:
    """Keep the books of these ticks in a file.

    Short ticks more than five minutes from any event are committed `together`; all others by themselves.
    `closed` is called at the first tick of each month with the one that ended.
    A file that holds the year's first part is gone on with, by a process of its own as it were.
    """
    clock, year = YearClock(), Year(path)
    ledger = Ledger.open(path, clock)
    state = ledger.state()
    kept = None if state.wall is None else state.wall // SECOND
    names = tuple(name for name, _ in story.STARTS)
    waiting: list[Postings] = []
    for moment in moments:
        before, clock.now = clock.now, moment.at
        if kept is not None and moment.at <= kept:
            year.skip(before, moment.at)
            continue
        if moment.restarted:
            ledger, books = _reopened(ledger, path, clock, names)
            year.reopened.append(books)
            state = ledger.state()
        read = frame(moment.at, clock)
        outcome = advance(state, read, terms(moment))
        if state.elapsed is None or year.ticks == year.skipped or moment.restarted:
            assert ledger.bind(MACHINE, {gpu.gpu.uuid for gpu in read.gpus or ()})
        state, year.last = outcome.state, moment.at
        waiting.append(outcome.postings)
        if len(waiting) >= together or moment.step != story.TICK or story.eventful(moment.at):
            began = timer()
            ledger.post(_as_one(waiting), state)
            year.commits.append(timer() - began)
            waiting = []
        year.ticks += 1
        closing = year.passed(before, moment.at)
        if closing:
            with LedgerReader.open(path) as reader:
                year.closed[closing] = moment.at, reader.books(clock.wall(), names)
            closed(year, closing)
    if waiting:
        ledger.post(_as_one(waiting), state)
    assert ledger.problem == ""
    ledger.close()
    return year


def _as_one(ticks: list[Postings]) -> Postings:
    return Postings(
        end=ticks[-1].end,
        segments=tuple(entry for tick in ticks for entry in tick.segments),
        tokens=tuple(entry for tick in ticks for entry in tick.tokens),
        requests=tuple(entry for tick in ticks for entry in tick.requests),
        energy=tuple(entry for tick in ticks for entry in tick.energy),
        seen=tuple(sorted({entry for tick in ticks for entry in tick.seen})),
        day=ticks[-1].day,
    )


def _reopened(
    ledger: Ledger, path: Path, clock: YearClock, names: tuple[str, ...]
) -> tuple[Ledger, tuple[CommittedTotals, CommittedTotals]]:
    before = ledger.books(clock.wall(), names)
    ledger.close()
    again = Ledger.open(path, clock)
    assert (again.problem, again.dropped) == ("", ())
    with LedgerReader.open(path) as reader:
        return again, (before, reader.books(clock.wall(), names))
