"""Random hosts and what happens on them, for properties of the cost model."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from exporter.cost.policy import CostPolicy
from exporter.readings import GpuReading, Holder, ServerKey, ServerReading
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Rented, RentPrice
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import cost_policy, down, h100, moment, overhead, owned, page
from tests.kit.units import HOUR, MINUTE, SECOND

TURN = moment("2026-12-01T00:00:00+00:00")
"""A month's end that many worlds live around."""

LIMIT_WATTS = 700.0


@dataclass
class HostEvent:
    """What is read after some time: by GPU and by server. `None` is a read that failed."""

    duration: int
    silent: bool
    gpus: dict[int, tuple[float | None, int] | None]
    """By number: utilization and joules used; `None`: not reported, fallen off the bus."""
    servers: dict[int, tuple[int, int, int, int] | None]
    """By number: prompt, cached and generated tokens since, requests running; `None`: it did not answer."""


@dataclass
class HostTimeline:
    """A host, its prices and its story."""

    policy: CostPolicy
    gpus: int
    holders: tuple[Holder, ...]
    events: list[HostEvent]
    start: int
    dated: int
    """When the rent changes."""


RENT, RENT_LATER = Decimal("6.88"), Decimal("5.16")
NETWORK, STORAGE, STAFF = Decimal("1.10"), Decimal("9.20"), Decimal(536)
KILOWATT_HOUR = Electricity(Decimal("0.12"), Decimal("1.35"), Decimal("1.8"))
OVERHEADS = (
    overhead("network", str(NETWORK), "hour", "host"),
    overhead("storage", str(STORAGE), "month", "gpu"),
    overhead("staff", str(STAFF), "year", "host"),
)


def priced(dated: int, **fields: Any) -> CostPolicy:
    """GPU-0 is owned and pays for its power, the others are rented at a price that changes."""
    own = owned(
        energy=KILOWATT_HOUR,
        support_dollars_per_year=Decimal(28_000),
        adders_ratio=Decimal("0.15"),
        residual_ratio=Decimal("0.10"),
    )
    own = Hardware(HardwareMatch(uuid="GPU-0"), own.pricing, own.source, own.energy)
    leased = Rented((RentPrice(RENT), RentPrice(RENT_LATER, since=dated)))
    return cost_policy(
        own, Hardware(HardwareMatch(), leased, "x", KILOWATT_HOUR), overheads=OVERHEADS, **fields
    )


durations = st.one_of(st.just(10 * SECOND), st.integers(1, 59 * SECOND), st.integers(60 * SECOND, 3 * HOUR))
starts = st.integers(-2 * HOUR, 2 * MINUTE).map(lambda offset: TURN + offset)
utilizations = st.none() | st.integers(0, 1000).map(lambda parts: parts / 1000)


@st.composite
def timelines(draw: st.DrawFn) -> HostTimeline:
    """Any host of up to four GPUs and four servers, over a few ticks around a month's end."""
    gpus = draw(st.integers(1, 4))
    count = draw(st.integers(0, 4))
    numbers = range(count)
    keys = [ServerKey("", f"s{number}") for number in numbers]
    every = [(key, number) for key in keys for number in range(gpus)]
    allocated = draw(st.lists(st.sampled_from(every), max_size=6, unique=True)) if every else []
    ratios = st.none() | st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 1.0])
    holders = tuple(Holder(key, f"GPU-{number}", draw(ratios)) for key, number in allocated)
    start = draw(starts)
    dated = start + draw(st.integers(0, 2 * HOUR))
    tokens = st.sampled_from([0, 0, 1, 7, 1000, 123_456])
    events = st.builds(
        HostEvent,
        durations,
        st.sampled_from([False, False, False, True]),
        st.fixed_dictionaries(
            {
                number: st.sampled_from([None, *[True] * 5]).flatmap(
                    lambda read: st.tuples(utilizations, st.integers(0, 7000)) if read else st.none()
                )
                for number in range(gpus)
            }
        ),
        st.fixed_dictionaries(
            {
                number: st.none() | st.tuples(tokens, tokens, tokens, st.integers(0, 3))
                for number in range(count)
            }
        ),
    )
    drawn = draw(st.lists(events, min_size=1, max_size=6))
    return HostTimeline(priced(dated), gpus, holders, drawn, start, dated)


class StrategyHost:
    """The host of a world: its counters go up whether they are read or not."""

    def __init__(self, timeline: HostTimeline) -> None:
        self.timeline = timeline
        self.joules = dict.fromkeys(range(timeline.gpus), 0)
        self.tokens = {key.server: [0, 0, 0] for key in self._all()}

    def _all(self) -> list[ServerKey]:
        return [ServerKey("", f"s{number}") for number in self.timeline.events[0].servers]

    def page(self, key: ServerKey, running: int) -> ServerReading:
        prompt, cached, generated = self.tokens[key.server]
        return page(
            key,
            f"model-{key.server}",
            float(running),
            prompt=float(prompt),
            cached_prompt=float(cached),
            generation=float(generated),
        )

    def gpu(self, number: int, utilization: float | None) -> GpuReading:
        return h100(
            number,
            utilization_ratio=utilization,
            energy=self.joules[number] * 1000,
            power_limit_watts=LIMIT_WATTS,
            power_watts=500.0,
        )

    def first(self) -> tuple[list[GpuReading], list[ServerReading]]:
        """Everything is read once before the story begins."""
        return [self.gpu(number, 1.0) for number in self.joules], [self.page(key, 0) for key in self._all()]

    def then(self, event: HostEvent) -> tuple[list[GpuReading] | None, list[ServerReading]]:
        """What is read after a happening."""
        gpus = []
        for number, sample in event.gpus.items():
            if sample is not None:
                self.joules[number] += sample[1] * event.duration // (10 * SECOND)
                gpus.append(self.gpu(number, sample[0]))
        servers = []
        for number, moved in event.servers.items():
            key = ServerKey("", f"s{number}")
            if moved is None:
                servers.append(down(self.page(key, 0)))
                continue
            self.tokens[key.server] = [a + b for a, b in zip(self.tokens[key.server], moved, strict=False)]
            servers.append(self.page(key, moved[3]))
        return None if event.silent else gpus, servers


def metered(timeline: HostTimeline) -> CheckedMeter:
    """The world's story through the meter."""
    host = StrategyHost(timeline)
    meter = CheckedMeter(timeline.policy, timeline.start - SECOND)
    meter.pass_by(SECOND, *host.first(), timeline.holders)
    for event in timeline.events:
        meter.pass_by(event.duration, *host.then(event), timeline.holders)
    return meter
