"""A bench for the cost model: short ways to say readings, and a meter that adds up and checks each tick."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from exporter.cost.advance import TickOutcome, advance
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, Segment
from exporter.cost.state import State
from exporter.readings import (
    CounterReading,
    Frame,
    Gpu,
    GpuReading,
    Holder,
    LoadReading,
    Quantity,
    ServerKey,
    ServerReading,
)
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Overhead, Owned, Rented, RentPrice

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND
DOLLAR = 10**12

CHAT = ServerKey("", "chat")
BATCH = ServerKey("", "batch")


def moment(text: str) -> int:
    """Nanoseconds since the epoch of an ISO time that tells its offset."""
    told = datetime.fromisoformat(text)
    assert told.tzinfo is not None
    return round(told.timestamp()) * SECOND


START = moment("2026-11-10T00:00:00+00:00")


def h100(number: int = 0, **told: Any) -> GpuReading:
    """A reading of one GPU; busy all the time unless told."""
    return GpuReading(Gpu(f"GPU-{number}", "NVIDIA H100"), number, **{"utilization_ratio": 1.0, **told})


def counters(model: str, told: Mapping[Quantity, float]) -> tuple[CounterReading, ...]:
    """One series for each quantity of a model."""
    return tuple(CounterReading(f"{quantity}/{model}", model, quantity, told[quantity]) for quantity in told)


def page(
    key: ServerKey = CHAT,
    model: str = "llama",
    running: float | None = 1.0,
    url: str | None = None,
    **told: float,
) -> ServerReading:
    """What one endpoint of one model answered; keywords are lifetime counts by quantity."""
    return ServerReading(
        key,
        url or f"http://{key.server}",
        up=True,
        identity=f"{key.server}-1",
        counters=counters(model, told),  # type: ignore[arg-type]
        loads=(LoadReading(model, running),),
        models=(model,),
    )


def down(reading: ServerReading) -> ServerReading:
    """The same endpoint when it does not answer."""
    return ServerReading(reading.key, reading.url, up=False)


def holding(key: ServerKey, *numbers: int, share: float | None = None) -> tuple[Holder, ...]:
    """A server that holds these GPUs."""
    return tuple(Holder(key, f"GPU-{number}", share) for number in numbers)


def rent(
    dollars: str | int, gpus: int = 1, energy: Electricity | None = None, match: HardwareMatch | None = None
) -> Hardware:
    """Flat rent by the hour."""
    terms = Rented((RentPrice(Decimal(dollars), gpus),))
    return Hardware(match or HardwareMatch(), terms, "hardware[0]", energy)


def owned(energy: Electricity | None = None, **told: Any) -> Hardware:
    """Owned hardware in service since the beginning of 2026, unless told."""
    terms: dict[str, Any] = {
        "purchase_dollars": Decimal(280_000),
        "gpus": 8,
        "in_service": moment("2026-01-01T00:00:00+00:00"),
        "in_service_text": "2026-01-01",
        "life_years": Decimal(3),
        **told,
    }
    return Hardware(HardwareMatch(), Owned(**terms), "hardware[0]", energy)


def overhead(name: str, dollars: str, period: Any, per: Any, host: str | None = None) -> Overhead:
    """A configured amount beside the hardware."""
    return Overhead(name, Decimal(dollars), period, per, "overheads[0]", host)


def terms(*hardware: Hardware, overheads: tuple[Overhead, ...] = (), **told: Any) -> CostPolicy:
    """Terms of a host with these prices."""
    told.setdefault("gap_max", 10**7 * HOUR)  # a tick may be a year here; gaps have tests of their own
    return CostPolicy(Tariff("host-1", hardware, overheads), **told)


@dataclass
class Meter:
    """Takes ticks, adds up what they post by plain sums, and checks on each that nothing is lost."""

    terms: CostPolicy
    wall: int = START
    state: State = field(default_factory=State)
    elapsed: int = 5_000 * SECOND
    money: Counter[Any] = field(default_factory=Counter)
    """By (uuid, component, party, phase)."""
    held: Counter[Any] = field(default_factory=Counter)
    """By (uuid, party, phase)."""
    tokens: Counter[Any] = field(default_factory=Counter)
    """By (server, model, kind)."""
    requests: Counter[Any] = field(default_factory=Counter)
    energy: Counter[str] = field(default_factory=Counter)
    months: Counter[Any] = field(default_factory=Counter)
    """By (month, uuid, component)."""
    outcome: TickOutcome | None = None

    def tick(
        self,
        duration: float,
        gpus: Iterable[GpuReading] | None,
        servers: Iterable[ServerReading] = (),
        holders: Iterable[Holder] = (),
    ) -> TickOutcome:
        """Let time pass and read. `duration` is in seconds."""
        return self.pass_by(round(duration * SECOND), gpus, servers, holders)

    def pass_by(
        self,
        nanoseconds: int,
        gpus: Iterable[GpuReading] | None,
        servers: Iterable[ServerReading] = (),
        holders: Iterable[Holder] = (),
        **told: Any,
    ) -> TickOutcome:
        """As `tick`, in nanoseconds; `told` is what else the frame says."""
        first = self.state.elapsed is None
        self.elapsed += nanoseconds
        self.wall += nanoseconds
        read = None if gpus is None else tuple(gpus)
        frame = Frame(self.elapsed, self.wall, read, tuple(servers), tuple(holders), **told)
        accrued, before = self.state.accrued, self.state
        outcome = advance(self.state, frame, self.terms)
        self.state, self.outcome = outcome.state, outcome
        posted = outcome.postings
        for segment in posted.segments:
            assert segment.accrued == sum(row.amount for row in segment.money)
            assert all(row.amount > 0 for row in segment.money)
            assert all(row.duration > 0 for row in segment.gpu_times)
            spent: Counter[str] = Counter()
            for held in segment.gpu_times:
                self.held[held.gpu.uuid, held.owner_phase.owner, held.owner_phase.phase] += held.duration
                spent[held.gpu.uuid] += held.duration
            length = segment.end - segment.start
            paid = self._paid(frame, before, segment)
            assert spent == {uuid: count * length for uuid, count in paid.items()}
            for row in segment.money:
                self.money[row.gpu.uuid, row.component, row.owner_phase.owner, row.owner_phase.phase] += (
                    row.amount
                )
                self.months[segment.month, row.gpu.uuid, row.component] += row.amount
            accrued += segment.accrued
        assert self.state.accrued == accrued
        ends = [segment.end for segment in posted.segments]
        starts = [segment.start for segment in posted.segments]
        assert starts[1:] == ends[:-1]
        if not first and nanoseconds > 0 and self.state.gpus:
            assert (starts[0], ends[-1]) == (self.wall - nanoseconds, self.wall)
        for tokens in posted.tokens:
            assert tokens.count >= 0
            self.tokens[tokens.owner.server, tokens.owner.model, tokens.kind] += tokens.count
        for requests in posted.requests:
            self.requests[requests.owner.server, requests.owner.model] += requests.count
        for energy in posted.energy:
            self.energy[energy.gpu.uuid] += energy.energy
        return outcome

    def _paid(self, frame: Frame, before: State, segment: Segment) -> Counter[str]:
        """The GPUs that are paid for, by UUID: of a gap those before it, else those after the tick.

        Not those that are said to have left; one that was lost before a gap may be released by it.
        """
        assert self.outcome is not None
        tariff, seen = self.terms.tariff, {reading.gpu.uuid for reading in frame.gpus or ()}
        charged = self.outcome.charged
        assert charged is not None
        slots = {**before.gpus, **self.state.gpus}
        known, unseen = slots, self.state.unseen
        if not (charged.observed or charged.hourly_only):
            released = self.outcome.inventory.released
            known = {uuid: gpu for uuid, gpu in before.gpus.items() if uuid not in released or gpu.up}
            unseen = before.unseen
            if len(self.state.gpus) < len(before.gpus) and segment.start >= (charged.booted or segment.end):
                known = {uuid: gpu for uuid, gpu in known.items() if uuid not in released}
                unseen = {model: gpu for model, gpu in unseen.items() if model in self.state.unseen}
        else:
            gone = {change.old.uuid for change in self.outcome.inventory.replaced}
            known = {uuid: gpu for uuid, gpu in slots.items() if uuid not in gone}
            known = {u: gpu for u, gpu in known.items() if u not in self.outcome.inventory.released}
        left = {uuid for uuid, gpu in slots.items() if tariff.has_left(gpu.gpu, segment.start)}
        counts = Counter(set(known) - (left - seen))
        counts.update({"unseen": sum(gpu.count for gpu in unseen.values())})
        return +counts

    def dollars(self, **by: str) -> int:
        """Picodollars, of all or of a `component`, `server`, `model`, `phase`, `uuid`, `product`."""
        return sum(
            amount
            for (uuid, component, party, phase), amount in self.money.items()
            if _fits({"uuid": uuid, "component": component, "phase": phase, **_words(party)}, by)
        )

    def seconds(self, **by: str) -> float:
        """GPU-seconds, as `dollars`."""
        return (
            sum(
                duration
                for (uuid, party, phase), duration in self.held.items()
                if _fits({"uuid": uuid, "phase": phase, **_words(party)}, by)
            )
            / SECOND
        )

    def reread(self, state: State) -> "Meter":
        """A daemon started again on what this one remembered: totals go on, the next tick has no start."""
        return replace(self, state=replace(state, elapsed=None))


def _words(party: CostOwner) -> dict[str, str]:
    return {
        "product": party.product,
        "team": party.team,
        "namespace": party.namespace,
        "server": party.server,
        "model": party.model,
    }


def _fits(words: Mapping[str, str], by: Mapping[str, str]) -> bool:
    return all(words[name] == wanted for name, wanted in by.items())
