"""Run of the year through the real cost model and a real ledger file."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from exporter.cost.advance import advance
from exporter.cost.policy import CostPolicy, OwnershipRule
from exporter.cost.postings import CostOwner, EnergyPosting, Postings, TokenPosting
from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import (
    CounterReading,
    Frame,
    Gpu,
    GpuReading,
    Holder,
    LoadReading,
    ServerKey,
    ServerReading,
    TokenKind,
)
from exporter.report import CommittedTotals
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Overhead, Owned, Rented, RentPrice
from exporter.units import Instant, Nanoseconds
from tests.kit.units import SECOND
from tests.year import events
from tests.year.events import YearTick

MACHINE = "installation:year"
GPUS = [
    Gpu(f"GPU-{n}", "NVIDIA H100 80GB HBM3" if n not in events.OWNED else "NVIDIA A100-SXM4-80GB")
    for n in range(events.GPUS)
]
KINDS: tuple[TokenKind, ...] = ("prompt", "generation")


class YearClock:
    """A clock at the moment that it was set to."""

    def __init__(self) -> None:
        self.now = events.START

    def elapsed(self) -> Nanoseconds:
        return (self.now - events.boot(self.now)) * SECOND

    def awake(self) -> Nanoseconds:
        return self.elapsed() - events.asleep(self.now) * SECOND

    def boot(self) -> str:
        return f"boot-{events.boot(self.now)}"

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
            HardwareMatch(uuid=f"GPU-{events.LEASED}"),
            Rented(_prices(events.LEASE, 1), billing="always"),
            "lease",
        ),
        Hardware(
            HardwareMatch(gpu_model="*H100*"), Rented(_prices(events.RENTS, len(events.RENTED))), "rent"
        ),
        Hardware(
            HardwareMatch(),
            Owned(
                purchase_dollars=events.PURCHASE,
                gpus=len(events.OWNED),
                in_service=events.IN_SERVICE * SECOND,
                in_service_text="2025-02-15",
                life_years=events.LIFE_YEARS,
                residual_ratio=events.RESIDUAL,
                adders_ratio=events.ADDERS,
                support_dollars_per_year=events.SUPPORT_PER_YEAR,
            ),
            "owned",
            Electricity(events.KILOWATT_HOUR, events.PUE, events.HOST_FACTOR),
        ),
    ),
    overheads=(
        Overhead("storage", events.STORAGE_PER_GPU_MONTH, "month", "gpu", "storage"),
        Overhead("network", events.NETWORK_PER_HOST_HOUR, "hour", "host", "network"),
        Overhead("staff", events.SUPPORT_PER_YEAR, "year", "fleet", "staff"),
    ),
)


def policy(moment: YearTick) -> CostPolicy:
    """Policy of a tick. Only a planned long tick may be longer than a minute."""
    watched = moment.step > 60 and moment.absence is None
    return _policy(events.owned(moment.at), moment.step * SECOND if watched else 60 * SECOND)


@cache
def _policy(owned: int, gap_after: Nanoseconds) -> CostPolicy:
    owners = events.OWNERS[owned][1]
    rules = tuple(OwnershipRule(product, team, server=server) for server, (product, team) in owners.items())
    return CostPolicy(TARIFF, events.ZONE, rules, interval=events.TICK * SECOND, gap_after=gap_after)


def frame(moment: int, clock: YearClock) -> Frame:
    """Everything that is read at a tick."""
    return Frame(
        elapsed=clock.elapsed(),
        wall=clock.wall(),
        gpus=tuple(_gpus(moment)),
        servers=tuple(_server(server, moment) for server in events.SERVERS),
        holders=tuple(_holders(moment)),
        awake=clock.awake(),
        boot=clock.boot(),
    )


def _gpus(moment: int) -> Iterator[GpuReading]:
    for number, gpu in enumerate(GPUS):
        energy = events.energy(number, moment)
        if energy is None:
            if number in events.OWNED:
                yield GpuReading(gpu, number, up=False)
            continue
        busy = (moment // events.HOUR * 7 + number * 13) % 101 / 100
        yield GpuReading(gpu, number, utilization_ratio=busy, power_limit_watts=700.0, energy=energy)


def _server(server: str, moment: int) -> ServerReading:
    key, url = ServerKey("", server), f"http://{server}/metrics"
    model = events.model_of(server, moment)
    counters = []
    for kind in KINDS:
        count = events.counter(server, kind, moment)
        if count is None:
            return ServerReading(key, url, up=False)
        counters.append(CounterReading(f"{kind}:{model}", model, kind, float(count)))
    identity = "" if server == "rank" else str(events.process(server, moment))
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
        servers = events.holders(number, moment)
        for server in servers:
            share = events.SHARES[server] if len(servers) > 1 else None
            yield Holder(ServerKey("", server), gpu.uuid, share)


@dataclass
class Year:
    """Result of the run. `closed` are the totals at the first tick of each month, with the tick itself.

    `around` are the ticks before and after each month's end. `reopened` are the totals before and after each
    restart of the daemon. `commits` are the seconds of each commit, `last` is the last tick.
    `skipped` are ticks that the file had before.
    """

    path: Path
    closed: dict[str, tuple[int, CommittedTotals]] = field(default_factory=dict)
    around: dict[int, tuple[int, int]] = field(default_factory=dict)
    reopened: list[tuple[CommittedTotals, CommittedTotals]] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    ticks: int = 0
    last: int = events.START
    skipped: int = 0

    def passed(self, before: int, now: int) -> str:
        """The month that ended between two ticks, if one did."""
        for (closing, _), (_, end) in zip(events.STARTS, events.STARTS[1:], strict=False):
            if before < end <= now:
                self.around[end] = before, now
                return closing
        return ""

    def skip(self, before: int, now: int) -> None:
        """Skip a tick that is in the file already."""
        self.passed(before, now)
        self.ticks += 1
        self.skipped += 1
        self.last = now


def run_year(
    path: Path,
    moments: Iterable[YearTick],
    timer: Callable[[], float],
    together: int = 1,
) -> Year:
    """Run these ticks and write them to a ledger file.

    Short ticks more than five minutes from any event are committed `together`; all others by themselves.
    A file with the first part of the year is continued, as by a new process.
    """
    clock, year = YearClock(), Year(path)
    ledger = Ledger.open(path, clock)
    state = ledger.state()
    written = None if state.wall is None else state.wall // SECOND
    names = tuple(name for name, _ in events.STARTS)
    waiting: list[Postings] = []
    for moment in moments:
        before, clock.now = clock.now, moment.at
        if written is not None and moment.at <= written:
            year.skip(before, moment.at)
            continue
        if moment.restarted:
            ledger, before_and_after = _reopened(ledger, path, clock, names)
            year.reopened.append(before_and_after)
            state = ledger.state()
        _adjust(path, before, moment.at)
        read = frame(moment.at, clock)
        outcome = advance(state, read, policy(moment))
        if state.elapsed is None or year.ticks == year.skipped or moment.restarted:
            assert ledger.bind(MACHINE, {gpu.gpu.uuid for gpu in read.gpus or ()})
        state, year.last = outcome.state, moment.at
        waiting.append(outcome.postings)
        if len(waiting) >= together or moment.step != events.TICK or events.eventful(moment.at):
            began = timer()
            ledger.post(_as_one(waiting), state)
            year.commits.append(timer() - began)
            waiting = []
        year.ticks += 1
        closing = year.passed(before, moment.at)
        if closing:
            with LedgerReader.open(path) as reader:
                year.closed[closing] = moment.at, reader.totals(clock.wall(), names)
    if waiting:
        ledger.post(_as_one(waiting), state)
    assert ledger.problem == ""
    ledger.close()
    return year


def _adjust(path: Path, before: int, now: int) -> None:
    """Enter what people do between two ticks, next to the daemon."""
    for number, one in enumerate(events.ADJUSTMENTS):
        if before < one.entered <= now:
            entry = AdjustmentRequest(one.picodollars, one.day, one.product, one.team, f"number {number}")
            enter(path, entry, {one.product: frozenset({one.team})}, one.entered * SECOND)


def _as_one(ticks: list[Postings]) -> Postings:
    """Postings of several ticks. What is spread over all segments of a posting is summed before."""
    tokens: Counter[tuple[CostOwner, TokenKind]] = Counter()
    energy: Counter[Gpu] = Counter()
    for tick in ticks:
        for moved in tick.tokens:
            tokens[moved.owner, moved.kind] += moved.count
        for used in tick.energy:
            energy[used.gpu] += used.energy
    return Postings(
        end=ticks[-1].end,
        segments=tuple(entry for tick in ticks for entry in tick.segments),
        tokens=tuple(TokenPosting(owner, kind, count) for (owner, kind), count in tokens.items()),
        requests=tuple(entry for tick in ticks for entry in tick.requests),
        energy=tuple(EnergyPosting(gpu, used) for gpu, used in energy.items()),
        owners=tuple(sorted({entry for tick in ticks for entry in tick.owners})),
        day=ticks[-1].day,
    )


def _reopened(
    ledger: Ledger, path: Path, clock: YearClock, names: tuple[str, ...]
) -> tuple[Ledger, tuple[CommittedTotals, CommittedTotals]]:
    before = ledger.totals(clock.wall(), names)
    ledger.close()
    again = Ledger.open(path, clock)
    assert (again.problem, again.dropped) == ("", ())
    with LedgerReader.open(path) as reader:
        return again, (before, reader.totals(clock.wall(), names))
