"""What each host's daemon would have posted: the truth through the cost code, into a ledger."""

import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exporter.config.load import parse
from exporter.config.settings import cost_policy
from exporter.cost.advance import advance
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, Postings
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import (
    KINDS,
    CounterReading,
    Frame,
    Gpu,
    GpuReading,
    Holder,
    HostLocation,
    LoadReading,
    ServerKey,
    ServerReading,
)
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Nanoseconds
from tests.e2e.backfill.recorded_fleet import (
    DAY,
    HOUR,
    RecordedFleet,
    RecordedHost,
    Tenancy,
    millijoules,
    month_of,
)

STEP: Final = 3600
"""Seconds of a tick: between two events everything is a mean or a counter, so a longer tick loses nothing."""
UP_BEFORE: Final = 10 * DAY
"""So that a ledger begins with its first tick, and not with the boot."""

GIBIBYTE: Final = 2**30


@dataclass
class RecordedClock:
    """The clock of a host at a moment in seconds since the epoch."""

    host: RecordedHost
    now: int

    def boot_at(self) -> int:
        """When the host was booted."""
        boots = [until for _, until in self.host.off if until < self.now]
        return max(boots, default=self.host.begin - UP_BEFORE)

    def elapsed(self) -> Nanoseconds:
        return (self.now - self.boot_at()) * NANOSECONDS_PER_SECOND

    def awake(self) -> Nanoseconds:
        return self.elapsed()

    def boot(self) -> str:
        return f"boot-{self.boot_at()}"

    def wall(self) -> Instant:
        return self.now * NANOSECONDS_PER_SECOND

    def synchronized(self) -> bool:
        return True

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:  # noqa: ARG002 - never called
        raise AssertionError


def frame(host: RecordedHost, clock: RecordedClock, before: int) -> Frame:
    """Everything that the daemon reads at a tick, the one before it being at `before`."""
    now = clock.now
    gpus, holders, servers = [], [], {}
    for slot, signal in enumerate(host.signals):
        gpu = Gpu(host.uuid(slot, now), host.gpu_model)
        tenant = host.tenant(slot, now)
        since = max(before, clock.boot_at(), host.begin)
        gpus.append(
            GpuReading(
                gpu,
                slot,
                pci_bus_id=f"00000000:{slot + 1:02X}:00.0",
                utilization_ratio=signal.mean(since, now) if now > since else 0.0,
                memory_used_bytes=70 * GIBIBYTE if tenant else 0,
                memory_total_bytes=80 * GIBIBYTE,
                power_limit_watts=700.0,
                energy=millijoules(signal, max(clock.boot_at(), host.begin), now),
            )
        )
        if tenant is not None:
            holders.append(Holder(ServerKey(tenant.server.namespace, tenant.server.name), gpu.uuid))
            servers[tenant] = _server(host, tenant, now)
    return Frame(
        clock.elapsed(),
        clock.wall(),
        tuple(gpus),
        tuple(servers.values()),
        tuple(holders),
        awake=clock.awake(),
        boot=clock.boot(),
    )


def _server(host: RecordedHost, tenancy: Tenancy, now: int) -> ServerReading:
    server = tenancy.server
    key, url = (
        ServerKey(server.namespace, server.name),
        f"http://{tenancy.pod or host.name}:{server.port}/metrics",
    )
    process = tenancy.process(now)
    if process is None:
        return ServerReading(key, url, up=False)
    signal = host.signals[tenancy.gpus[0]]
    count = signal.sum(max(process[0], host.begin), now)
    counters = [
        CounterReading(f"{kind}:{server.model}", server.model, kind, float(rate * count))
        for kind, rate in zip(KINDS, server.rates, strict=True)
    ]
    return ServerReading(
        key,
        url,
        up=True,
        engine="vllm",
        pod=tenancy.pod,
        identity=str(process[0]),
        started=process[0] * NANOSECONDS_PER_SECOND + 1,
        counters=tuple(counters),
        loads=(LoadReading(server.model, signal.percent[signal.cell(now) - 1] / 10, 0.0),),
        models=(server.model,),
    )


def policy_of(fleet: RecordedFleet, host: RecordedHost) -> CostPolicy:
    """The cost policy of a host by the fleet's configuration, for ticks of `STEP`."""
    location = HostLocation(instance_type=host.instance_type, source="node labels")
    return replace(
        cost_policy(parse(fleet.config.encode()), host.name, location),
        interval=STEP * NANOSECONDS_PER_SECOND,
        gap_after=3 * STEP * NANOSECONDS_PER_SECOND,
    )


def write_ledger(fleet: RecordedFleet, host: RecordedHost, path: Path) -> None:
    """Meter a host from the fleet's begin to its end, as its daemon would have."""
    clock = RecordedClock(host, host.begin)
    policy = policy_of(fleet, host)
    ledger = Ledger.open(path, clock)
    state, waiting, before = ledger.state(), list[Postings](), host.begin
    for number, now in enumerate(fleet.ticks(host, STEP)):
        clock.now = now
        read = frame(host, clock, before)
        outcome = advance(state, read, policy)
        if not number:
            assert ledger.bind(f"installation:{host.name}", {gpu.gpu.uuid for gpu in read.gpus or ()})
        state, before = outcome.state, now
        waiting.append(outcome.postings)
        if now % HOUR == 0:
            ledger.post(_as_one(waiting), state)
            waiting = []
    if waiting:
        ledger.post(_as_one(waiting), state)
    assert ledger.problem == ""
    ledger.close()


def _as_one(ticks: list[Postings]) -> Postings:
    """The ticks of an hour in one commit, without the joules: their cost is in the segments."""
    return Postings(
        end=ticks[-1].end,
        segments=tuple(entry for tick in ticks for entry in tick.segments),
        tokens=tuple(entry for tick in ticks for entry in tick.tokens),
        requests=tuple(entry for tick in ticks for entry in tick.requests),
        owners=tuple(sorted({entry for tick in ticks for entry in tick.owners})),
        day=ticks[-1].day,
    )


@dataclass
class Metered:
    """What a server came to in a month: money, GPU time by phase, and tokens by kind."""

    picodollars: int = 0
    gpu_time: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Metered") -> None:
        """Add another."""
        self.picodollars += other.picodollars
        self.gpu_time += other.gpu_time
        self.tokens += other.tokens


Truth = dict[tuple[str, str, ServerKey], Metered]
"""By month, host and server."""


def read_truth(fleet: RecordedFleet, host: RecordedHost, path: Path) -> Truth:
    """The hours of a ledger by month, less those in which nothing but the host itself knew of it.

    An hour of a gap of one host alone is left out where Prometheus has no sample of it: the history says so.
    """
    truth: Truth = {}
    with LedgerReader.open(path) as reader:
        for hour, sums in (reader.hours(fleet.begin // HOUR, fleet.end // HOUR) or {}).items():
            if alone(fleet, host, hour * HOUR):
                continue
            month = month_of(hour * HOUR)
            for (owner, _phase), amount in sums.cost.items():
                _of(truth, month, host, owner).picodollars += amount
            for (owner, phase), length in sums.held.items():
                _of(truth, month, host, owner).gpu_time[phase] += length
            for (owner, kind), count in sums.tokens.items():
                _of(truth, month, host, owner).tokens[kind] += count
    return truth


def _of(truth: Truth, month: str, host: RecordedHost, owner: CostOwner) -> Metered:
    return truth.setdefault((month, host.name, ServerKey(owner.namespace, owner.server)), Metered())


def alone(fleet: RecordedFleet, host: RecordedHost, hour: int) -> bool:
    """Whether Prometheus lacks this host for a whole hour in which it has another."""
    return any(since <= hour and hour + HOUR <= until for since, until in host.gaps) and any(
        other.scraped(hour + HOUR // 2) for other in fleet.hosts
    )
